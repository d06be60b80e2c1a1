"""More files of Raspberry Pi OS's root file system than ``stock_images`` has: small, but with real contents.

With ``whole_root``, all of ``image_assumptions`` hold for a stand-in. Each text is an extract from the package or
project named next to it.
"""

from __future__ import annotations

from image_assumptions.root_system import PROGRAMS
from support.cards.stock_images import COMMON_PACKAGES, DISK_ID, RELEASES, STYLES, Link, package_status

KERNEL = "6.12.47+rpt-rpi-v8"
# RPi-Distro/pi-gen, stage0/00-configure-apt, branches arm64 and bookworm-arm64
SOURCES = """\
Types: deb
URIs: http://deb.debian.org/debian/
Suites: trixie trixie-updates
Components: main contrib non-free non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp
"""
RASPI_SOURCES = """\
Types: deb
URIs: http://archive.raspberrypi.com/debian/
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/raspberrypi-archive-keyring.pgp
"""
_BOOKWORM_SOURCES = """\
deb http://deb.debian.org/debian bookworm main contrib non-free non-free-firmware
deb http://deb.debian.org/debian bookworm-updates main contrib non-free non-free-firmware
# Uncomment deb-src lines below then 'apt-get update' to enable 'apt-get source'
#deb-src http://deb.debian.org/debian bookworm main contrib non-free non-free-firmware
"""
APT: dict[str, dict[str, str | bytes | Link | None]] = {
    "bookworm": {
        "etc/apt/sources.list": _BOOKWORM_SOURCES,
        "etc/apt/sources.list.d/raspi.list": "deb http://archive.raspberrypi.com/debian/ bookworm main\n",
        "etc/apt/trusted.gpg.d/debian-archive-bookworm-stable.asc": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
        "etc/apt/trusted.gpg.d/raspberrypi-archive-stable.gpg": b"\x99stand-in",
    },
    "trixie": {
        "etc/apt/sources.list": "",
        "etc/apt/sources.list.d/debian.sources": SOURCES,
        "etc/apt/sources.list.d/raspi.sources": RASPI_SOURCES,
        "usr/share/keyrings/debian-archive-keyring.pgp": b"\x99stand-in",
        "usr/share/keyrings/raspberrypi-archive-keyring.pgp": b"\x99stand-in",
    },
}
# systemd 257: 50-udev-default.rules, 60-persistent-v4l.rules
DEFAULT_RULES = """\
SUBSYSTEM=="video4linux", GROUP="video"
SUBSYSTEM=="graphics", GROUP="video"
SUBSYSTEM=="dvb", GROUP="video"
SUBSYSTEM=="media", GROUP="video"
"""
V4L_RULES = """\
ACTION=="remove", GOTO="persistent_v4l_end"
SUBSYSTEM!="video4linux", GOTO="persistent_v4l_end"

SUBSYSTEMS=="usb", IMPORT{builtin}="usb_id"
KERNEL=="video*", ENV{ID_SERIAL}=="?*", SYMLINK+="v4l/by-id/$env{ID_BUS}-$env{ID_SERIAL}-video-index$attr{index}"

IMPORT{builtin}="path_id"
KERNEL=="video*|vbi*", ENV{ID_PATH}=="?*", SYMLINK+="v4l/by-path/$env{ID_PATH}-video-index$attr{index}"
KERNEL=="audio*", ENV{ID_PATH}=="?*", SYMLINK+="v4l/by-path/$env{ID_PATH}-audio-index$attr{index}"

LABEL="persistent_v4l_end"
"""
# RPi-Distro/raspberrypi-sys-mods, lib/udev/rules.d, branch bookworm: 10-vc.rules, 60-dma-heap.rules
VC_RULES = """\
KERNEL=="vcio", GROUP="video", MODE="0660"
KERNEL=="vchiq", GROUP="video", MODE="0660"
SUBSYSTEM=="vc-sm", GROUP="video", MODE="0660"
KERNEL=="vcsm-cma", GROUP="video", MODE="0660"
"""
DMA_RULES = """\
SUBSYSTEM=="dma_heap", GROUP="video", MODE="0660"
SUBSYSTEM=="dma_heap", KERNEL=="linux,cma", SYMLINK+="dma_heap/vidbuf_cached"
"""
# RPi-Distro/pi-gen, stage1/01-sys-tweaks/files/fstab
FSTAB = (
    "proc            /proc           proc    defaults          0       0\n"
    f"PARTUUID={DISK_ID}-01  /boot/firmware  vfat    defaults          0       2\n"
    f"PARTUUID={DISK_ID}-02  /               ext4    defaults,noatime  0       1\n"
)
# Debian, base-passwd and udev; RPi-Distro/pi-gen, stage2/01-sys-tweaks/01-run.sh. The members are left out.
GROUPS = (
    "root:x:0:\nadm:x:4:\ndialout:x:20:\ncdrom:x:24:\nsudo:x:27:\naudio:x:29:\nvideo:x:44:\nplugdev:x:46:\ngames:x:60:\n"
    "users:x:100:\nspi:x:989:\ni2c:x:988:\ngpio:x:986:\nnetdev:x:994:\ninput:x:995:\nrender:x:992:\npi:x:1000:\n"
)
# RPi-Distro/raspberrypi-sys-mods, usr/lib/raspberrypi-sys-mods/imager_custom; RPi-Distro/raspi-config
IMAGER_CUSTOM = """\
#!/bin/sh
case "$FUNCTION" in
  set_hostname|import_ssh_id|enable_ssh|set_wlan_country|set_wlan|set_keymap|set_timezone)
"""
RASPI_CONFIG = "#!/bin/sh\ndo_change_locale() {\ndo_wifi_country() {\n  nonint)\n"
# raspberrypi/rpi-preseed, systemd
PRESEED_UNIT = """\
[Unit]
Description=rpi-preseed base configuration (first boot)
ConditionPathExists=/boot/firmware/rpi-preseed.toml
ConditionPathExists=!/var/lib/rpi-preseed/applied
"""
EARLY_UNIT = "[Service]\nType=oneshot\nTimeoutStartSec=30\nExecStart=/usr/bin/rpi-preseed apply-runcmd-early\n"
NETPLAN = "network:\n  version: 2\n  renderer: NetworkManager\n"
UNITS = "usr/lib/systemd/system"

_UNIT_NAMES = (
    "NetworkManager.service",
    "basic.target",
    "getty@.service",
    "kernel-command-line.target",
    "multi-user.target",
    "ssh.service",
    "systemd-modules-load.service",
    "userconfig.service",
)
_VERSIONS = {"bookworm": {"systemd": "252.39-1~deb12u1"}, "trixie": {"systemd": "257.8-1~deb13u2"}}
_CLOUD_INIT = "25.2-1~bpo13+1+rpt20"
_STYLE_FILES: dict[str, dict[str, str | bytes | Link | None]] = {
    "systemd": {},
    # package rpi-cloud-init-mods
    "cloudinit": {"usr/lib/netplan/00-network-manager-all.yaml": NETPLAN},
    "rpi-preseed": {
        f"{UNITS}/rpi-preseed.service": PRESEED_UNIT,
        f"{UNITS}/rpi-preseed-runcmd-early.service": EARLY_UNIT,
    },
}


def whole_root(release: str, style: str) -> dict[str, str | bytes | Link | None]:
    """Return the files to add to a stand-in of ``release`` and ``style``, by their path in the root file system."""
    python = RELEASES[release].python
    added = (f"python{python}-minimal", "sudo", "systemd-sysv", "systemd-timesyncd", *STYLES[style].packages)
    versions = {**_VERSIONS[release], "cloud-init": _CLOUD_INIT}
    status = "".join(
        package_status(name, "arm64", version=versions.get(name, "1.0-1")) for name in (*COMMON_PACKAGES, *added)
    )
    return {
        **{f"usr/bin/{name}": "#!/bin/sh\n" for name in PROGRAMS if name != "python3"},
        **{f"{UNITS}/{name}": "[Unit]\n" for name in _UNIT_NAMES},
        **APT[release],
        **_STYLE_FILES[style],
        "etc/NetworkManager/NetworkManager.conf": "[main]\nplugins=ifupdown,keyfile\n\n[ifupdown]\nmanaged=false\n",
        "etc/fstab": FSTAB,
        "etc/group": GROUPS,
        "etc/locale.gen": "# en_GB ISO-8859-1\nen_GB.UTF-8 UTF-8\n# en_US.UTF-8 UTF-8\n",
        "etc/modprobe.d/blacklist-8192cu.conf": "blacklist 8192cu\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n",
        "etc/ssh/sshd_config": "# See sshd_config(5)\n\nInclude /etc/ssh/sshd_config.d/*.conf\n\nUsePAM yes\n",
        "etc/ssh/sshd_config.d/rename_user.conf": "Banner /usr/share/userconf-pi/sshd_banner\n",
        "etc/sudoers": "Defaults\tenv_reset\nroot\tALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
        "usr/bin/raspi-config": RASPI_CONFIG,
        f"usr/lib/modules/{KERNEL}/modules.builtin": "kernel/drivers/watchdog/bcm2835_wdt.ko\n",
        f"usr/lib/modules/{KERNEL}/modules.dep": (
            "kernel/drivers/media/mc/mc.ko.xz:\n"
            "kernel/drivers/media/v4l2-core/videodev.ko.xz: kernel/drivers/media/mc/mc.ko.xz\n"
            "kernel/drivers/media/usb/uvc/uvcvideo.ko.xz: kernel/drivers/media/v4l2-core/videodev.ko.xz\n"
        ),
        f"usr/lib/python{python}/venv/__init__.py": "",
        "usr/lib/raspberrypi-sys-mods/imager_custom": IMAGER_CUSTOM,
        "usr/lib/systemd/journald.conf.d/40-rpi-volatile-storage.conf": "[Journal]\nStorage=volatile\n",
        "usr/lib/systemd/system-generators/systemd-run-generator": b"\x7fELF",
        "usr/lib/udev/rules.d/10-vc.rules": VC_RULES,
        "usr/lib/udev/rules.d/50-udev-default.rules": DEFAULT_RULES,
        "usr/lib/udev/rules.d/60-dma-heap.rules": DMA_RULES,
        "usr/lib/udev/rules.d/60-persistent-v4l.rules": V4L_RULES,
        "usr/lib/userconf-pi/userconf": "#!/bin/sh\n",
        "usr/sbin/init": Link("../lib/systemd/systemd"),
        "var/lib/dpkg/status": status,
    }
