#!/bin/sh
# Install FER-Edge from this checkout as a service, for example on a Raspberry Pi: sudo deploy/install.sh
# It prints what it will do and asks. Run it again to update.
set -eu
umask 022 # the service's own account must be able to read what root installs

usage() {
    cat <<'END'
usage: sudo deploy/install.sh [OPTION…]

  --yes            do not ask
  --dry-run        only print what would be done
  --uninstall      stop and remove the service and the environment; settings and events are kept
  --extras A,B     extras to install (default: mqtt,web,update)
  --dir DIR        folder of the virtual environment (default: /opt/fer-edge)
  --no-service     install the program only
END
}

fail() {
    echo "install.sh: $1" >&2
    exit 2
}

say() {
    printf '%s\n' "$*"
}

dir=/opt/fer-edge extras=mqtt,web,update service=yes yes='' dry='' uninstall=''
while [ $# -gt 0 ]; do
    case $1 in
        --yes) yes=1 ;;
        --dry-run) dry=1 ;;
        --uninstall) uninstall=1 ;;
        --no-service) service='' ;;
        --extras | --dir)
            [ $# -gt 1 ] || fail "$1 needs a value; see --help"
            if [ "$1" = --dir ]; then dir=$2; else extras=$2; fi
            shift
            ;;
        -h | --help)
            usage
            exit
            ;;
        *) fail "unknown option $1; see --help" ;;
    esac
    shift
done

case $dir in
    /?*) ;;
    *) fail "--dir $dir: must be an absolute path" ;;
esac
dir=${dir%/}
checkout=$(cd "$(dirname "$0")/.." && pwd)
[ -f "$checkout/pyproject.toml" ] || fail "$checkout: not a checkout of FER-Edge"

# What is there.
[ ! -e "$dir/current" ] || fail "$dir: made by a card or by fer-edge deploy; update it with fer-edge deploy"
if [ -d "$dir" ] && [ -n "$(ls -A "$dir")" ] && [ ! -f "$dir/pyvenv.cfg" ]; then
    fail "$dir: not empty and not a virtual environment; choose another folder with --dir"
fi

# The work of each step. Steps are printed before anything is changed.
remove_service() {
    if "$dir/bin/fer-edge" --version >/dev/null 2>&1; then
        "$dir/bin/fer-edge" service remove
    else # its Python is gone, for example after a system upgrade
        systemctl disable --now fer-edge.service || :
        rm -f /etc/systemd/system/fer-edge.service /etc/modules-load.d/fer-edge.conf /etc/sysusers.d/fer-edge.conf
        systemctl daemon-reload
    fi
}

install_packages() {
    apt-get update
    # shellcheck disable=SC2086 # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages </dev/null
}

make_environment() {
    if [ "$("$dir/bin/python" -c "$version_of" 2>/dev/null)" != "$version" ]; then
        python3 -m venv --system-site-packages --clear "$dir"
    fi
    pip() { "$dir/bin/python" -m pip --disable-pip-version-check "$@"; }
    say "Installing into $dir, which may take some minutes"
    built=$(mktemp -d)
    trap 'rm -rf "$built"' EXIT
    # Everything is built and downloaded before what is installed is changed.
    pip wheel --quiet --no-deps --wheel-dir "$built" "$checkout"
    if [ -n "$lock" ]; then
        pip install --require-hashes --requirement "$lock"
    fi
    wheel=$(echo "$built"/*.whl)
    pip install --quiet "${wheel}[$extras]"
    pip install --quiet --force-reinstall --no-deps "$wheel" # also if the version is the same
}

install_service() {
    "$dir/bin/fer-edge" service install
    if [ -n "$update" ]; then
        systemctl restart fer-edge.service # otherwise the old code keeps running
    fi
}

ask() {
    [ -z "$dry" ] || exit 0
    [ -z "$yes" ] || return 0
    [ -t 0 ] || fail "standard input is not a terminal, so the question cannot be asked: add --yes"
    printf 'Continue? [y/N] '
    read -r answer || answer=''
    case $answer in
        [yY] | [yY][eE][sS]) ;;
        *)
            say "Nothing was changed."
            exit 1
            ;;
    esac
}

if [ -n "$service" ] && [ -z "$dry" ]; then
    [ -d /run/systemd/system ] || fail "systemd is not running, and the service needs it: add --no-service"
    [ "$(id -u)" = 0 ] || fail "changing system services needs root: sudo $0"
fi

if [ -n "$uninstall" ]; then
    [ -f "$dir/pyvenv.cfg" ] || fail "$dir: nothing is installed there"
    say "This removes FER-Edge:"
    [ -z "$service" ] || say "  - the service fer-edge"
    say "  - $dir"
    say "Kept: the settings in /etc/fer-edge, the events in /var/lib/fer-edge, the user fer-edge, Debian's packages."
    ask
    [ -z "$service" ] || remove_service
    rm -rf "$dir"
    say "$dir is removed"
    exit
fi

case $(uname -m) in
    aarch64 | x86_64) ;;
    *) fail "$(uname -m): FER-Edge needs a 64-bit system (aarch64 or x86_64)" ;;
esac
version_of='import struct, sys; print(*sys.version_info[:2], sep=".") if struct.calcsize("P") == 8 else print("32-bit")'
version=$(python3 -c "$version_of") || fail "python3 does not run; install Python 3.11, 3.12 or 3.13"
lock=''
case $version in
    3.11) lock=$checkout/edge/fer_flash/locks/pi-bookworm.txt ;;
    3.12) ;;
    3.13) lock=$checkout/edge/fer_flash/locks/pi-trixie.txt ;;
    *) fail "python3 is $version; FER-Edge needs Python 3.11, 3.12 or 3.13, 64-bit" ;;
esac
update=''
[ ! -f "$dir/pyvenv.cfg" ] || update=1

packages=''
python3 -c 'import venv, ensurepip' 2>/dev/null || packages=python3-venv
# Raspberry Pi's archive has it, Debian's has not.
if [ -n "$service" ] && ! python3 -c 'import picamera2' 2>/dev/null && apt-cache show python3-picamera2 >/dev/null 2>&1; then
    packages="$packages python3-picamera2"
fi
if [ -n "$packages" ] && ! command -v apt-get >/dev/null; then
    fail "these packages are missing, and so is apt-get: $packages"
fi

if [ -n "$update" ]; then
    say "This updates FER-Edge from $checkout:"
else
    say "This installs FER-Edge from $checkout:"
fi
[ -z "$packages" ] || say "  - Debian packages: ${packages# }"
say "  - a virtual environment in $dir that sees the system's packages, with the extras $extras (350 MB)"
[ -z "$lock" ] || say "    and the versions of ${lock#"$checkout/"}"
[ -z "$service" ] || say "  - the service fer-edge, its user, and settings in /etc/fer-edge; it starts now and at each boot"
say "To undo it: $0 --uninstall"
ask
[ -z "$packages" ] || install_packages
make_environment
[ -z "$service" ] || install_service
say "$("$dir/bin/fer-edge" --version) is installed; to check this machine: $dir/bin/fer-edge doctor"
