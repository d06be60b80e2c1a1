#!/bin/sh
# Runs once at the first boot, before all services: systemd.run= in cmdline.txt names it, and the Pi restarts afterwards.
# Written by `fer-edge flash compose`. Contains no secrets: those are in fer-edge/first-boot/settings.
set -u
boot=${ROOT:-}/boot/firmware

# If something fails, the next boot is a normal one anyway: a Pi without a setting is better than one that does not boot.
sh "$boot/fer-edge/first-boot/setup.sh" systemd
sed -e 's| systemd\.run=[^ ]*||' -e 's| systemd\.run_success_action=[^ ]*||' \
  -e 's| systemd\.unit=kernel-command-line\.target||' "$boot/cmdline.txt" >"$boot/cmdline.tmp" &&
  [ -s "$boot/cmdline.tmp" ] && sync "$boot/cmdline.tmp" && mv -f "$boot/cmdline.tmp" "$boot/cmdline.txt"
rm -f "$boot/firstrun.sh"
sync
exit 0
