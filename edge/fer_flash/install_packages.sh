#!/bin/sh
# The part of install.sh that installs packages of the system which the settings need and this system lacks: from the
# payload, without a network, or with payload.conf's packages_from=network from the system's own sources.
# shellcheck disable=SC2154 # variables of install.sh

network_wait_s=${NETWORK_WAIT_S:-900} # for a network, and for the clock that signatures need: a Pi has none of its own

apt() { # apt WORDS: apt-get, asking nothing and removing nothing
    # DPKG_DEB_THREADS_MAX: several threads of xz need more memory than a Pi Zero 2 W has; apt-listchanges would page.
    clean DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none DPKG_DEB_THREADS_MAX=1 \
        apt-get --quiet --yes --no-install-recommends --no-remove \
        -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$@" >"$home/install.log" 2>&1
}

apt_said() {
    grep -m 1 '^E: ' "$home/install.log" || tail -n 1 "$home/install.log"
}

version_here() { # version_here NAME: of a package that is installed as a whole, else nothing
    # shellcheck disable=SC2016 # dpkg-query expands it
    told=$(dpkg-query --show --showformat '${db:Status-Abbrev}${Version}' "$1" 2>/dev/null) || return 0
    case $told in
        ?'i '*) printf '%s\n' "${told#???}" ;;
    esac
}

lacking() { # NAME FILE VERSION-HERE of each package of the payload that is not here in that version or a later one
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
    # dpkg takes up what a loss of power interrupted; what is in a worse state, apt installs again below.
    clean DEBIAN_FRONTEND=noninteractive dpkg --force-confold --configure -a >"$home/install.log" 2>&1 || :
    case $(value packages_from) in
        network) fetch_packages ;;
        *) unpack_packages ;;
    esac
}

unpack_packages() {
    todo=$(lacking)
    if [ -z "$todo" ]; then
        say "$wanted: there already"
        return 0
    fi
    needed=$(value packages_kib)
    free=$(df -Pk /usr | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$needed" ] ||
        die "no room for $wanted: $((needed / 1024)) MiB are needed in /usr, and $((free / 1024)) MiB are free"
    begin "installing $wanted and what it needs, $(printf '%s\n' "$todo" | grep -c .) packages: some minutes"
    set --
    while read -r name file here; do
        set -- "$@" "$payload/debs/$file"
    done <<END
$todo
END
    # No sources: all that is needed is in the payload, whose hashes were checked.
    apt -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= install "$@" ||
        die "apt: $(apt_said); see $home/install.log"
    [ -z "$(lacking)" ] || die "apt did not install all of $wanted: see $home/install.log"
    # apt takes what it is given by file for wanted; what is there for another's sake may go with that one day.
    printf '%s\n' "$todo" | while read -r name file here; do
        case " $wanted " in
            *" ${name%:*} "*) ;;
            *) [ "$here" != new ] || apt-mark auto "$name" >/dev/null 2>&1 || : ;;
        esac
    done
    sync
}

fetch_packages() {
    todo=
    for name in $wanted; do
        [ -n "$(version_here "$name")" ] || todo="$todo $name"
    done
    if [ -z "$todo" ]; then
        say "$wanted: there already"
        return 0
    fi
    begin "fetching$todo from the network"
    waited=0
    until apt -o APT::Update::Error-Mode=any update; do
        [ "$waited" -lt "$network_wait_s" ] ||
            die "apt-get update: $(apt_said); this card fetches packages: it needs a network that leads to the internet"
        sleep 15
        waited=$((waited + 15))
    done
    # shellcheck disable=SC2086 # names of packages, none with a space
    apt install $todo || die "apt: $(apt_said); see $home/install.log"
    sync
}
