"""cmdline.txt and config.txt: what is added to those of the image."""

from __future__ import annotations

from fer_edge.errors import InputError

WATCHDOG = "dtparam=watchdog=on"
"""Turns the hardware watchdog on: raspberrypi/firmware, boot/overlays/README, whose default is off."""

_REPLACED = ("cfg80211.ieee80211_regdom=", "ds=", "systemd.run", "systemd.unit=kernel-command-line.target")
"""What an earlier customisation may have left in cmdline.txt."""


def cmdline_text(stock: bytes, added: list[str]) -> bytes:
    """The image's kernel command line, one line, with each of ``added`` at its end, once.

    Raises InputError where the image's own is none.
    """
    lines = stock.decode("utf-8", errors="replace").split("\n")
    words = lines[0].replace("\r", "").split(" ")
    if not any(word.startswith("root=") for word in words):
        raise InputError("cmdline.txt of the image names no root file system: it is damaged, or no Raspberry Pi OS")
    kept = [word for word in words if word and word not in added and not word.startswith(_REPLACED)]
    return (" ".join([*kept, *added]) + "\n").encode("utf-8")


def config_text(stock: bytes) -> bytes:
    """The image's config.txt with the hardware watchdog on, for every model of Pi."""
    if WATCHDOG.encode() in (line.strip() for line in stock.splitlines()):
        return stock
    end = b"" if not stock or stock.endswith(b"\n") else b"\n"
    return stock + end + f"\n# FER-Edge: a Pi that hangs restarts\n[all]\n{WATCHDOG}\n".encode()
