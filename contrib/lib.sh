# Shared by the scripts in this directory (sourced by bash).

ROOT=$(dirname "$(dirname "$(realpath -- "${BASH_SOURCE[0]}")")")
LAB=$ROOT/tests/lab
STARTED=$SECONDS

# What the lab and the build need from Debian 12.
PACKAGES="cyrus-imapd cyrus-replication cyrus-clients cyrus-admin cyrus-caldav sasl2-bin
    gcc libc6-dev make pkg-config libsqlite3-dev python3 openssl systemd"

# What the package and its test on systemd hosts need besides.
SYSTEM_PACKAGES="debhelper dpkg-dev lintian mandoc mmdebstrap systemd-container iproute2 procps"

bold=''; plain=''
if [ -t 1 ]; then bold=$'\e[1m'; plain=$'\e[0m'; fi
say() { printf '%s\n' "$*"; }
step() { printf '\n%s[%4d s] %s%s\n' "$bold" "$((SECONDS - STARTED))" "$*" "$plain"; }
fail() { printf '%s\n' "${0##*/}: $*" >&2; exit 1; }

# Installs what is missing, and says so.
need_packages() {
    local package missing=() sudo=() policy=""
    for package in $PACKAGES; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ "${#missing[@]}" -eq 0 ] && return 0
    say "Installing from Debian: ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "run this as root once, or: apt-get install ${missing[*]}"
        sudo=(sudo)
    fi
    # the packages' own Cyrus must not start: the lab's instances are all that is needed
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null && "${sudo[@]}" chmod 755 "$policy"
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive sh -c "
        apt-get update -q && apt-get install -q -y --no-install-recommends ${missing[*]}" >/tmp/cyrus-sync-apt.$$ 2>&1
    local status=$?
    [ -n "$policy" ] && "${sudo[@]}" rm -f "$policy"
    if [ "$status" -ne 0 ]; then tail -20 /tmp/cyrus-sync-apt.$$ >&2; fail "apt-get could not install them (see above)"; fi
    rm -f /tmp/cyrus-sync-apt.$$
}

need_cargo() {
    command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
    command -v cargo >/dev/null || fail "no cargo. Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml") or later is needed,
which Debian 12 does not have; https://rustup.rs installs it for your user"
}

# Builds our programs with the profile of the tests, so that every crate is compiled once.
build() {
    need_cargo
    (cd "$ROOT" && cargo build --quiet --all-targets) || fail "the build failed"
    CYRUS_SYNC_BIN=${CYRUS_SYNC_BIN:-${CARGO_TARGET_DIR:-$ROOT/target}/debug/sync_server}
    export CYRUS_SYNC_BIN
}
