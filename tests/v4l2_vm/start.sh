#!/bin/sh
# The first process of the virtual machine once its root is mounted: runs /vm/out/command, keeps its status, switches off.
PATH=/usr/bin:/usr/sbin:/bin:/sbin
export PATH
ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm 2>/dev/null
hostname fer-edge-vm 2>/dev/null

here=$(dirname "$0")
if grep -q 'vm.systemd=1' /proc/cmdline; then
    . "$here/systemd.sh"
fi
sh /vm/out/command
echo $? >/vm/out/status
sync
# With -no-reboot QEMU ends.
echo b >/proc/sysrq-trigger
sleep 60
