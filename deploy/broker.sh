# shellcheck shell=sh
# Starts a private RabbitMQ broker, in a container or as a process. Sourced after setup.sh, never run.
#
# start_container and start_node set `port`, the broker's AMQP port on 127.0.0.1 for guest/guest, and `management_port`, that
# of its management API. stop_broker stops what they started; the sourcing script calls it in its EXIT trap.

container='' node='' epmd='' node_dir=''

stop_broker() {
    [ -z "$container" ] || docker rm -f -v "$container" >/dev/null 2>&1 || :
    for process in $node $epmd; do # the node first: it unregisters from epmd
        kill "$process" 2>/dev/null || :
        wait "$process" 2>/dev/null || :
    done
    [ -z "$node_dir" ] || rm -rf "$node_dir"
    container='' node='' epmd='' node_dir=''
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

# published CONTAINER_PORT: prints its port on 127.0.0.1.
published() { docker port "$container" "$1/tcp" | sed -n '1s/.*://p'; }

# shellcheck disable=SC2034,SC2154 # the sourcing script reads the ports; setup.sh sets image
start_container() {
    get_image || return 1
    step "Starting a broker in a container ($image, about 15 s)"
    container=edna-courier-$$-$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
    if docker run -d --rm --name "$container" -p 127.0.0.1::5672 -p 127.0.0.1::15672 "$image" >/dev/null 2>&1 &&
        await 60 container_started_or_exited && container_started; then
        port=$(published 5672) management_port=$(published 15672)
        took
        return 0
    fi
    step "The container did not start"
    stop_broker
    return 1
}

node_started() { grep -q 'Server startup complete' "$node_dir/log"; }
node_started_or_exited() { node_started || ! kill -0 "$node" 2>/dev/null; }

# Starts a private node: loopback only, with its own ports, directory, cookie and port mapper (epmd), apart from any
# other node of this machine.
start_node() {
    have rabbitmq-server && have epmd || return 1
    step "Starting a private broker ($(command -v rabbitmq-server), about 10 s)"
    node_dir=$(mktemp -d)
    port=$(free_port) management_port=$(free_port) dist_port=$(free_port) epmd_port=$(free_port)
    cat >"$node_dir/rabbitmq.conf" <<END
listeners.tcp.1 = 127.0.0.1:$port
management.tcp.ip = 127.0.0.1
management.tcp.port = $management_port
log.console = true
log.file = false
END
    printf '[rabbitmq_management].\n' >"$node_dir/enabled_plugins"
    run_node epmd
    epmd=$!
    run_node rabbitmq-server
    node=$!
    if await 60 node_started_or_exited && node_started; then
        took
        return 0
    fi
    step "The broker did not start:"
    tail -n 5 "$node_dir/log" >&2
    stop_broker
    return 1
}

# run_node COMMAND: runs it in the background, with the node's environment.
run_node() {
    HOME=$node_dir ERL_EPMD_PORT=$epmd_port ERL_EPMD_ADDRESS=127.0.0.1 \
        RABBITMQ_NODENAME=edna-courier-$$@localhost RABBITMQ_DIST_PORT=$dist_port \
        RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE=$node_dir/rabbitmq.conf \
        RABBITMQ_ENABLED_PLUGINS_FILE=$node_dir/enabled_plugins RABBITMQ_MNESIA_BASE=$node_dir \
        RABBITMQ_LOG_BASE=$node_dir RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
        "$@" >>"$node_dir/log" 2>&1 </dev/null &
}
