#!/bin/sh
# Set up this Raspberry Pi at its first boot, and install first-boot.sh from the same folder as a service.
# Written by `fer-edge flash compose`. Can be repeated. Its settings are in the file "settings" in the same folder.
#
# usage: setup.sh STYLE, one of systemd, cloudinit, rpi-preseed; cloudinit-done for the part after cloud-init
# ROOT is prepended to every path: empty on a Pi, a folder in tests.
set -u
umask 022

root=${ROOT:-}
style=${1:?usage: setup.sh systemd|cloudinit|cloudinit-done|rpi-preseed}
here=$(dirname "$0")
state=$root/var/lib/fer-edge-first-boot
imager=$root/usr/lib/raspberrypi-sys-mods/imager_custom
userconf=$root/usr/lib/userconf-pi/userconf
connections=$root/etc/NetworkManager/system-connections

say() { printf 'fer-edge first boot: %s\n' "$*"; }

# attempt COMMAND...: run a command; if it fails, report it and continue.
attempt() {
  "$@" || say "failed, continuing: $1 ${2:-}"
}

have() { command -v "$1" >/dev/null 2>&1; }

# put FILE MODE TEXT: write a file atomically.
put() {
  mkdir -p "$(dirname "$1")"
  (umask 077 && printf '%s' "$3" >"$1.tmp") && chmod "$2" "$1.tmp" && sync "$1.tmp" && mv -f "$1.tmp" "$1"
}

set_hostname() {
  current=$(tr -d ' \t\r\n' <"$root/etc/hostname")
  if [ -x "$imager" ]; then
    "$imager" set_hostname "$FER_HOSTNAME" && return
  fi
  put "$root/etc/hostname" 644 "$FER_HOSTNAME
"
  sed -i "s/^127\.0\.1\.1.*${current:-raspberrypi}.*/127.0.1.1\t$FER_HOSTNAME/" "$root/etc/hosts"
}

# Rename the image's first account; create one only if there is none.
set_user() {
  if [ -x "$userconf" ] && "$userconf" "$FER_USER" "$FER_PASSWORD_HASH"; then
    return
  fi
  first=$(getent passwd 1000 | cut -d: -f1)
  if [ -z "$first" ]; then
    useradd --create-home --uid 1000 --shell /bin/bash "$FER_USER"
  elif [ "$first" != "$FER_USER" ]; then
    usermod --login "$FER_USER" "$first" &&
      usermod --move-home --home "/home/$FER_USER" "$FER_USER" &&
      groupmod --new-name "$FER_USER" "$first"
  fi
}

# Without a password, set a hash that no password matches; an empty field would allow any login.
set_password() {
  printf '%s:%s\n' "$FER_USER" "${FER_PASSWORD_HASH:-*}" | chpasswd --encrypted
}

set_groups() {
  for group in adm dialout audio netdev video plugdev input gpio spi i2c render sudo; do
    if getent group "$group" >/dev/null; then
      usermod --append --groups "$group" "$FER_USER"
    fi
  done
  if [ -z "$FER_PASSWORD_HASH" ]; then # sudo must not ask for a password
    put "$root/etc/sudoers.d/010-fer-edge" 440 "$FER_USER ALL=(ALL) NOPASSWD: ALL
"
  fi
}

set_ssh_keys() {
  [ -n "$FER_SSH_KEYS" ] || return 0
  home=$(getent passwd "$FER_USER" | cut -d: -f6)
  [ -n "$home" ] || return 1
  install -d -m 700 "$root$home/.ssh"
  put "$root$home/.ssh/authorized_keys" 600 "$FER_SSH_KEYS
" && chown -R "$FER_USER:" "$root$home/.ssh"
}

# Debian's sshd_config reads sshd_config.d first, and the first value applies. imager_custom edits the whole file with sed,
# which has failed in some of its versions; rpi-preseed calls it too.
set_ssh() {
  put "$root/etc/ssh/sshd_config.d/10-fer-edge.conf" 644 "PasswordAuthentication $FER_SSH_PASSWORD
KbdInteractiveAuthentication $FER_SSH_PASSWORD
PermitRootLogin no
"
  if [ "$FER_SSH" = yes ]; then
    attempt systemctl enable ssh
  else
    attempt systemctl disable ssh
  fi
}

# Debian's locale-gen only generates the locales in this file; otherwise cloud-init's call of it fails. The line may be
# missing: sed writes a new file, which is empty if the power fails before it is on the card.
allow_locale() {
  list=$root/etc/locale.gen
  sed -i "s/^# *\($FER_LOCALE .*\)/\1/" "$list"
  grep -q "^$FER_LOCALE " "$list" || grep "^$FER_LOCALE " "$root/usr/share/i18n/SUPPORTED" >>"$list"
}

set_locale() {
  if [ -x "$imager" ]; then
    attempt "$imager" set_keymap "$FER_KEYMAP"
    attempt "$imager" set_timezone "$FER_TIMEZONE"
  else
    put "$root/etc/timezone" 644 "$FER_TIMEZONE
"
    ln -sf "/usr/share/zoneinfo/$FER_TIMEZONE" "$root/etc/localtime"
    put "$root/etc/default/keyboard" 644 "XKBMODEL=\"pc105\"
XKBLAYOUT=\"$FER_KEYMAP\"
XKBVARIANT=\"\"
XKBOPTIONS=\"\"
BACKSPACE=\"guess\"
"
  fi
  if have raspi-config; then
    attempt raspi-config nonint do_change_locale "$FER_LOCALE"
  else
    allow_locale
    attempt locale-gen
    attempt update-locale "LANG=$FER_LOCALE"
  fi
}

# userconf-pi asks for a first account on the screen, and multi-user.target waits for the answer
# (debian/userconf-pi.userconfig.service there). The rest is what its cancel-rename does.
end_dialog() {
  [ -e "$root/usr/lib/systemd/system/userconfig.service" ] || return 0
  attempt systemctl --no-block mask --now userconfig.service
  rm -f "$root/etc/ssh/sshd_config.d/rename_user.conf" "$root/var/lib/userconf-pi/autologin"
  attempt systemctl --no-block enable --now getty@tty1.service
}

# cloud-init creates the account, possibly after everything that is set here; Raspberry Pi's version of it also enables the
# dialog again (cloudinit/distros/raspberry_pi_os.py: rename-user).
after_cloud_init() {
  attempt end_dialog
  if [ -n "$FER_PASSWORD_HASH" ]; then
    attempt set_password
  fi
}

# NetworkManager profiles, as rpi-preseed writes them. Those of imager_custom support neither WPA3 nor fixed addresses, and
# misread some network names.
set_network() {
  if [ -n "$FER_WIFI_CONNECTION" ]; then
    put "$connections/preconfigured.nmconnection" 600 "$FER_WIFI_CONNECTION"
  fi
  if [ -n "$FER_WIRED_CONNECTION" ]; then
    put "$connections/fer-edge-wired.nmconnection" 600 "$FER_WIRED_CONNECTION"
  fi
}

# Raspberry Pi OS blocks Wi-Fi until a country is set, and tells NetworkManager to leave it off (pi-gen,
# stage2/02-net-tweaks/01-run.sh). cmdline.txt sets the country for the kernel too.
set_country() {
  [ -n "$FER_COUNTRY" ] || return 0
  if have raspi-config; then
    attempt raspi-config nonint do_wifi_country "$FER_COUNTRY"
  fi
  if have rfkill; then
    attempt rfkill unblock wifi
  fi
  for file in "$root"/var/lib/systemd/rfkill/*:wlan; do
    if [ -e "$file" ]; then
      echo 0 >"$file"
    fi
  done
  if [ -e "$root/var/lib/NetworkManager/NetworkManager.state" ]; then
    sed -i 's/^WirelessEnabled=false/WirelessEnabled=true/' "$root/var/lib/NetworkManager/NetworkManager.state"
  fi
}

# Restart a Pi that hangs: 15 s is the maximum of its watchdog timer. Limit the size of the journal, since a card survives a
# limited number of writes.
set_care() {
  put "$root/etc/systemd/system.conf.d/90-fer-edge.conf" 644 "[Manager]
RuntimeWatchdogSec=15s
RebootWatchdogSec=2min
"
  put "$root/etc/systemd/journald.conf.d/90-fer-edge.conf" 644 "[Journal]
SystemMaxUse=64M
RuntimeMaxUse=32M
MaxFileSec=1week
"
}

# Wi-Fi power saving makes a Pi respond slowly: 127 ms in the median instead of 6 ms, and up to 2 s (raspberrypi/linux,
# issue 7533). 2 is "disable" (nm-settings(5)). Applies to every network, including those that are added later; a section
# with its own name takes precedence over [connection] (NetworkManager.conf(5)).
set_wifi_power() {
  put "$root/etc/NetworkManager/conf.d/90-fer-edge.conf" 644 "[connection-fer-edge]
match-device=type:wifi
wifi.powersave=2
"
}

# The rest takes minutes and may be interrupted: a service, which every boot starts until it has completed.
set_install() {
  mkdir -p "$state"
  chmod 700 "$state"
  cp "$here/first-boot.sh" "$state/first-boot.sh.tmp" && sync "$state/first-boot.sh.tmp" &&
    mv -f "$state/first-boot.sh.tmp" "$state/first-boot.sh"
  put "$state/style" 644 "$style
"
  if [ -e "$here/user-data.scrubbed" ]; then
    cp "$here/user-data.scrubbed" "$state/"
  fi
  put "$root/etc/systemd/system/fer-edge-first-boot.service" 644 "$(cat "$here/fer-edge-first-boot.service")
"
  mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
  ln -sf /etc/systemd/system/fer-edge-first-boot.service \
    "$root/etc/systemd/system/multi-user.target.wants/fer-edge-first-boot.service"
}

# cloud-init marks a module as done before it runs. If an earlier boot was interrupted before the secrets were erased, run
# all modules again; first-boot.sh waits for them.
redo_cloud_init() {
  if [ "$style" = cloudinit ] && [ -e "$state/style" ] && [ ! -e "$state/cloud-init-done" ]; then
    rm -f "$root"/var/lib/cloud/instance/sem/config_* "$root/var/lib/cloud/instance/boot-finished"
    # It does not generate a locale that this file already names (cloudinit/distros/debian.py), even if the generated one
    # was lost. A link to /etc/locale.conf in Trixie.
    if [ -e "$root/etc/default/locale" ]; then
      : >"$root/etc/default/locale"
    fi
  fi
}

# Not needed for systemd: a restart follows firstrun.sh.
start_services() {
  [ "$style" != systemd ] || return 0
  attempt systemctl daemon-reload # also reads system.conf.d again
  if [ "$FER_SSH" = yes ]; then
    attempt systemctl --no-block restart ssh
  else
    attempt systemctl --no-block stop ssh
  fi
  # NetworkManager may have read its profiles already.
  attempt systemctl --no-block try-restart NetworkManager
  attempt systemctl --no-block start fer-edge-first-boot.service
}

if [ ! -e "$here/settings" ]; then
  say "already set up: $here/settings does not exist any more"
  exit 0
fi
# shellcheck source=/dev/null
. "$here/settings"
if [ "$style" = cloudinit-done ]; then
  after_cloud_init
  exit 0
fi
# Write cloud-init's own files to the card first: it never runs again if one of them is empty after a power failure.
sync
attempt redo_cloud_init
# First, so that the service completes whatever is interrupted from here on.
attempt set_install
case $style in
  systemd) set -- set_hostname set_user set_password set_groups set_ssh_keys set_ssh set_locale ;;
  rpi-preseed) set -- set_password set_groups set_ssh_keys set_ssh ;;
  cloudinit) set -- set_ssh allow_locale ;; # which creates the account itself
  *)
    say "unknown style $style"
    exit 2
    ;;
esac
for step in "$@" set_network end_dialog set_country set_care set_wifi_power; do
  attempt "$step"
done
: >"$state/set-up"
sync
start_services
say "set up ($style)"
