# wine.sh - a Wine of the tests' own: its prefix below build/, ended by that prefix. Sourced by bash.

# wine_start: ready to run programs afterwards. The first start of a prefix takes half a minute.
wine_start() {
    export WINEPREFIX=$top/build/wine-prefix WINEARCH=win64 WINEDEBUG=${WINEDEBUG:--all}
    export WINEDLLOVERRIDES="mscoree=d;mshtml=d;winemenubuilder.exe=d"
    # No GSSAPI plug-in of this machine answers for Windows.
    export GSS_MECH_CONFIG=/dev/null
    unset DISPLAY WAYLAND_DISPLAY
    if [ ! -f "$WINEPREFIX/.ready" ]; then
        rm -rf "$WINEPREFIX"
        mkdir -p "$WINEPREFIX"
        # Until the first boot's own services have gone, StartService fails: wait for the server.
        wineboot -i </dev/null >/dev/null 2>&1
        wineserver -w
        wine winecfg -v win10 </dev/null >/dev/null 2>&1
        wineserver -w
        touch "$WINEPREFIX/.ready"
    fi
    wineserver -p600 >/dev/null 2>&1 # stays between two programs
    # The first program starts Wine's services, which keep its standard output open.
    wine cmd /c exit </dev/null >/dev/null 2>&1
}

# wine_stop: ends every program of that prefix, and the server.
wine_stop() {
    WINEPREFIX=$top/build/wine-prefix wineserver -k >/dev/null 2>&1 || true
}
