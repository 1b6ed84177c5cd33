#!/bin/sh
# The benchmark: the daemon beside a bare loop of the same libraries, on the same broker and the same stand-in for the API.
#
#     sh tests/bench/run.sh [case…] [option…]     # the figures; --help and --list tell what there is
#     sh tests/bench/run.sh smoke                 # a few hundred commands: proves that it runs, measures nothing
#     sh tests/bench/run.sh micro                 # the pure code of one command, without broker and API
#
# The broker is the tests': EDNA_COURIER_TEST_AMQP_URL, else a container, else a private rabbitmq-server. A broker that
# nobody else uses gives steadier figures.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/setup.sh
. deploy/setup.sh
need_cargo
need_cc
# A case with thousands of attempts under way has as many connections.
# shellcheck disable=SC3045 # every sh in use knows it
ulimit -n "$(ulimit -H -n)" || true
export CARGO_TERM_QUIET=true

case "${1:-}" in
smoke)
    cargo test --locked --bench micro
    exec cargo test --locked --bench courier -- --pairs 1 smoke smoke-latency
    ;;
micro) exec cargo bench --locked --bench micro ;;
esac

# The daemon is measured as it is released. `cargo bench` would build it anew with what only tests need of its
# dependencies (a clock that can be stopped), so it is built first and kept apart.
cargo build --release --locked
daemon=$(mktemp)
trap 'rm -f "$daemon"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
cp "${CARGO_TARGET_DIR:-target}/release/edna-courier" "$daemon"
chmod +x "$daemon"
cargo bench --locked --bench courier -- --daemon "$daemon" "$@"
