#!/bin/sh
# The benchmark: the daemon beside a bare loop with the same libraries, on the same broker and the same stub of the API.
#
#     sh tests/bench/run.sh [case...] [option...]       # the figures; see --help and --list
#     sh tests/bench/run.sh lto [case...] [option...]   # also the bare loop built with the daemon's profile (LTO)
#     sh tests/bench/run.sh smoke                       # a few hundred commands: checks that it runs, measures nothing
#     sh tests/bench/run.sh micro                       # the pure code of one command, without broker and API
#
# The broker is that of the tests: EDNA_COURIER_TEST_AMQP_URL, else a container, else a private rabbitmq-server. Figures
# are steadier on a broker without other clients.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/setup.sh
. deploy/setup.sh
need_cargo
need_cc
# A case with thousands of concurrent attempts has as many connections.
# shellcheck disable=SC3045 # every sh in use has -n
ulimit -n "$(ulimit -H -n)" || true
export CARGO_TERM_QUIET=true
release=${CARGO_TARGET_DIR:-target}/release

case "${1:-}" in
smoke)
    cargo test --locked --bench micro
    exec cargo test --locked --bench courier -- --pairs 1 smoke smoke-latency
    ;;
micro) exec cargo bench --locked --bench micro ;;
lto)
    shift
    cargo build --release --locked --example bare
    set -- --bare-lto "$release/examples/bare" "$@"
    ;;
esac

# The daemon is measured as it is released: built without the dependencies' features that only tests need. `cargo bench`
# overwrites it with a build that has them, so it is copied first.
cargo build --release --locked
daemon=$(mktemp)
trap 'rm -f "$daemon"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
cp "$release/edna-courier" "$daemon"
chmod +x "$daemon"
cargo bench --locked --bench courier -- --daemon "$daemon" "$@"
