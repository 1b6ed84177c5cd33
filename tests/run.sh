#!/bin/sh
# Sets up what is missing and runs everything that guards the project:
#
#     sh tests/run.sh
#
# Formatting, lints, the files of deploy/ with the tools that are here, all tests against a broker in a container, and
# the integration tests once more against a private node of an installed rabbitmq-server. Redis is a private process, too.
# The last line says what ran.
# EDNA_COURIER_TEST_AMQP_URL adds a broker of yours. Exit code: 0 only if nothing failed; 69 when there is no broker.
#
# What takes too long for every day runs on demand, against a broker of its own and with an optimised build:
#
#     sh tests/run.sh soak      random faults under load, for ten minutes (EDNA_COURIER_SOAK_SECONDS, EDNA_COURIER_SOAK_SEED)
#     sh tests/run.sh figures   a refused token with 10,000 commands waiting; 300,000 commands due at once;
#                             40,000 commands of 200 devices in order
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/setup.sh
. deploy/setup.sh

# Some tests have thousands of connections open. POSIX does not know -n; where a shell does not, the limit stays.
# shellcheck disable=SC3045
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

passed='' skipped='' folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# check NAME COMMAND: shows what the command printed only when it fails, and then ends everything.
check() {
    name=$1
    shift
    step "Checking $name"
    quietly "$@" || fail 1 "$name: see above"
    passed="$passed, $name"
}

# check_with TOOL NAME COMMAND: the check, if the tool is here.
check_with() {
    tool=$1
    shift
    if have "$tool"; then check "$@"; else skipped="$skipped, $1 (no $tool)"; fi
}

alerts() { promtool check config deploy/observability/prometheus.yml && promtool test rules deploy/observability/alerts.test.yml; }

json() {
    find deploy -name '*.json' | while read -r file; do python3 -m json.tool "$file" /dev/null || return 1; done
}

# The program is not installed here, and systemd-analyze insists on it: a stand-in takes its place.
unit() {
    sed 's#^ExecStart=[^ ]*#ExecStart=/bin/true#' deploy/systemd/edna-courier.service >"$folder/edna-courier.service"
    systemd-analyze verify "$folder/edna-courier.service" &&
        systemd-analyze security --offline=true --threshold=20 "$folder/edna-courier.service"
}

check_deploy() {
    check_with shellcheck scripts shellcheck -x deploy/setup.sh deploy/quickstart.sh tests/run.sh tests/bench/run.sh .ci/run
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
}

# bootstrap [as_root]: an image of Debian's packages that does the same as the official one.
bootstrap() {
    # shellcheck disable=SC2016 # mmdebstrap expands $1
    "$@" mmdebstrap --variant=minbase --include=rabbitmq-server \
        --customize-hook='mkdir -p "$1/etc/rabbitmq/conf.d"' \
        --customize-hook='printf "%s\n" "loopback_users.guest = false" "log.console = true" >"$1/etc/rabbitmq/conf.d/10-defaults.conf"' \
        --customize-hook='echo "[rabbitmq_management,rabbitmq_prometheus]." >"$1/etc/rabbitmq/enabled_plugins"' \
        trixie - >"$folder/image.tar"
}

# Where no image can be pulled, one is built (about a minute). Who is not root needs user namespaces for that, or sudo.
build_image() {
    docker_answers || return 1
    have mmdebstrap || apt_install mmdebstrap debian-archive-keyring uidmap || return 1
    step "Building $image from Debian's packages"
    { quietly bootstrap || { [ "$(id -u)" != 0 ] && quietly bootstrap as_root; }; } &&
        quietly docker import -c 'EXPOSE 4369 5671 5672 15672 15692 25672' -c 'CMD ["rabbitmq-server"]' \
            "$folder/image.tar" "$image"
}

# The brokers to test against, by the names that the tests know them by.
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

run_tests() {
    brokers=$(find_brokers)
    [ -n "$brokers" ] ||
        fail 69 "no RabbitMQ broker: start Docker, install rabbitmq-server, or set EDNA_COURIER_TEST_AMQP_URL"
    which='' # all of them with the first broker; then only those that need one
    for broker in $brokers; do
        step "Testing, with the broker: $broker"
        # They mostly wait, so there may be more of them than cores.
        # shellcheck disable=SC2086 # two words or none
        EDNA_COURIER_TEST_BROKER=$broker RUST_TEST_THREADS=${RUST_TEST_THREADS:-3} cargo test --quiet --locked $which ||
            fail 1 "tests with the broker $broker: see above"
        passed="$passed, ${which:+integration }tests with the broker $broker"
        which='--test it'
    done
    case " $brokers" in *' container '*) ;; *) skipped="$skipped, tests in a container (no Docker, or no image)" ;; esac
    case " $brokers" in *' process '*) ;; *) skipped="$skipped, tests with a private broker (no rabbitmq-server)" ;; esac
}

# on_demand TEST...: its output is the result.
on_demand() {
    find_brokers >/dev/null
    step "Running on demand: $*"
    cargo test --quiet --release --locked --test soak -- --nocapture --test-threads=1 "$@" || fail 1 "see above"
    exit
}

need_cargo
need_cc
case ${1:-} in
'') ;;
soak) on_demand --exact soak ;;
figures) on_demand figure_of ;;
*) fail 64 "$1 is none of soak, figures" ;;
esac
check_code
check_deploy
need_redis
run_tests
step "Passed: ${passed#, }${skipped:+. Not run: ${skipped#, }}"
