# shellcheck shell=sh
# What the project's scripts share; sourced, never run. Steps go to stderr, one line each.

image=rabbitmq:4-management
# Debian's command of the same name insists on root and on the system's folders; the server's own is free of both.
PATH=/usr/lib/rabbitmq/bin:$PATH

step() { printf '==> %s\n' "$*" >&2; }

# fail CODE WORDS: says what is wrong and what to do, and ends the script.
fail() {
    code=$1
    shift
    printf 'error: %s\n' "$*" >&2
    exit "$code"
}

have() { command -v "$1" >/dev/null 2>&1; }

# within SECONDS COMMAND: ends the command when it takes longer. Perl stands in where there is no `timeout` (macOS).
within() {
    if have timeout; then timeout "$@"; else perl -e 'alarm shift; exec @ARGV' "$@"; fi
}

# await SECONDS COMMAND: repeats the command until it succeeds; fails when the time is over.
await() {
    deadline=$(($(date +%s) + $1))
    shift
    until "$@"; do
        [ "$(date +%s)" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

# quietly COMMAND: shows what the command printed only when it fails.
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
        sudo -n "$@" # nobody is there to type a password
    fi
}

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@"; }

# apt_install PACKAGES: fails where there is no apt, or no right to use it.
apt_install() {
    have apt-get && as_root true 2>/dev/null || return 1
    step "Installing $* with apt"
    apt_get install --no-install-recommends -y "$@" >/dev/null 2>&1 && return 0
    # Most often the list of packages is old, or not there yet.
    quietly apt_get update && quietly apt_get install --no-install-recommends -y "$@"
}

# apt_install_idle PACKAGE UNITS: a packaged server starts itself, now and at every boot. We need its program, not its
# service.
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

# One dependency holds C code (aws-lc-sys), and Rust links with cc; neither cmake nor anything else is needed.
need_cc() {
    have cc || apt_install gcc libc6-dev ||
        fail 69 "a C compiler is missing: install gcc or clang and run this again"
}

docker_answers() { have docker && within 10 docker version >/dev/null 2>&1; }

have_image() { docker image inspect "$image" >/dev/null 2>&1; }

# Docker answers and the broker's image is there, pulled now if need be.
get_image() {
    docker_answers || return 1
    have_image && return 0
    step "Pulling $image (two minutes at most)"
    within 120 docker pull -q "$image" >/dev/null 2>&1
}
