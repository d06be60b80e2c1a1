#!/bin/sh
# Install or update FER-Edge from the payload in this folder. Runs as root, without a network; can be repeated.
#
#   sh install.sh                   install, start the service and check it; roll back if the check fails
#   sh install.sh --first-boot      the same during boot; does not roll back if the service does not start
#   sh install.sh --replace-config  also replace settings that were changed here (old ones: config.toml.old)
#   sh install.sh --forget-secrets  finally remove the secrets from the payload, even after an error
#   sh install.sh --remove          uninstall; keep settings and events
#   sh install.sh --remove --purge  uninstall; delete settings and events too
#
# /opt/fer-edge/releases/<id>  a virtual environment, and the model if the payload has one
# /opt/fer-edge/current        link to the active release, which the service runs
# /opt/fer-edge/previous       link to the release before it
# /opt/fer-edge/shipped        copies of what was installed in /etc/fer-edge; files that differ were changed here
# /opt/fer-edge/shipped/payload  hash of the payload that was installed last, while nothing of it is half done
# shellcheck disable=SC2034 # some variables are for install_packages.sh, install_files.sh and install_checks.sh
set -eu
exec 8>&2
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
# The SSH connection may be cut; the installation must still complete.
trap '' HUP PIPE

home=/opt/fer-edge
settings=/etc/fer-edge
state=/var/lib/fer-edge
unit=fer-edge.service
drop_in=/etc/systemd/system/$unit.d/10-credentials.conf
user_file=/etc/sysusers.d/fer-edge.conf # as `fer-edge service install` writes it
modules_file=/etc/modules-load.d/fer-edge.conf
user_line='u fer-edge - "FER-Edge" /var/lib/fer-edge'
shipped=$home/shipped
# A card that `fer-edge flash` made also has the payload, and a report of its first boot.
card=/boot/firmware/fer-edge
card_report=/boot/firmware/fer-edge-first-boot.txt
first_boot_unit=fer-edge-first-boot.service
first_boot_state=/var/lib/fer-edge-first-boot

payload=$(cd "$(dirname "$0")" && pwd)
first_boot=
replace=
forget=
locked=
mode=install
purge=
step='the beginning'
switched=
changed=
touched=
errors=

say() {
    # Standard output may be closed.
    printf 'fer-edge install: %s\n' "$*" 2>/dev/null || :
}

begin() {
    step=$1
    say "$1"
}

die() {
    set +e
    trap - EXIT
    trap '' INT TERM
    if [ -n "$touched" ]; then
        roll_back
    fi
    forget_secrets
    rm -f "$errors"
    printf 'fer-edge install: %s\n' "$*" >&8
    exit "${code:-1}"
}

forget_secrets() {
    # Secrets are not listed in SHA256SUMS; neither is config.toml if it contains a password.
    if [ -n "$forget" ] && [ -n "$locked" ]; then
        rm -rf "$payload/secrets"
        grep -qs '  config\.toml$' "$payload/SHA256SUMS" || rm -f "$payload/config.toml"
    fi
}

ended() {
    code=$?
    [ "$code" -eq 0 ] || die "stopped ($step): $(tail -n 1 "$errors")"
    forget_secrets
    rm -f "$errors"
}

interrupted() {
    code=$1
    die "interrupted ($step)"
}

clean() {
    # The caller's environment must not affect the service.
    env -i PATH="$PATH" HOME=/root LANG=C.UTF-8 "$@"
}

value() {
    sed -n "s/^$1=//p" "$payload/payload.conf"
}

link_of() {
    readlink "$home/$1" 2>/dev/null || :
}

point() { # point LINK TARGET: replace the link atomically
    rm -f "$home/.$1.next"
    ln -s "$2" "$home/.$1.next"
    mv -T "$home/.$1.next" "$home/$1"
}

runs_systemd() {
    [ -d /run/systemd/system ]
}

check_payload() {
    begin 'checking the payload'
    for name in install_packages.sh install_files.sh install_checks.sh payload.conf requirements.txt SHA256SUMS; do
        [ -f "$payload/$name" ] || die "$payload: not a payload: $name is missing"
    done
    wrong=$(cd "$payload" && sha256sum --check --quiet --strict SHA256SUMS 2>&1) ||
        die "$payload is damaged, copy it again: $(printf '%s\n' "$wrong" | head -n 1)"
    wanted="$(value machine) 64 $(value python)"
    found=$(python3 -c 'import platform, struct, sys
print(platform.machine(), 8 * struct.calcsize("P"), "%d.%d" % sys.version_info[:2])') ||
        die 'python3 is not installed'
    [ "$found" = "$wanted" ] ||
        die "this payload is for Python (processor, bits, version) $wanted, but this system has $found: make one for it"
    # A release is identified by its packages and model; settings and secrets may change within one.
    release=releases/$(value version)-$(sed -n '/  requirements\.txt$/p; /  bundle\//p' "$payload/SHA256SUMS" |
        sha256sum | cut -c 1-12)
}

check_room() {
    needed=$(value installed_kib)
    free=$(df -Pk "$home" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$needed" ] ||
        die "no room in $home: $((needed / 1024)) MiB needed, $((free / 1024)) MiB free"
}

make_release() {
    if [ -f "$home/$release/.complete" ]; then
        say "$home/$release is installed already"
        return
    fi
    rm -rf "${home:?}/$release"
    check_room
    begin "creating $home/$release: takes some minutes"
    mkdir -p "$home/releases"
    # --without-pip: on Debian, ensurepip is in a separate package that may be missing.
    python3 -m venv --without-pip --system-site-packages "$home/$release" >"$home/install.log" 2>&1 ||
        die "python3 -m venv: $(tail -n 1 "$home/install.log")"
    # --ignore-installed: the system may have some of these packages in other versions or builds.
    PIP_CONFIG_FILE=/dev/null clean "$home/$release/bin/python3" "$(echo "$payload"/wheels/pip-*.whl)/pip" install \
        --isolated --quiet --disable-pip-version-check --no-cache-dir --no-index --no-deps --ignore-installed \
        --no-warn-script-location --root-user-action=ignore --find-links "$payload/wheels" \
        --require-hashes --requirement "$payload/requirements.txt" >"$home/install.log" 2>&1 ||
        die "pip: $(grep -m 1 ERROR "$home/install.log" || tail -n 1 "$home/install.log"); see $home/install.log"
    cp "$payload/requirements.txt" "$home/$release/requirements.txt"
    chmod 644 "$home/$release/requirements.txt"
    if [ -d "$payload/bundle" ]; then
        cp -R "$payload/bundle" "$home/$release/bundle"
        chmod -R a+rX,u+w,go-w "$home/$release/bundle"
    fi
    # Sync before the release is marked as complete: the power may fail.
    sync
    : >"$home/$release/.complete"
}

make_user() {
    if ! printf '%s\n' "$user_line" | cmp -s - "$user_file"; then
        mkdir -p "${user_file%/*}"
        printf '%s\n' "$user_line" >"$user_file"
    fi
    getent passwd fer-edge >/dev/null || systemd-sysusers fer-edge.conf || die 'cannot create the user fer-edge'
}

switch() {
    current=$(link_of current)
    earlier=$(link_of previous)
    # Roll back to the active release, or to the previous one if the active one was never proven.
    old=
    if [ -e "$home/$current/.proven" ]; then
        old=$current
    elif [ -n "$earlier" ] && [ -e "$home/$earlier/.proven" ]; then
        old=$earlier
    fi
    [ "$old" != "$release" ] || return 0
    touched=1
    switched=1
    changed=1
    [ "$current" != "$release" ] || return 0 # an interrupted run has switched already
    begin "switching ${current:+from $current }to $release"
    if [ -n "$old" ]; then
        point previous "$old"
    fi
    point current "$release"
}

service() { # service WORDS: run `fer-edge service` of the active release
    words=$1
    shift
    # shellcheck disable=SC2086 # fixed words without spaces
    clean "$home/current/bin/fer-edge" service $words "$@"
}

install_service() {
    set -- --command "$home/current/bin/fer-edge"
    if [ -f "$settings/config.toml" ]; then
        set -- "$@" --config "$settings/config.toml"
    fi
    if [ -n "$first_boot" ]; then
        # `service install` would wait without a limit; wait_for_service has one.
        service 'install --root /' "$@" || return 1
        if runs_systemd; then
            systemctl daemon-reload
            systemctl start --no-block "$unit" || return 1
        fi
        return
    fi
    # The unit's text does not change with the release, so the service must be stopped explicitly.
    if [ -n "$changed" ]; then
        systemctl stop "$unit" 2>/dev/null || :
    fi
    service install "$@"
}

start_service() {
    begin 'starting the service'
    output=$(install_service 2>&1) && return
    trouble="$(printf '%s\n' "$output" | sed -n 's/^fer-edge: //p' | tail -n 1)"
    trouble=${trouble:-$(printf '%s\n' "$output" | tail -n 1)}
    # The service's own message; `fer-edge service status` will not show it after a rollback.
    said=$(journalctl --unit="$unit" --since=-5min --output=cat 2>/dev/null | sed -n 's/^fer-edge: //p' | tail -n 1)
    trouble=$trouble${said:+; its message: $said}
}

roll_back() {
    touched=
    first_boot=
    changed=1
    take_back_files
    if [ -n "$switched" ]; then
        if [ -n "$old" ]; then
            point current "$old"
        fi
        if [ -n "$earlier" ]; then point previous "$earlier"; else rm -f "$home/previous"; fi
    fi
    if [ -n "${old:-}" ]; then
        say "rolling back to $old"
        if runs_systemd; then install_service >/dev/null 2>&1 || say "$unit does not start from $old either"; fi
    elif [ -n "$switched" ]; then
        say 'no release to roll back to: the service is off'
        remove_service
        rm -f "$home/current"
    fi
    if [ -n "$switched" ] && [ "$release" != "${old:-}" ]; then
        rm -rf "${home:?}/$release"
    fi
}

end_first_boot() { # end_first_boot OPTION: the first-boot service must not install its payload any more, only erase secrets
    [ -d "$first_boot_state" ] && [ ! -e "$first_boot_state/done" ] || return 0
    : >"$first_boot_state/installed"
    # shellcheck disable=SC2086 # a word or none
    systemctl $1 start "$first_boot_unit" >/dev/null 2>&1 || say "not all secrets on the card were erased: $card_report"
}

payload_hash() { # as payload_hash in assemble.py; SHA256SUMS covers all other files
    (cd "$payload" && find SHA256SUMS config.toml secrets -type f -exec sha256sum {} + 2>/dev/null) |
        LC_ALL=C sort | sha256sum | cut -c 1-64
}

settle() {
    sync # everything, before the release is marked as proven
    : >"$home/$release/.proven"
    for file in "$shipped"/next/*; do
        [ -e "$file" ] || continue
        mv -f "$file" "$shipped/proven/"
    done
    rm -rf "$shipped/before" "$shipped/none" "$shipped/next"
    touched=
    for folder in "$home"/releases/*; do
        case releases/${folder##*/} in
            "$release" | "$(link_of previous)") ;;
            *) rm -rf "$folder" ;;
        esac
    done
    # For a later --remove. This script may itself be running from there.
    cmp -s "$payload/install.sh" "$home/install.sh" || put "$payload/install.sh" "$home/install.sh" root:root 755
    rm -f "$home/install.log"
    [ -n "$first_boot" ] || end_first_boot --no-block
    payload_hash >"$shipped/payload" || : # last: all of this is done; without it, the next deploy does it again
}

remove_service() {
    if runs_systemd; then
        systemctl disable --now "$unit" >/dev/null 2>&1 || :
    else
        systemctl --root=/ disable "$unit" >/dev/null 2>&1 || :
    fi
    rm -f "/etc/systemd/system/$unit" "$modules_file" "$user_file" "$drop_in"
    rmdir "${drop_in%/*}" 2>/dev/null || :
    if runs_systemd; then
        systemctl daemon-reload
        systemctl reset-failed "$unit" >/dev/null 2>&1 || :
    fi
}

remove_first_boot() {
    if [ -d "$first_boot_state" ]; then
        end_first_boot '' # waits: it erases files that are deleted below
        systemctl disable "$first_boot_unit" >/dev/null 2>&1 || :
        rm -rf "/etc/systemd/system/$first_boot_unit" "$first_boot_state"
    fi
    [ -d "$card" ] || return 0
    begin "removing $card"
    rm -rf "$card" "$card_report"
}

remove() {
    begin "stopping and removing $unit"
    remove_first_boot
    remove_service
    begin "removing $home"
    rm -rf "$home/releases" "$home/current" "$home/previous" "$shipped" "$home/install.log" \
        "$home/install.sh" "$home/automatic-packages" "$home/.lock"
    rmdir "$home" 2>/dev/null || : # it may contain files of the user
    if [ -n "$purge" ]; then
        begin "removing $settings, $state and the user fer-edge"
        rm -rf "$settings" "$state"
        if getent passwd fer-edge >/dev/null; then userdel fer-edge 2>/dev/null || :; fi
    else
        say "kept: $settings, $state, the user fer-edge (--purge removes these too)"
    fi
    # Other programs may use them.
    if dpkg-query --show python3-picamera2 >/dev/null 2>&1; then
        say "kept: system packages, including python3-picamera2"
    fi
    # The system's stability and logins depend on these.
    for file in /etc/systemd/system.conf.d/90-fer-edge.conf /etc/systemd/journald.conf.d/90-fer-edge.conf \
        /etc/NetworkManager/conf.d/90-fer-edge.conf /etc/ssh/sshd_config.d/10-fer-edge.conf \
        /etc/sudoers.d/010-fer-edge; do
        [ ! -e "$file" ] || say "kept: $file"
    done
    say 'removed'
}

main() {
    for word in "$@"; do
        case $word in
            --first-boot) first_boot=1 ;;
            --replace-config) replace=1 ;; # for install_files.sh
            --forget-secrets) forget=1 ;;
            --remove) mode=remove ;;
            --purge) purge=1 ;;
            *) die "$word: unknown option; see the first lines of $0" ;;
        esac
    done
    [ -z "$purge" ] || [ "$mode" = remove ] || die '--purge requires --remove'
    [ "$(id -u)" = 0 ] || die "must run as root: sudo sh $0 $*"
    errors=$(mktemp)
    exec 2>"$errors"
    trap ended EXIT
    trap 'interrupted 130' INT
    trap 'interrupted 143' TERM
    mkdir -p "$home"
    exec 9>"$home/.lock"
    flock -n 9 || die 'another installation is running'
    locked=1
    if [ "$mode" = remove ]; then
        remove
        return
    fi
    [ -n "$first_boot" ] || runs_systemd || die 'systemd is not running here, and the service needs it'
    check_payload
    # shellcheck source-path=SCRIPTDIR source=install_packages.sh
    . "$payload/install_packages.sh"
    # shellcheck source-path=SCRIPTDIR source=install_files.sh
    . "$payload/install_files.sh"
    # shellcheck source-path=SCRIPTDIR source=install_checks.sh
    . "$payload/install_checks.sh"
    rm -f "$shipped/payload"
    install_packages
    make_release
    make_user
    trouble=
    place_files
    switch
    start_service
    examine
    check_again
    [ -z "$trouble" ] || die "$trouble"
    wait_for_service
    settle
    say "done: $(value version) in $home/$release"
}

main "$@"
