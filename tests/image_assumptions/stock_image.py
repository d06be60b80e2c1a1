"""A stock image for the assumptions: text, packages, rules, modules and partitions, each read once."""

from __future__ import annotations

import re
import struct
import uuid
from functools import cached_property

from fer_edge.errors import InputError
from fer_flash.image.card_image import CardImage
from fer_flash.image.file_systems.ext4 import Ext4Volume
from fer_flash.image.file_systems.fat import FatVolume
from fer_flash.image.file_systems.fat_table import read_layout
from fer_flash.image.file_systems.region import Region
from fer_flash.image.partitions import SECTOR
from fer_flash.image.stock_system import STATUS, InstalledPackage, StockSystem, Style, inspect, installed_packages

_RULES = ("etc/udev/rules.d", "usr/lib/udev/rules.d", "lib/udev/rules.d")
"""By precedence (udev(7)). On merged systems the last one is a link to the one before it."""
_MODULES = "usr/lib/modules"
_GPT_SIGNATURE = b"EFI PART"


class StockImage:
    """Both file systems of ``card``. A missing file reads as empty."""

    def __init__(self, card: CardImage) -> None:
        self.card = card

    @property
    def boot(self) -> FatVolume:
        """The boot partition."""
        return self.card.boot

    @property
    def root(self) -> Ext4Volume:
        """The root file system."""
        return self.card.root

    def boot_text(self, path: str) -> str:
        """Return the text of a file of the boot partition; "" if it does not exist."""
        return _text(self.boot, path)

    def root_text(self, path: str) -> str:
        """Return the text of a file of the root file system; "" if it does not exist."""
        return _text(self.root, path)

    def root_names(self, folder: str) -> list[str]:
        """Return the names in a folder of the root file system; none if it does not exist."""
        return self.root.listdir(folder) if self.root.exists(folder) else []

    def root_texts(self, *folders: str, ending: str) -> dict[str, str]:
        """Return the files of ``folders`` with that ending, by path.

        A file hides those of the same name in later folders, as for systemd and udev.
        """
        names: set[str] = set()
        found = {}
        for folder in folders:
            for name in self.root_names(folder):
                if name.endswith(ending) and name not in names:
                    names.add(name)
                    found[f"{folder}/{name}"] = self.root_text(f"{folder}/{name}")
        return found

    @cached_property
    def packages(self) -> dict[str, InstalledPackage]:
        """The installed packages, by name."""
        return installed_packages(self.root_text(STATUS))

    def version(self, package: str) -> tuple[int, ...]:
        """Return the first numbers of a package's upstream version, without the epoch; () if it is not installed."""
        found = self.packages.get(package)
        match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", found.version) if found else None
        return tuple(map(int, match[1].split("."))) if match else ()

    @cached_property
    def system(self) -> StockSystem | str:
        """Description of the image, or the reason why FER-Edge refuses it."""
        try:
            return inspect(self.boot, self.root)
        except InputError as error:
            return str(error)

    @property
    def style(self) -> Style | None:
        """The style of customization; None if it is not known."""
        return self.system.style if isinstance(self.system, StockSystem) else None

    @cached_property
    def udev_rules(self) -> list[str]:
        """The lines of all udev rules, without comments; a continued line is one line."""
        lines: list[str] = []
        for text in self.root_texts(*_RULES, ending=".rules").values():
            joined = text.replace("\\\n", " ").splitlines()
            lines += [line for line in joined if line.strip() and not line.startswith("#")]
        return lines

    @cached_property
    def kernels(self) -> dict[str, frozenset[str]]:
        """The module names of each kernel, built in or not; "-" and "_" are the same in a name."""
        found = {}
        for version in self.root_names(_MODULES):
            listed = "".join(
                self.root_text(f"{_MODULES}/{version}/{name}") for name in ("modules.dep", "modules.builtin")
            )
            paths = re.findall(r"^(?:\S*/)?([^/\s:]+?)\.ko(?:\.\w+)?(?=:|$)", listed, flags=re.MULTILINE)
            found[version] = frozenset(name.replace("-", "_") for name in paths)
        return found

    @cached_property
    def table(self) -> str:
        """The kind of partition table, "MBR" or "GPT"."""
        return "GPT" if self._raw(SECTOR, 8) == _GPT_SIGNATURE else "MBR"

    @cached_property
    def root_partuuid(self) -> str:
        """The PARTUUID of the root partition, as Linux derives it from the partition table (block/partitions)."""
        number = next(each.number for each in self.card.partitions if each.start == self.root.start)
        if self.table == "MBR":
            [disk] = struct.unpack("<I", self._raw(440, 4))
            return f"{disk:08x}-{number:02x}"
        # UEFI 2.10, 5.3.2 and 5.3.3: sector of the entries, size of one, and its unique GUID.
        entries, entry_bytes = struct.unpack("<QxxxxI", self._raw(SECTOR + 72, 16))
        return str(uuid.UUID(bytes_le=self._raw(entries * SECTOR + (number - 1) * entry_bytes + 16, 16)))

    @cached_property
    def boot_cluster_bytes(self) -> int:
        """Bytes per cluster of the boot partition."""
        boot = next(each for each in self.card.partitions if each.start == self.boot.start)
        with self.card.path.open("rb", buffering=0) as stream:
            return read_layout(Region(stream, boot.start, boot.size, str(self.card.path))).cluster_bytes

    @cached_property
    def boot_kind(self) -> str:
        """The kind and the label of the boot file system, such as "FAT32 bootfs"."""
        sector = self._raw(self.boot.start, SECTOR)
        kind, label = (sector[82:90], sector[71:82]) if sector[82:87] == b"FAT32" else (sector[54:62], sector[43:54])
        return f"{kind.decode('ascii', 'replace').strip()} {label.decode('ascii', 'replace').strip()}"

    def _raw(self, at: int, count: int) -> bytes:
        with self.card.path.open("rb") as stream:
            stream.seek(at)
            data = stream.read(count)
        if len(data) < count:
            raise InputError(f"{self.card.path}: ends before byte {at + count}")
        return data


def _text(volume: FatVolume | Ext4Volume, path: str) -> str:
    return volume.read(path).decode("utf-8", errors="replace") if volume.exists(path) else ""
