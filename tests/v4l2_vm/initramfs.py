"""The machine's initial RAM disk: it mounts the host's root read-only with a writable layer on top, and switches to it.

It contains busybox, a script, and the modules for virtio, 9P and overlayfs, which are not built into Debian's kernel.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from fer_edge.errors import InputError

OUT = "/vm/out"
"""Where the machine sees the folder whose files come back."""
_MODULES = (
    *("drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_modern_dev"),
    *("drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci", "net/9p/9pnet", "net/9p/9pnet_virtio"),
    *("fs/netfs/netfs", "fs/fscache/fscache", "fs/9p/9p", "fs/overlayfs/overlay"),
)
_INIT = """\
#!/bin/busybox sh
# Kernel parameters: vm.layer= (a tar file), vm.modules= (a folder of the host) and vm.run= (the program to run).
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for word in $(cat /proc/cmdline); do
    case $word in vm.layer=*) layer=${word#*=} ;; vm.modules=*) modules=${word#*=} ;; vm.run=*) run=${word#*=} ;; esac
done
for module in $(cat /modules/order); do insmod /modules/$module.ko || echo "vm: no module $module"; done
mkdir -p /host /writable /new
nine=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o $nine,ro,cache=loose hostroot /host || echo "vm: no root of the host"
mount -t tmpfs -o size=60% writable /writable
mkdir /writable/upper /writable/work
tar -x -f /host$layer -C /writable/upper
mount -t overlay -o lowerdir=/host,upperdir=/writable/upper,workdir=/writable/work overlay /new
# The host's own /proc, /sys, /dev, /run and /tmp are not the machine's.
mkdir -p /new/proc /new/sys /new/dev /new/run /new/tmp /new/vm/out /new/lib/modules
mount -t 9p -o $nine outdir /new/vm/out || echo "vm: no folder for results"
ln -s $modules/$(uname -r) /new/lib/modules/$(uname -r)
mount -t tmpfs -o mode=755 run /new/run; mount -t tmpfs -o mode=1777 tmp /new/tmp
mount --move /dev /new/dev; mount --move /proc /new/proc; mount --move /sys /new/sys
exec switch_root /new /bin/sh $run
"""


def build_initramfs(archive: Path, busybox: Path, modules: Path) -> None:
    """Write the RAM disk to ``archive``; ``modules`` is the folder of the kernel's version.

    Raises:
        InputError: if a module is missing in that kernel.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name in ("bin", "proc", "sys", "dev", "modules"):
            (root / name).mkdir()
        (root / "bin" / "busybox").write_bytes(busybox.read_bytes())
        (root / "bin" / "busybox").chmod(0o755)
        (root / "init").write_text(_INIT)
        (root / "init").chmod(0o755)
        order = []
        for module in _MODULES:
            source = modules / "kernel" / f"{module}.ko"
            if not source.is_file():
                raise InputError(f"{source}: module not found in this kernel")
            order.append(source.stem)
            (root / "modules" / source.name).write_bytes(source.read_bytes())
        (root / "modules" / "order").write_text("\n".join(order) + "\n")
        names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        # Built by busybox, so that the host needs no cpio.
        command = [root / "bin" / "busybox", "cpio", "-o", "-H", "newc"]
        with archive.open("wb") as stream:
            listed = "".join(f"{name}\n" for name in names).encode()
            subprocess.run(command, input=listed, stdout=stream, stderr=subprocess.DEVNULL, cwd=root, check=True)
