#!/bin/sh
# Part of install.sh: check the installation. Problems are left in $trouble.
# shellcheck disable=SC2154,SC2034 # variables of install.sh

examine() {
    begin 'fer-edge doctor'
    set --
    if [ -f "$settings/config.toml" ]; then
        set -- "$settings/config.toml"
    fi
    # With the secrets that systemd passes to the service.
    { faults=$(clean CREDENTIALS_DIRECTORY="$settings" "$home/current/bin/python3" -W ignore -m fer_flash.payload.release_check "$@" 2>&1 >&3 | tail -n 1); } 3>&1
    if [ -n "$faults" ]; then
        trouble="$faults${trouble:+; $trouble}"
    fi
}

check_again() { # check that the service, which was active a moment ago, did not exit or restart
    [ -z "$first_boot" ] && [ -z "$trouble" ] || return 0
    now=$(systemctl is-active "$unit" 2>/dev/null || :)
    again=$(systemctl show --value --property=NRestarts "$unit" 2>/dev/null || :)
    if [ "$now" != active ] || { [ -n "$changed" ] && [ "${again:-0}" != 0 ]; }; then
        trouble="$unit is $now after ${again:-0} restarts: journalctl -u $unit"
    fi
}

start_wait_s=600 # a unit may take 90 s to start, and a slow card is busy with other things; a failed one ends the wait

# At a first boot, only this waits for the service. If it does not start, it is kept: no older release exists,
# it may start later, and the next boot checks again.
wait_for_service() {
    [ -n "$first_boot" ] && runs_systemd || return 0
    begin "waiting for $unit"
    waited=0
    steady=0 # seconds for which it has been active; it may still exit at once
    while [ "$waited" -lt "$start_wait_s" ]; do
        now=$(systemctl is-active "$unit" 2>/dev/null || :)
        again=$(systemctl show --value --property=NRestarts "$unit" 2>/dev/null || :)
        case $now in
            active) steady=$((steady + 1)) ;;
            failed) break ;;
            *) steady=0 ;;
        esac
        [ "$steady" -lt 3 ] || return 0
        [ "${again:-0}" -lt 3 ] || break
        sleep 1
        waited=$((waited + 1))
    done
    said=$(journalctl --unit="$unit" --boot --output=cat 2>/dev/null | sed -n 's/^fer-edge: //p' | tail -n 1)
    [ -n "$old" ] || touched=
    die "$unit is $now after $waited s and ${again:-0} restarts${said:+; its message: $said}"
}
