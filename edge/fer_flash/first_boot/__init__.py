"""The files that make a stock image customise itself and install FER-Edge at its first boot."""

from __future__ import annotations

from fer_flash.first_boot.plan import REPORT, BootFile, first_boot_files, warnings

__all__ = ["REPORT", "BootFile", "first_boot_files", "warnings"]
