#!/bin/sh
# The part of install.sh that looks whether what was installed is well: it leaves in $trouble what is not.
# shellcheck disable=SC2154,SC2034 # variables of install.sh

examine() {
    begin 'fer-edge doctor'
    set --
    if [ -f "$settings/config.toml" ]; then
        set -- "$settings/config.toml"
    fi
    # As systemd hands the secrets to the service.
    { faults=$(clean CREDENTIALS_DIRECTORY="$settings" "$home/current/bin/python3" -W ignore -m fer_flash.payload.release_check "$@" 2>&1 >&3 | tail -n 1); } 3>&1
    if [ -n "$faults" ]; then
        trouble="$faults${trouble:+; $trouble}"
    fi
}

look_again() { # it was active a while ago: is it still, or is it one that starts over and over?
    [ -z "$first_boot" ] && [ -z "$trouble" ] || return 0
    now=$(systemctl is-active "$unit" 2>/dev/null || :)
    again=$(systemctl show --value --property=NRestarts "$unit" 2>/dev/null || :)
    if [ "$now" != active ] || { [ -n "$changed" ] && [ "${again:-0}" != 0 ]; }; then
        trouble="$unit is $now after ${again:-0} restarts: journalctl -u $unit"
    fi
}

start_wait_s=600 # a unit has 90 s to start, and a slow card all else to do meanwhile; one that ends is not waited for

# At a first boot nothing waits for the service but this. One that does not come up stays: nothing is there to go back to,
# it may come up later, and the next boot looks again.
wait_for_service() {
    [ -n "$first_boot" ] && runs_systemd || return 0
    begin "waiting for $unit"
    waited=0
    steady=0 # seconds: it is active by its own word, and may still end at once
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
    die "$unit is $now after $waited s and ${again:-0} restarts${said:+; it said: $said}"
}
