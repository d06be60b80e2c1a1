#!/bin/sh
# Part of install.sh: install settings and the files that they name in /etc/fer-edge, and restore the old ones on failure.
# Like dpkg's conffiles: a file that was changed on the device is kept, and the new one is put next to it.
#
# $shipped/proven  what was installed last and passed the check
# $shipped/next    what this run, or an interrupted one, installs
# $shipped/before  what was there before; $shipped/none: names of files that were not
# shellcheck disable=SC2154,SC2034 # variables of install.sh

put() { # put FILE PLACE OWNER MODE: install a file atomically
    mkdir -p "${2%/*}"
    (umask 077 && cp "$1" "$2.part")
    chown "$3" "$2.part"
    chmod "$4" "$2.part"
    sync "$2.part" # otherwise a power failure could leave an empty file
    mv -f "$2.part" "$2"
}

place() { # place FILE PLACE OWNER MODE: install a file, unless the existing one was changed here
    name=${2##*/}
    if cmp -s "$1" "$2"; then
        cp "$1" "$shipped/next/$name"
        return
    fi
    if [ -e "$2" ] && ! cmp -s "$2" "$shipped/proven/$name" && ! cmp -s "$2" "$shipped/next/$name"; then
        if [ -z "$replace" ]; then
            put "$1" "$2.new" "$3" "$4"
            say "kept $2, which was changed here; the new one is $2.new (--replace-config installs it)"
            return
        fi
        cp -p "$2" "$2.old"
        say "replacing $2, which was changed here; the old one is $2.old"
    else
        say "writing $2"
    fi
    # After an interrupted run, the file from before that run is kept.
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
        touched=1 # an interrupted run installed files and did not check them
        changed=1
    done
    if [ -f "$payload/config.toml" ]; then
        # Readable by the group only: URLs of cameras may contain passwords.
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
        # systemd passes credentials; any other secret must belong to the service's user.
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
