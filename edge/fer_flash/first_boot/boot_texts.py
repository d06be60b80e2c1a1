"""What is added to the image's cmdline.txt and config.txt."""

from __future__ import annotations

from fer_edge.errors import InputError

WATCHDOG = "dtparam=watchdog=on"
"""Turns the hardware watchdog on; it is off by default (raspberrypi/firmware, boot/overlays/README)."""

_REPLACED = ("cfg80211.ieee80211_regdom=", "ds=", "systemd.run", "systemd.unit=kernel-command-line.target")
"""Parameters in cmdline.txt that may be left from an earlier customisation."""


def cmdline_text(stock: bytes, added: list[str]) -> bytes:
    """Return the image's kernel command line, one line, with each of ``added`` at its end, once.

    Raises InputError if the image's cmdline.txt is not a kernel command line.
    """
    lines = stock.decode("utf-8", errors="replace").split("\n")
    words = lines[0].replace("\r", "").split(" ")
    if not any(word.startswith("root=") for word in words):
        raise InputError("cmdline.txt of the image has no root=: it is damaged, or not from Raspberry Pi OS")
    kept = [word for word in words if word and word not in added and not word.startswith(_REPLACED)]
    return (" ".join([*kept, *added]) + "\n").encode("utf-8")


def config_text(stock: bytes) -> bytes:
    """Return the image's config.txt with the hardware watchdog turned on for every model of Pi."""
    if WATCHDOG.encode() in (line.strip() for line in stock.splitlines()):
        return stock
    end = b"" if not stock or stock.endswith(b"\n") else b"\n"
    return stock + end + f"\n# FER-Edge: restart a Pi that hangs\n[all]\n{WATCHDOG}\n".encode()
