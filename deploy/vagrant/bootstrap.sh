#!/usr/bin/env bash
# From a fresh Debian, Ubuntu or Fedora to a built and tried sidestep, one step per argument, as root.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: bootstrap.sh [--source DIR] [install|build|demo|test|bench]...

  install  compilers, bpf-linker, test tools, Envoy
  build    release binaries
  demo     the lo/eth0 experiment
  test     every test
  bench    the numbers, with and without sidestep

Without a step: all of them, in this order. DIR is the clone [default: the one this script is in].
USAGE
}

fail() {
    echo "bootstrap.sh: $*" >&2
    exit 1
}

# What `cargo xtask setup` accepts; older ones cannot read what current compilers write.
bpf_linker=0.13.0

# rustup and bpf-linker put themselves there; a provisioner's shell has read no profile.
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin:$PATH"

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@"
}

# Debian keeps a current compiler for its browsers, with `core` for the BPF target, in every release it supports.
install_debian() {
    apt-get -q update
    apt_install ca-certificates gcc libc6-dev
    if apt_install cargo-web rustc-web && is_new_enough; then
        return
    fi
    echo "bootstrap.sh: no cargo-web and rustc-web $(wanted_rust) to be had in this release: taking rustup's" >&2
    apt_install curl xz-utils zstd
    install_rustup
}

wanted_rust() {
    sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml
}

is_new_enough() {
    local version
    version=$(rustc --version | cut -d ' ' -f 2)
    [[ $(printf '%s\n' "$(wanted_rust)" "$version" | sort --version-sort | head -n 1) == "$(wanted_rust)" ]]
}

install_ubuntu() {
    apt-get -q update
    apt_install ca-certificates curl gcc libc6-dev xz-utils zstd
    # bpftool is of the kernel's own package here; one without it still has everything else.
    apt_install linux-tools-common "linux-tools-$(uname -r)" || echo "no bpftool for $(uname -r)" >&2
    install_rustup
}

# `cargo xtask setup` names Debian's packages: here theirs have to be there already.
install_fedora() {
    dnf --quiet --assumeyes install ca-certificates curl gcc glibc-devel glibc-static tar xz zstd \
        iproute iproute-tc iptables-nft iptables-legacy util-linux nginx haproxy conntrack-tools wrk bpftool \
        python3 python3-pip dnsmasq bind-utils
    install_rustup
}

install_rustup() {
    if ! command -v rustup >/dev/null; then
        curl --proto '=https' --tlsv1.2 --fail --silent --show-error --location https://sh.rustup.rs |
            sh -s -- -y --profile minimal --no-modify-path
    fi
    rustup toolchain install stable --profile minimal --no-self-update
    rustup toolchain install nightly --profile minimal --component rust-src --no-self-update
    install_bpf_linker
}

# The project's own build of it, with the LLVM it needs inside.
install_bpf_linker() {
    if [[ $(bpf-linker --version 2>/dev/null) == "bpf-linker $bpf_linker"* ]]; then
        return
    fi
    local archive
    archive=bpf-linker-$(uname -m)-unknown-linux-musl.tar.zst
    curl --fail --silent --show-error --location --output "/tmp/$archive" \
        "https://github.com/aya-rs/bpf-linker/releases/download/v$bpf_linker/$archive"
    zstd --decompress --stdout "/tmp/$archive" | tar --extract --directory /usr/local/bin bpf-linker
    rm -f "/tmp/$archive"
    bpf-linker --version
}

install_step() {
    # shellcheck source=/dev/null
    . /etc/os-release
    case $ID in
        debian) install_debian ;;
        ubuntu) install_ubuntu ;;
        fedora) install_fedora ;;
        *) fail "this is $ID: known are debian, ubuntu and fedora; install what CONTRIBUTING.md names by hand" ;;
    esac
    cargo xtask setup
}

run_step() {
    echo "=== $1 ($(. /etc/os-release && echo "$PRETTY_NAME"), Linux $(uname -r))"
    case $1 in
        install) install_step ;;
        build | demo | test | bench) cargo xtask "$1" ;;
    esac
    echo "=== $1: ok, $SECONDS s so far"
}

source_dir=
steps=()
while (($#)); do
    case $1 in
        --source)
            source_dir=${2-}
            [[ -n $source_dir ]] || fail "--source wants a directory"
            shift
            ;;
        install | build | demo | test | bench) steps+=("$1") ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) fail "$1 is no step; see bootstrap.sh --help" ;;
    esac
    shift
done
((${#steps[@]})) || steps=(install build demo test bench)
source_dir=${source_dir:-$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../..}
[[ -f $source_dir/xtask/Cargo.toml ]] || fail "$source_dir is no clone of sidestep; name one with --source DIR"
[[ $(id -u) == 0 ]] || fail "needs root: it installs packages, and the demo makes network namespaces"
cd "$source_dir"
for step in "${steps[@]}"; do
    run_step "$step"
done
