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

container='' node='' epmd='' folder=''

cleanup() {
    [ -z "$container" ] || docker rm -f -v "$container" >/dev/null 2>&1 || :
    for process in $node $epmd; do # the node first: it unregisters from epmd
        kill "$process" 2>/dev/null || :
        wait "$process" 2>/dev/null || :
    done
    [ -z "$folder" ] || rm -rf "$folder"
    container='' node='' epmd='' folder=''
}
trap cleanup EXIT
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

# Prints a port without a listener, below the range of ephemeral ports.
free_port() {
    while :; do
        candidate=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
        # shellcheck disable=SC2016 # bash expands it
        bash -c '</dev/tcp/127.0.0.1/$1' bash "$candidate" 2>/dev/null || break
    done
    printf '%s' "$candidate"
}

container_started() { docker logs "$container" 2>&1 | grep -q 'Server startup complete'; }
container_started_or_exited() { container_started || [ "$(docker inspect -f '{{.State.Running}}' "$container" 2>/dev/null)" != true ]; }

start_container() {
    get_image || return 1
    step "Starting a broker in a container ($image, about 15 s)"
    container=edna-courier-demo-$$-$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
    if docker run -d --rm --name "$container" -p 127.0.0.1::5672 "$image" >/dev/null 2>&1 &&
        await 60 container_started_or_exited && container_started; then
        port=$(docker port "$container" 5672/tcp | sed -n '1s/.*://p')
        took
        return 0
    fi
    step "The container did not start"
    cleanup
    return 1
}

node_started() { grep -q 'Server startup complete' "$folder/log"; }
node_started_or_exited() { node_started || ! kill -0 "$node" 2>/dev/null; }

# Starts a private node: loopback only, with its own ports, directory, cookie and port mapper (epmd), apart from any
# other node of this machine.
start_node() {
    have rabbitmq-server && have epmd || return 1
    step "Starting a private broker ($(command -v rabbitmq-server), about 10 s)"
    folder=$(mktemp -d)
    port=$(free_port) dist_port=$(free_port) epmd_port=$(free_port)
    printf 'listeners.tcp.1 = 127.0.0.1:%s\nlog.console = true\nlog.file = false\n' "$port" >"$folder/rabbitmq.conf"
    printf '[].\n' >"$folder/enabled_plugins"
    run_node epmd
    epmd=$!
    run_node rabbitmq-server
    node=$!
    if await 60 node_started_or_exited && node_started; then
        took
        return 0
    fi
    step "The broker did not start:"
    tail -n 5 "$folder/log" >&2
    cleanup
    return 1
}

# run_node COMMAND: runs it in the background, with the node's environment.
run_node() {
    HOME=$folder ERL_EPMD_PORT=$epmd_port ERL_EPMD_ADDRESS=127.0.0.1 \
        RABBITMQ_NODENAME=edna-courier-$$@localhost RABBITMQ_DIST_PORT=$dist_port \
        RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE=$folder/rabbitmq.conf \
        RABBITMQ_ENABLED_PLUGINS_FILE=$folder/enabled_plugins RABBITMQ_MNESIA_BASE=$folder RABBITMQ_LOG_BASE=$folder \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
        "$@" >>"$folder/log" 2>&1 </dev/null &
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
step "Building edna-courier (about 4 minutes the first time)"
# shellcheck disable=SC2086 # one word or none
cargo build --profile quickstart --locked $quiet
took
find_broker
step "Running the demo (about 5 s)"
cargo run --profile quickstart --locked --quiet -- demo "$@"
took
