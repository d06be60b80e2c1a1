#!/bin/sh
# Runs once, before the first boot that serves anybody: systemd.run= in cmdline.txt names it, and the Pi restarts after.
# Written by `fer-edge flash compose`. It holds no secret: those stand in fer-edge/first-boot/settings.
set -u
boot=${ROOT:-}/boot/firmware

# Whatever fails below, the next boot is an ordinary one: better a Pi that lacks a setting than one that never comes up.
sh "$boot/fer-edge/first-boot/setup.sh" systemd
sed -e 's| systemd\.run=[^ ]*||' -e 's| systemd\.run_success_action=[^ ]*||' \
  -e 's| systemd\.unit=kernel-command-line\.target||' "$boot/cmdline.txt" >"$boot/cmdline.tmp" &&
  [ -s "$boot/cmdline.tmp" ] && sync "$boot/cmdline.tmp" && mv -f "$boot/cmdline.tmp" "$boot/cmdline.txt"
rm -f "$boot/firstrun.sh"
sync
exit 0
