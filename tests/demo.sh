# demo.sh - the two demonstrations of ./run. Sourced by it, after lib.sh.

postern="$top/build/release/postern"

# demo_certificate DIR: a self-signed certificate for relay.example and localhost.
demo_certificate() {
    [ -s "$1/cert.pem" ] && openssl x509 -noout -checkend 86400 -in "$1/cert.pem" >/dev/null && return
    (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
        -subj /CN=relay.example -addext subjectAltName=DNS:relay.example,DNS:localhost,IP:127.0.0.1 \
        -keyout "$1/key.pem" -out "$1/cert.pem" 2>"$1/openssl.log") ||
        die "openssl could not make a certificate: $(tail -n 3 "$1/openssl.log")"
    rm -f "$1/openssl.log"
}

demo_password() {
    # base32 of 15 random bytes: nothing in it that a shell or a form could misread
    head -c 15 /dev/urandom | base32
}

# demo_user CONFIG NAME PASSWORD_FILE: NAME exists and has that password.
demo_user() {
    "$postern" user add "$2" -c "$1" --password-stdin <"$3" >/dev/null 2>&1 ||
        "$postern" user passwd "$2" -c "$1" --password-stdin <"$3" >/dev/null ||
        die "cannot make the user $2"
}

demo_serve() {
    local dir="$top/demo"
    mkdir -p "$dir"
    demo_certificate "$dir"
    [ -s "$dir/password" ] || (umask 077 && demo_password >"$dir/password")
    # Edits are kept, unless the clone was moved and the paths with it.
    if ! grep -qsF "data_directory: $dir/data" "$dir/postern.yaml"; then
        cat >"$dir/postern.yaml" <<Y
# The demo's configuration: edit it and send the service a SIGHUP, or 'postern reload -c THIS'.
service:
  hostname: relay.example
  data_directory: $dir/data
listeners:
  - { address: "127.0.0.1:2525", tls: optional }
tls:
  certificate: $dir/cert.pem
  key: $dir/key.pem
access:
  relay: { grant: only, authenticated: true, list: [] }
domains:
  - { name: relay.example, type: local }
Y
    fi
    demo_user "$dir/postern.yaml" demo "$dir/password"
    if port_answers 2525; then
        die "127.0.0.1:2525 is taken; stop what listens there or edit the port in demo/postern.yaml"
    fi
    cat <<T
Postern serves on 127.0.0.1:2525 (STARTTLS offered, the certificate is self-signed).
    user demo, password $(cat "$dir/password")
    mail to anybody@relay.example lands in $dir/data/mail/Drop
    configuration $dir/postern.yaml
Stop it with Ctrl-C.
T
    exec "$postern" serve -c "$dir/postern.yaml"
}

demo_pids=()
demo_dir=

demo_clean() {
    local pid
    for pid in "${demo_pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    [ -z "$demo_dir" ] || rm -rf "$demo_dir"
}

# demo_start NAME PORT: serves $demo_dir/NAME.yaml and waits for its port.
demo_start() {
    "$postern" serve -c "$demo_dir/$1.yaml" >"$demo_dir/$1.log" 2>&1 &
    demo_pids+=($!)
    for _ in $(seq 100); do
        port_answers "$2" && return 0
        kill -0 $! 2>/dev/null || break
        sleep 0.1
    done
    cat "$demo_dir/$1.log" >&2
    die "the $1 service did not start"
}

# demo_arrives DIR WHAT: waits for an .eml, shows its head.
demo_arrives() {
    local file
    for _ in $(seq 150); do
        file=$(find "$1/mail/Drop" -maxdepth 1 -name '*.eml' 2>/dev/null | head -n 1)
        if [ -n "$file" ]; then
            echo "--- $2: $(basename "$file")"
            sed -e 's/\r$//' -e 's/^/    /' "$file" | head -n 20
            return 0
        fi
        sleep 0.1
    done
    tail -n 20 "$demo_dir"/*.log >&2
    die "$2: nothing arrived in $1/mail/Drop"
}

demo_show() {
    local port sink_port status id
    demo_dir=$(mktemp -d)
    trap demo_clean EXIT
    trap 'exit 1' INT TERM
    port=$(free_port)
    sink_port=$(free_port)
    demo_certificate "$demo_dir"
    (umask 077 && demo_password >"$demo_dir/password")
    mkdir "$demo_dir/relay" "$demo_dir/sink"
    cat >"$demo_dir/relay.yaml" <<Y
service: { hostname: relay.example, data_directory: $demo_dir/relay }
listeners:
  - { address: "127.0.0.1:$port", tls: optional }
tls: { certificate: $demo_dir/cert.pem, key: $demo_dir/key.pem }
access:
  relay: { grant: only, authenticated: true, list: [] }
domains:
  - { name: relay.example, type: local }
delivery: { smart_host: "[127.0.0.1]:$sink_port" }
Y
    cat >"$demo_dir/sink.yaml" <<Y
service: { hostname: sink.example, data_directory: $demo_dir/sink }
listeners:
  - { address: "127.0.0.1:$sink_port", tls: optional }
tls: { certificate: $demo_dir/cert.pem, key: $demo_dir/key.pem }
domains:
  - { name: elsewhere.example, type: local }
Y
    demo_user "$demo_dir/relay.yaml" demo "$demo_dir/password"
    demo_start sink "$sink_port"
    demo_start relay "$port"
    local send=("$postern" send --server "127.0.0.1:$port" --from demo@relay.example)
    local login=(--tls required --user demo --password-stdin)

    echo "1. STARTTLS + AUTH, to the local domain, which goes to the Drop directory"
    "${send[@]}" "${login[@]}" --to inbox@relay.example <"$demo_dir/password" | sed 's/^/    /'
    demo_arrives "$demo_dir/relay" "in the Drop directory"
    echo
    echo "2. STARTTLS + AUTH, to a foreign domain, which goes through the smart host"
    "${send[@]}" "${login[@]}" --to friend@elsewhere.example <"$demo_dir/password" | sed 's/^/    /'
    demo_arrives "$demo_dir/sink" "at the smart host"
    echo
    echo "3. The same without authentication"
    status=0
    "${send[@]}" --to friend@elsewhere.example >"$demo_dir/refusal" 2>&1 || status=$?
    sed 's/^/    /' "$demo_dir/refusal"
    [ "$status" = 1 ] || die "a stranger's mail was not refused as it must be (exit code $status)"
    id=$(demo_refusal_id "$demo_dir/refusal")
    [ -n "$id" ] || die "the refusal carries no id"
    echo "--- postern explain $id"
    status=0
    "$postern" explain "$id" -c "$demo_dir/relay.yaml" >"$demo_dir/explained" 2>&1 || status=$?
    sed 's/^/    /' "$demo_dir/explained"
    [ "$status" = 1 ] || die "the refusal could not be explained (exit code $status)"
}

# demo_refusal_id FILE: the id in "... [ID]" of a 550 reply.
demo_refusal_id() {
    grep -oE '\[[A-Za-z0-9]+\]' "$1" | tr -d '[]' | tail -n 1
}
