# Sourced by start.sh: systemd becomes the first process, with the journal, udev and one unit that runs /vm/out/command.
# Nothing else of the host's units is started: many of them would wait for what the machine does not have.
mkdir -p /etc/systemd/system /sys/fs/cgroup /run/systemd
for unit in sysinit.target basic.target; do
    printf '[Unit]\nDescription=Empty\nDefaultDependencies=no\n' >/etc/systemd/system/$unit
done
cat >/etc/systemd/system/vm.target <<END
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service systemd-udevd.service vm.service
END
cat >/etc/systemd/system/vm.service <<END
[Unit]
DefaultDependencies=no
After=systemd-journald.service systemd-udevd.service
[Service]
Type=oneshot
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
ExecStart=/bin/sh -c 'udevadm trigger --type=devices --action=add --subsystem-match=misc; sh /vm/out/command; echo \$\$? >/vm/out/status; sync; echo b >/proc/sysrq-trigger'
END
# Left by the host's package manager, or by a container that the host is: neither is true of the machine.
rm -f /run/systemd/container /.dockerenv
hostname fer-edge-vm 2>/dev/null
echo fer-edge-vm >/etc/hostname
: >/etc/machine-id
exec /lib/systemd/systemd --unit=vm.target --log-target=kmsg --show-status=no
