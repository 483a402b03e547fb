# lib.sh - what run, test and tests/bench/run share. Sourced by bash; set -euo pipefail is theirs.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# A pyenv or venv python earlier in PATH would not see Debian's python3-pytest.
python=/usr/bin/python3

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# packages_in LIST...: the package names of packaging/debian-LIST.list.
packages_in() {
    local list
    for list in "$@"; do
        sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$top/packaging/debian-$list.list"
    done
}

# packages_missing NAME...: those that are not installed.
packages_missing() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
    done
}

# need LIST...: everything of these lists is installed afterwards, or we say how and stop.
need() {
    local missing
    command -v dpkg-query >/dev/null || {
        echo "note: no dpkg here; trusting that the packages of packaging/debian-*.list have" \
            "their counterparts installed" >&2
        return 0
    }
    # shellcheck disable=SC2046
    missing=$(packages_missing $(packages_in "$@"))
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086
    set -- $missing
    if [ "$(id -u)" != 0 ]; then
        echo "Missing Debian packages. As root:" >&2
        echo "    apt-get install --no-install-recommends $*" >&2
        exit 1
    fi
    echo "installing: $*" >&2
    export DEBIAN_FRONTEND=noninteractive
    local apt=(apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends)
    # The lists of an image may be stale or absent: refresh them only where that is needed.
    "${apt[@]}" "$@" >&2 2>/dev/null && return 0
    apt-get -q -o DPkg::Lock::Timeout=300 update >&2 || die "apt-get update failed"
    "${apt[@]}" "$@" >&2 || die "could not install: $*"
}

# need_quietly LIST...: the same for packages that hold services, which are not started.
need_quietly() {
    local policy=/usr/sbin/policy-rc.d made='' status=0
    # shellcheck disable=SC2046
    [ -n "$(packages_missing $(packages_in "$@"))" ] || return 0
    if [ "$(id -u)" = 0 ] && [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        made=1
    fi
    (need "$@") || status=$?
    [ -z "$made" ] || rm -f "$policy"
    return $status
}

# build PRESET [TARGET]: configure when it was not, then build; the log only when it fails.
build() {
    local preset=$1 target=${2:-} log
    log=$(mktemp)
    if ! {
        cd "$top" &&
            { [ -f "build/$preset/build.ninja" ] || cmake --preset "$preset"; } &&
            cmake --build --preset "$preset" ${target:+--target "$target"}
    } >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# build_windows [TARGET]: its libraries, which take a quarter of an hour the first time, and build.
build_windows() {
    local named="$top/build/windows/.libraries"
    POSTERN_WINDOWS_DEPS=$("$top/packaging/windows/deps/build") || return 1
    export POSTERN_WINDOWS_DEPS
    if [ "$(cat "$named" 2>/dev/null)" != "$POSTERN_WINDOWS_DEPS" ]; then
        rm -rf "$top/build/windows"
        mkdir -p "$top/build/windows"
        echo "$POSTERN_WINDOWS_DEPS" >"$named"
    fi
    build windows "$@"
}

# free_port: a TCP port of 127.0.0.1 where nobody listens now.
free_port() {
    local port tries
    for tries in $(seq 50); do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || {
            echo "$port"
            return 0
        }
    done
    die "no free port found after $tries tries"
}

# port_answers PORT: true when somebody accepts connections there.
port_answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}
