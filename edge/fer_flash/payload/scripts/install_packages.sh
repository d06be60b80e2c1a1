#!/bin/sh
# Part of install.sh: install the system packages that the settings need and this system lacks, from the payload without a
# network, or from the system's own sources if payload.conf has packages_from=network.
# shellcheck disable=SC2154 # variables of install.sh

# Wait for a network and the correct time, which signatures need: most Pis have no battery-backed clock.
network_wait_s=${NETWORK_WAIT_S:-900}
network_pause_s=${NETWORK_PAUSE_S:-15}
automatic=$home/automatic-packages # packages to mark as automatically installed; survives a power failure

apt() { # apt WORDS: run apt-get without questions and without removing packages
    # DPKG_DEB_THREADS_MAX: xz with several threads needs more memory than a Pi Zero 2 W has. apt-listchanges would page.
    clean DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none DPKG_DEB_THREADS_MAX=1 \
        apt-get --quiet --yes --no-install-recommends --no-remove \
        -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$@" >"$home/install.log" 2>&1
}

apt_said() {
    grep -m 1 '^E: ' "$home/install.log" || tail -n 1 "$home/install.log"
}

version_here() { # version_here NAME: print the version of a completely installed package, otherwise nothing
    # shellcheck disable=SC2016 # dpkg-query expands it
    shown=$(dpkg-query --show --showformat '${db:Status-Abbrev}${Version}' "$1" 2>/dev/null) || return 0
    case $shown in
        ?'i '*) printf '%s\n' "${shown#???}" ;;
    esac
}

uptime_s() {
    cut -d . -f 1 /proc/uptime
}

lacking() { # print NAME FILE VERSION-HERE for each package of the payload that is missing here or older
    while read -r name version file; do
        here=$(version_here "$name")
        if [ -z "$here" ] || dpkg --compare-versions "$here" lt "$version"; then
            printf '%s %s %s\n' "$name" "$file" "${here:-new}"
        fi
    done <"$payload/packages.txt"
}

install_packages() {
    wanted=$(value packages)
    [ -n "$wanted" ] || return 0
    # dpkg completes what a power failure interrupted; apt reinstalls what dpkg cannot complete.
    clean DEBIAN_FRONTEND=noninteractive dpkg --force-confold --configure -a >"$home/install.log" 2>&1 || :
    case $(value packages_from) in
        network) fetch_packages ;;
        *) unpack_packages ;;
    esac
}

# apt marks packages that it installs from files as manually installed, so autoremove would never remove dependencies.
# Only the first run knows which packages were not installed before.
note_automatic() {
    [ ! -e "$automatic" ] || return 0
    printf '%s\n' "$todo" | while read -r name file here; do
        case " $wanted " in
            *" ${name%:*} "*) ;;
            *) [ "$here" != new ] || printf '%s\n' "$name" ;;
        esac
    done >"$automatic.part"
    sync "$automatic.part"
    mv -f "$automatic.part" "$automatic"
}

mark_automatic() {
    [ -e "$automatic" ] || return 0
    while read -r name; do
        apt-mark auto "$name" >/dev/null 2>&1 || :
    done <"$automatic"
    rm -f "$automatic"
}

unpack_packages() {
    todo=$(lacking)
    if [ -z "$todo" ]; then
        mark_automatic
        say "$wanted: already installed"
        return 0
    fi
    needed=$(value packages_kib)
    free=$(df -Pk /usr | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$needed" ] ||
        die "no room for $wanted: $((needed / 1024)) MiB needed in /usr, $((free / 1024)) MiB free"
    begin "installing $wanted with dependencies, $(printf '%s\n' "$todo" | grep -c .) packages: takes some minutes"
    note_automatic
    set --
    while read -r name file here; do
        set -- "$@" "$payload/debs/$file"
    done <<END
$todo
END
    # Without package sources: the payload, whose hashes were checked, contains everything.
    apt -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= install "$@" ||
        die "apt: $(apt_said); see $home/install.log"
    [ -z "$(lacking)" ] || die "apt did not install all of $wanted: see $home/install.log"
    mark_automatic
    sync
}

fetch_packages() {
    todo=
    for name in $wanted; do
        [ -n "$(version_here "$name")" ] || todo="$todo $name"
    done
    if [ -z "$todo" ]; then
        say "$wanted: already installed"
        return 0
    fi
    begin "downloading$todo"
    # Measured by the uptime, which setting the clock does not change. Without retries, since an attempt may take long.
    deadline=$(($(uptime_s) + network_wait_s))
    until apt -o APT::Update::Error-Mode=any -o Acquire::Retries=0 update; do
        [ "$(uptime_s)" -lt "$deadline" ] ||
            die "apt-get update: $(apt_said); this card downloads packages: it needs internet access"
        sleep "$network_pause_s"
    done
    # packages_with: packages that need the same version, which apt does not know (see payload/packages/collect.py).
    # shellcheck disable=SC2046,SC2086 # names of packages, none with a space
    apt install $todo $(value packages_with) || die "apt: $(apt_said); see $home/install.log"
    sync
}
