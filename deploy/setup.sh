# shellcheck shell=sh
# Functions shared by the project's scripts. Sourced, never run. Progress goes to stderr.

image=rabbitmq:4-management
# Debian's rabbitmq-server wrapper requires root and the system directories; the server's own script requires neither.
PATH=/usr/lib/rabbitmq/bin:$PATH

# step WORDS: announces a step and starts its clock; `took` prints how long it lasted.
step() {
    step_began=$(date +%s)
    printf '==> %s\n' "$*" >&2
}

took() { printf '    done in %s s\n' "$(($(date +%s) - step_began))" >&2; }

# fail CODE WORDS: prints what is wrong and how to fix it, and exits with the code.
fail() {
    code=$1
    shift
    printf 'error: %s\n' "$*" >&2
    exit "$code"
}

have() { command -v "$1" >/dev/null 2>&1; }

# within SECONDS COMMAND: terminates the command after that time. Perl replaces `timeout` where there is none (macOS).
within() {
    if have timeout; then timeout "$@"; else perl -e 'alarm shift; exec @ARGV' "$@"; fi
}

# await SECONDS COMMAND: repeats the command until it succeeds; fails after that time.
await() {
    deadline=$(($(date +%s) + $1))
    shift
    until "$@"; do
        [ "$(date +%s)" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

# quietly COMMAND: prints the command's output only if the command fails.
quietly() {
    if printed=$("$@" 2>&1); then return 0; fi
    printf '%s\n' "$printed" | tail -n 60 >&2
    return 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif ! have sudo; then
        return 1
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@" # without a terminal sudo must not prompt for a password
    fi
}

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@"; }

# apt_install PACKAGES: fails without apt or without root.
apt_install() {
    have apt-get && as_root true 2>/dev/null || return 1
    step "Installing $* with apt (about a minute)"
    # The usual reason of a failure is a missing or outdated package list.
    apt_get install --no-install-recommends -y "$@" >/dev/null 2>&1 ||
        { quietly apt_get update && quietly apt_get install --no-install-recommends -y "$@"; } || return 1
    took
}

# apt_install_idle PACKAGE UNITS: installs a server without starting its service, now or at boot.
apt_install_idle() (
    package=$1
    shift
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ] && as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy" 2>/dev/null; then
        trap 'as_root rm -f "$policy"' EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM HUP
    fi
    apt_install "$package" || exit 1
    if have systemctl; then as_root systemctl --quiet disable "$@" 2>/dev/null || :; fi
)

apt_install_rabbitmq() { apt_install_idle rabbitmq-server rabbitmq-server.service epmd.socket; }

need_cargo() {
    have cargo || PATH=$PATH:$HOME/.cargo/bin
    have cargo || fail 69 "cargo is missing: install Rust from https://rustup.rs and run this again"
}

# One dependency contains C code (aws-lc-sys), and Rust links with cc. cmake is not needed.
need_cc() {
    have cc || apt_install gcc libc6-dev ||
        fail 69 "a C compiler is missing: install gcc or clang and run this again"
}

docker_answers() { have docker && within 10 docker version >/dev/null 2>&1; }

have_image() { docker image inspect "$image" >/dev/null 2>&1; }

# Succeeds if the Docker daemon answers and has the broker's image, pulled now if necessary.
get_image() {
    docker_answers || return 1
    have_image || pull_image
}

# Pulls the image in at most two minutes. Without a reachable registry `docker pull` prints nothing and retries for
# minutes; with one it prints its first line once it has the manifest. Ten seconds without output end the attempt.
# shellcheck disable=SC2030 # its variables are meant to be local
pull_image() (
    step "Pulling $image (at most two minutes)"
    log=$(mktemp)
    docker pull "$image" >"$log" 2>&1 &
    pull=$!
    # A background process of a script ignores Ctrl-C.
    trap 'kill "$pull" 2>/dev/null || :; rm -f "$log"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    if ! await 10 pull_answered; then
        step "No answer from the image registry within 10 s"
    elif ! await 110 pull_ended; then
        step "The pull is not complete after two minutes"
    elif wait "$pull"; then
        took
        exit 0
    else
        step "The image could not be pulled: $(tail -n 1 "$log")"
    fi
    exit 1
)

# shellcheck disable=SC2031 # called inside pull_image
pull_answered() { [ -s "$log" ] || pull_ended; }
# shellcheck disable=SC2031
pull_ended() { ! kill -0 "$pull" 2>/dev/null; }
