#!/bin/sh
# Erase the secrets of the settings from the boot partition, install FER-Edge from the payload on the card, erase the
# payload's secrets, and write a report.
# Written by `fer-edge flash compose`; installed by setup.sh. fer-edge-first-boot.service runs it at every boot until
# everything is done. Each step can be interrupted by a power failure and is then repeated.
#
# ROOT is prepended to every path: empty on a Pi, a folder in tests.
set -u
umask 077

root=${ROOT:-}
boot=$root/boot/firmware
state=$root/var/lib/fer-edge-first-boot
report=$boot/fer-edge-first-boot.txt
payload=$boot/fer-edge
first=$payload/first-boot
style=$(cat "$state/style" 2>/dev/null || echo unknown)
attempts=3     # boots at which the installation is tried
wait_s=${WAIT_S:-300} # timeout for cloud-init's last stage, after which it does not read the seed any more
left='' # files that could not be erased

say() { printf 'fer-edge first boot: %s\n' "$*"; }

# mark NAME: record a completed step; synced before anything relies on it.
mark() {
  : >"$state/$1" && sync "$state/$1"
}

# Print the number of boots at which the installation was tried; the file is empty after a power failure during its write.
tried() {
  count=$(cat "$state/attempts" 2>/dev/null)
  echo "${count:-0}"
}

# Run setup.sh again if a power failure, or the timeout of rpi-preseed, interrupted it.
finish_setup() {
  [ ! -e "$state/set-up" ] || return 0
  [ -e "$first/setup.sh" ] && sh "$first/setup.sh" "$style"
}

# The setting that setup.sh wrote is only read at the start of a boot.
arm_watchdog() {
  busctl set-property org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager \
    RuntimeWatchdogUSec t 15000000 2>/dev/null || say "the hardware watchdog will be active from the next boot"
}

install_payload() {
  [ ! -e "$state/installed" ] || return 0
  # Limited also if every attempt is interrupted by a power failure.
  [ "$(tried)" -lt "$attempts" ] || return 1
  count=$(($(tried) + 1))
  printf '%s\n' "$count" >"$state/attempts"
  sync "$state/attempts"
  if [ ! -f "$payload/install.sh" ]; then
    say "no payload in $payload" | tee "$state/install.log"
    return 1
  fi
  say "installing from $payload (attempt $count of $attempts)"
  # The journal may not be kept, so the end of this log goes into the report.
  { (umask 022 && sh "$payload/install.sh" --first-boot 2>&1); echo "$?" >"$state/result"; } | tee "$state/install.log"
  [ "$(cat "$state/result")" -eq 0 ] && sync && mark installed && return 0
  say "the install failed"
  return 1
}

# cloud-init runs its stages at the same time; changing the seed before it has finished could apply half of each.
wait_for_cloud_init() {
  [ "$style" = cloudinit ] || return 0
  waited=0
  while [ ! -e "$root/var/lib/cloud/instance/boot-finished" ]; do
    if [ "$waited" -ge "$wait_s" ]; then
      say "cloud-init did not finish within $wait_s s; erasing its secrets anyway"
      return 0
    fi
    sleep 2
    waited=$((waited + 2))
  done
}

size_of() { wc -c <"$1" | tr -d ' '; }

# overwrite FILE FROM: write the bytes of FROM into FILE, in the same blocks of the file system, in one write.
overwrite() {
  dd if="$2" of="$1" conv=notrunc bs="$(size_of "$2")" 2>/dev/null && sync "$1"
}

# wipe FILE: overwrite it with zeros and remove it.
wipe() {
  [ -f "$1" ] || return 0
  size=$(size_of "$1")
  head -c "$size" /dev/zero >"$state/zeros" && overwrite "$1" "$state/zeros"
  rm -f "$1" "$state/zeros"
  if [ -e "$1" ]; then
    return 1
  fi
  note_wiped "${1#"$boot"/}"
}

# The report also lists files that were erased at earlier boots.
note_wiped() {
  printf ' %s' "$1" >>"$state/wiped"
}

# cloud-init reads its seed at each boot, so a seed must always exist: its permanent part replaces the old text in one
# write, padded with empty lines.
scrub_user_data() {
  [ "$style" = cloudinit ] && [ -f "$boot/user-data" ] || return 0
  cp "$state/user-data.scrubbed" "$state/new" || return 1
  missing=$(($(size_of "$boot/user-data") - $(size_of "$state/new")))
  if [ "$missing" -gt 0 ]; then
    head -c "$missing" /dev/zero | tr '\0' '\n' >>"$state/new"
  fi
  overwrite "$boot/user-data" "$state/new" || return 1
  cmp -s "$boot/user-data" "$state/new" || return 1
  rm -f "$state/new"
  note_wiped user-data
}

# Before the installation, which does not need these secrets, takes minutes, and may be interrupted each time.
scrub_settings() {
  [ ! -e "$state/settings-scrubbed" ] || return 0
  wait_for_cloud_init
  if [ "$style" = cloudinit ] && [ -e "$first/setup.sh" ]; then
    sh "$first/setup.sh" cloudinit-done
  fi
  sync
  mark cloud-init-done
  for step in scrub_user_data "wipe $first/settings" "wipe $boot/firstrun.sh"; do
    # shellcheck disable=SC2086 # a command and its argument, both without spaces
    $step || left="$left ${step##*/}"
  done
  sync
  [ -n "$left" ] || mark settings-scrubbed
}

# The secrets are needed for another attempt to install.
keeps_payload() {
  [ ! -e "$state/installed" ] && [ "$(tried)" -lt "$attempts" ]
}

scrub_payload() {
  [ ! -e "$state/scrubbed" ] || return 0
  keeps_payload && return 1
  for file in "$payload"/secrets/*; do
    wipe "$file" || left="$left ${file##*/}"
  done
  # Camera URLs may contain passwords: SHA256SUMS does not list such settings.
  if [ -f "$payload/SHA256SUMS" ] && ! grep -q '  config\.toml$' "$payload/SHA256SUMS"; then
    wipe "$payload/config.toml" || left="$left config.toml"
  fi
  if [ -n "$left" ]; then
    say "could not erase:$left"
    return 1
  fi
  sync
  mark scrubbed
}

report() {
  installed="FAILED, attempt $(cat "$state/attempts") of $attempts, one per boot. The end of $state/install.log:
$(tail -n 5 "$state/install.log" 2>/dev/null)"
  [ ! -e "$state/installed" ] || installed='done'
  wiped=$(cat "$state/wiped" 2>/dev/null)
  wiped=${wiped:- nothing}
  if [ -e "$state/scrubbed" ]; then
    scrubbed="done, overwritten and removed or emptied:$wiped"
  elif [ -z "$left" ]; then
    scrubbed="the payload's secrets are kept for another attempt to install; overwritten and removed or emptied:$wiped"
  else
    scrubbed="FAILED; secrets may still be on this partition; it is tried again at the next boot"
  fi
  say "install: $installed"
  say "scrub: $scrubbed"
  printf 'FER-Edge, first boot\ninstall: %s\nscrub: %s\n%s\n' "$installed" "$scrubbed" \
    'Changes of the first-boot files on this partition have no effect from now on.' >"$report.tmp" &&
    sync "$report.tmp" && mv -f "$report.tmp" "$report"
}

sync # what the boot has written so far
finish_setup
arm_watchdog
scrub_settings
install_payload
install_rc=$?
scrub_payload
scrub_rc=$?
report
if [ "$scrub_rc" -eq 0 ]; then # then FER-Edge is installed, or no attempts are left
  mark 'done'
  rm -f "$root/etc/systemd/system/multi-user.target.wants/fer-edge-first-boot.service"
fi
sync
[ "$install_rc" -eq 0 ] && [ "$scrub_rc" -eq 0 ]
