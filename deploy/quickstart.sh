#!/bin/sh
# Builds edna-courier, finds or starts a RabbitMQ broker, and runs the demo on it:
#
#     sh deploy/quickstart.sh [arguments of `edna-courier demo`]
#
# The broker is the first of: EDNA_COURIER__BROKER__URL; one on 127.0.0.1:5672 that accepts guest/guest; a container; a
# private node of an installed rabbitmq-server; the same, installed with apt. What this script starts, it stops.
# Exit code: the demo's; 69 if there is no broker, C compiler or cargo and none can be installed.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/setup.sh
. deploy/setup.sh
# shellcheck source=deploy/broker.sh
. deploy/broker.sh

trap stop_broker EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The client's half of an AMQP 0-9-1 handshake, sent at once: header, start-ok as guest, tune-ok, open "/", close.
guest_handshake() {
    printf 'AMQP\0\0\11\1'
    printf '\1\0\0\0\0\0\44\0\12\0\13\0\0\0\0\5PLAIN\0\0\0\14\0guest\0guest\5en_US\316'
    printf '\1\0\0\0\0\0\14\0\12\0\37\7\377\0\2\0\0\0\0\316'
    printf '\1\0\0\0\0\0\10\0\12\0\50\1/\0\0\316'
    printf '\1\0\0\0\0\0\13\0\12\0\62\0\310\0\0\0\0\0\316'
}

# accepts_guest PORT: the broker sends open-ok only if every step succeeded. It does not close the connection first, so
# the check always takes a second. Bash needs no other tool to connect; without bash no broker is found here.
accepts_guest() {
    # shellcheck disable=SC2016 # bash expands it
    guest_handshake | within 1 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && cat >&3 && cat <&3' bash "$1" 2>/dev/null |
        od -An -v -tx1 | tr -d ' \n' | grep -q 01000000000005000a002900ce
}

find_broker() {
    if [ -n "${EDNA_COURIER__BROKER__URL:-}${EDNA_COURIER__BROKER__URL_FILE:-}" ]; then
        step "Using the broker of EDNA_COURIER__BROKER__URL"
        return 0
    fi
    if accepts_guest 5672; then
        step "Using the broker on 127.0.0.1:5672"
        port=5672
    else
        start_container || start_node || { apt_install_rabbitmq && start_node; } || fail 69 \
            "no RabbitMQ broker: start Docker, install rabbitmq-server, or set EDNA_COURIER__BROKER__URL"
    fi
    export EDNA_COURIER__BROKER__URL="amqp://guest:guest@127.0.0.1:$port/%2f"
}

need_cargo
need_cc
# Cargo shows its progress on a terminal; elsewhere it would print a line per crate.
quiet=--quiet
if [ -t 2 ]; then quiet=''; fi
step "Building edna-courier (about 3 minutes the first time)"
# shellcheck disable=SC2086 # one word or none
cargo build --profile quickstart --locked $quiet
took
find_broker
step "Running the demo (about 5 s)"
cargo run --profile quickstart --locked --quiet -- demo "$@"
took
