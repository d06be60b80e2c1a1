#!/bin/sh
# The part of install.sh that puts settings and the files that they name into /etc/fer-edge, and takes them back where
# the rest fails. As dpkg does with conffiles: what somebody changed on the device is kept, and the new one laid beside.
#
# $shipped/proven  what we put there last, and it stayed
# $shipped/next    what this run puts there, or one that was interrupted
# $shipped/before  what was there until then; $shipped/none: names of what was not there
# shellcheck disable=SC2154,SC2034 # variables of install.sh

put() { # put FILE PLACE OWNER MODE: whole or not at all
    mkdir -p "${2%/*}"
    (umask 077 && cp "$1" "$2.part")
    chown "$3" "$2.part"
    chmod "$4" "$2.part"
    sync "$2.part" # or a loss of power leaves it empty under its name
    mv -f "$2.part" "$2"
}

place() { # place FILE PLACE OWNER MODE: in the place of ours, not of what somebody changed here
    name=${2##*/}
    if cmp -s "$1" "$2"; then
        cp "$1" "$shipped/next/$name"
        return
    fi
    if [ -e "$2" ] && ! cmp -s "$2" "$shipped/proven/$name" && ! cmp -s "$2" "$shipped/next/$name"; then
        if [ -z "$replace" ]; then
            put "$1" "$2.new" "$3" "$4"
            say "kept $2, which was changed here; the new one is beside it: $2.new (--replace-config takes it)"
            return
        fi
        cp -p "$2" "$2.old"
        say "replacing $2, which was changed here; the old one is beside it: $2.old"
    else
        say "writing $2"
    fi
    # What an interrupted run left there is what was before all this.
    if [ ! -e "$shipped/before/$name" ] && [ ! -e "$shipped/none/$name" ]; then
        if [ -e "$2" ]; then cp -p "$2" "$shipped/before/$name"; else : >"$shipped/none/$name"; fi
    fi
    touched=1
    changed=1
    cp "$1" "$shipped/next/$name"
    put "$1" "$2" "$3" "$4"
    rm -f "$2.new"
}

place_files() {
    begin "settings in $settings"
    mkdir -p "$shipped"
    chmod 700 "$shipped"
    mkdir -p "$shipped/proven" "$shipped/next" "$shipped/before" "$shipped/none"
    for file in "$shipped"/before/* "$shipped"/none/*; do
        [ -e "$file" ] || continue
        touched=1 # a run that was interrupted put some there, and never came to try them
        changed=1
    done
    if [ -f "$payload/config.toml" ]; then
        # The group's alone: addresses of cameras hold passwords.
        place "$payload/config.toml" "$settings/config.toml" root:fer-edge 640
    fi
    if [ -f "$payload/credentials.conf" ]; then
        place "$payload/credentials.conf" "$drop_in" root:root 644
    fi
    for file in "$payload"/certificates/*; do
        [ -f "$file" ] || continue
        place "$file" "$settings/${file##*/}" root:root 644
    done
    for file in "$payload"/secrets/*; do
        [ -f "$file" ] || continue
        # systemd hands credentials over; any other file of a secret must be the service's own, and nobody else's.
        if grep -qsF "LoadCredential=${file##*/}:" "$payload/credentials.conf"; then
            place "$file" "$settings/${file##*/}" root:root 600
        else
            place "$file" "$settings/${file##*/}" fer-edge:fer-edge 600
        fi
    done
}

place_of() {
    case $1 in
        "${drop_in##*/}") printf '%s\n' "$drop_in" ;;
        *) printf '%s\n' "$settings/$1" ;;
    esac
}

take_back_files() {
    for file in "$shipped"/before/*; do
        [ -e "$file" ] || continue
        cp -p "$file" "$(place_of "${file##*/}")"
    done
    for file in "$shipped"/none/*; do
        [ -e "$file" ] || continue
        rm -f "$(place_of "${file##*/}")"
    done
    rm -rf "$shipped/before" "$shipped/none" "$shipped/next"
}
