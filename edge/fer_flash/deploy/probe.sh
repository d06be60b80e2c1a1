# Run on a device by `fer-edge deploy`: report its state. One fact per line: name, tab, value.
fact() {
    printf '%s\t%s\n' "$1" "$2"
}
staging=$HOME/.cache/fer-edge/payload
PATH=$PATH:/usr/sbin:/sbin
# Secrets are needed only while install.sh runs; a run that was killed may have left them.
lock=/opt/fer-edge/.lock
if [ -d "$staging" ] && { [ ! -e "$lock" ] || flock -n "$lock" true; }; then
    rm -rf "$staging/secrets"
    grep -qs '  config\.toml$' "$staging/SHA256SUMS" || rm -f "$staging/config.toml"
fi
asked=
if [ "$(id -u)" = 0 ]; then
    fact root yes
elif ! command -v sudo >/dev/null; then
    fact root 'no sudo'
elif sudo -n true 2>/dev/null; then
    fact root sudo
    asked='sudo -n'
else
    fact root password
fi
fact staging "$staging"
fact release "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null)"
fact python "$(/usr/bin/python3 -c 'import platform, struct, sys
print(platform.machine(), 8 * struct.calcsize("P"), "%d.%d" % sys.version_info[:2])' 2>/dev/null)"
[ ! -d /run/systemd/system ] || fact systemd yes
fact current "$(readlink /opt/fer-edge/current)"
while read -r name; do
    fact package "$name"
done 2>/dev/null </opt/fer-edge/current/requirements.txt
fact room_staging "$(df -Pk "$HOME" | awk 'NR == 2 { print $4 }')"
fact room_opt "$(df -Pk /opt | awk 'NR == 2 { print $4 }')"
# shellcheck disable=SC2086 # nothing, or two words
fact settings "$($asked sha256sum /etc/fer-edge/config.toml 2>/dev/null | cut -c 1-64)"
# shellcheck disable=SC2086
fact shipped "$($asked sha256sum /opt/fer-edge/shipped/proven/config.toml 2>/dev/null | cut -c 1-64)"
# shellcheck disable=SC2086
fact installed "$($asked cat /opt/fer-edge/shipped/payload 2>/dev/null)"
# A card that `fer-edge flash` made has its wheels on the boot partition.
for folder in "$staging" /boot/firmware/fer-edge; do
    [ -d "$folder" ] || continue
    find "$folder" -type f -exec sha256sum {} + 2>/dev/null | while read -r sum file; do
        printf 'file\t%s\t%s\n' "$sum" "$file"
    done
done
fact complete yes
