"""Read, create and replace files in a FAT16 or FAT32 volume of an image; everything else stays byte-identical.

Own code, because composing must work without mtools, and the Python libraries do not fit: pyfatfs changes names that it
does not touch and marks the volume as in use, and fatfs cannot list files. The layout and the allocation table are in
``fat_table``, names in ``fat_names``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from fer_edge.errors import InputError, OutputError
from fer_flash.image.file_systems import fat_names
from fer_flash.image.file_systems.fat_names import ENTRY, Entry
from fer_flash.image.file_systems.fat_table import FatTable, looks_like_fat, read_layout, runs_of
from fer_flash.image.file_systems.region import Region, parts_of

_MAX_FILE = 0xFFFFFFFF  # bytes; sizes have 32 bits
_MAX_SLOTS = 65536  # entries per folder
_CHUNK = 4 << 20
_DOT, _DOT_DOT = b".          ", b"..         "


class FatVolume:
    """The FAT volume in ``region``; ``looks_like`` checks whether it is one.

    Paths are relative to the root and separated by "/", without a leading one; upper and lower case are equal. Nothing
    is written unless there is room for all of it. Clusters that a replaced file leaves are overwritten with zeros,
    since they may have contained a secret. Raises InputError for a damaged volume, or one that was copied while in use;
    before anything is written, all folders and chains are checked, as fsck.fat does.
    """

    looks_like = staticmethod(looks_like_fat)

    def __init__(self, region: Region) -> None:
        self._region = region
        self.start = region.start
        """First byte of the volume in the image."""
        self._layout = read_layout(region)
        self._table = FatTable(region, self._layout)
        if region.writable and self._layout.root_cluster:
            self._table.claim(self._layout.root_cluster, "the root folder")
        self._root = _Folder(self._table, self._layout.root_cluster)
        if region.writable:
            self._check_tree()

    @property
    def free_bytes(self) -> int:
        """Free space in bytes; each file needs up to one cluster more than its size."""
        return self._table.free_clusters * self._layout.cluster_bytes

    def exists(self, path: str) -> bool:
        """Return whether there is such a file or folder."""
        parts = parts_of(path)
        return not parts or self._entry(parts) is not None

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        entry = self._find(path)
        if entry is None or entry.is_folder:
            raise InputError(f"{self._region.name}: {path}: {'is a folder' if entry else 'is the root folder'}")
        data = self._table.content(self._table.chain(entry.cluster) if entry.cluster else [])
        if len(data) < entry.size:
            raise self._region.damaged(f"{path} has fewer clusters than bytes")
        return data[: entry.size]

    def listdir(self, path: str) -> list[str]:
        """Return the sorted names in a folder; "" is the root."""
        entry = self._find(path)
        if entry is not None and not entry.is_folder:
            raise InputError(f"{self._region.name}: {path}: is a file, not a folder")
        folder = self._root if entry is None else self._folder(entry)
        return sorted(each.name for each in folder.entries() if each.name not in (".", ".."))

    def write(self, path: str, data: bytes | Path) -> None:
        """Create or replace a file, and create the folders above it; a ``Path`` is a file of this computer to copy.

        A replaced file keeps the spelling of its name and its attributes.

        Raises:
            InputError: for an invalid name, or the name of a folder.
            OutputError: if the volume is full.
        """
        parts = parts_of(path)
        for name in parts:
            fat_names.check_name(name, self._region.name)
        size = _size_of(data)
        if not parts or size > _MAX_FILE:
            raise InputError(f"{self._region.name}: {path}: not a file name, or above 4 GiB, the limit of FAT")
        folder, missing = self._deepest(parts[:-1])
        if folder is None:
            raise InputError(f"{self._region.name}: {path}: one of the folders above it is a file")
        entry = None if missing else folder.find(parts[-1])
        if entry is not None and entry.is_folder:
            raise InputError(f"{self._region.name}: {path}: is a folder")
        new = [] if entry is not None else [*missing, parts[-1]]
        clusters = -(-size // self._layout.cluster_bytes)
        self._demand_room(path, folder, new, clusters)
        old = self._table.chain(entry.cluster) if entry is not None and entry.cluster else []
        chain = self._table.allocate(clusters)
        try:
            self._fill(chain, data, size)
        except BaseException:
            self._table.release(chain)
            raise
        for name in missing:
            folder = self._make_folder(folder, name)
        if entry is None:
            entry = folder.add(parts[-1], fat_names.ARCHIVE)
        folder.change(entry, chain[0] if chain else 0, size)
        self._table.release(old)
        self._table.flush()
        self._table.zero(old)

    def _check_tree(self) -> None:
        """Raise InputError if files share a cluster, or a file has more or fewer clusters than its size needs."""
        folders = [self._root]
        while folders:
            for entry in folders.pop().entries():
                if entry.name in (".", ".."):
                    continue
                if entry.cluster:
                    self._table.claim(entry.cluster, entry.name)  # also ends a folder that contains itself
                if entry.is_folder:
                    folders.append(self._folder(entry))
                    continue
                found = len(self._table.chain(entry.cluster)) if entry.cluster else 0
                if found != -(-entry.size // self._layout.cluster_bytes):
                    raise self._region.damaged(f"{entry.name} has {entry.size} bytes in {found} clusters")

    def _find(self, path: str) -> Entry | None:
        """Return the entry of a file or folder, None for the root. Raises InputError if there is none."""
        parts = parts_of(path)
        entry = self._entry(parts) if parts else None
        if parts and entry is None:
            raise InputError(f"{self._region.name}: {path}: no such file or folder")
        return entry

    def _entry(self, parts: Sequence[str]) -> Entry | None:
        folder, missing = self._deepest(parts[:-1])
        return folder.find(parts[-1]) if folder is not None and not missing else None

    def _deepest(self, names: Sequence[str]) -> tuple[_Folder | None, list[str]]:
        """Return the last existing folder of a path and the names below it; None if a file is in the way."""
        folder = self._root
        for index, name in enumerate(names):
            entry = folder.find(name)
            if entry is None:
                return folder, list(names[index:])
            if not entry.is_folder:
                return None, []
            folder = self._folder(entry)
        return folder, []

    def _folder(self, entry: Entry) -> _Folder:
        if not entry.cluster:
            raise self._region.damaged(f"the folder {entry.name} has no clusters")
        return _Folder(self._table, entry.cluster)

    def _demand_room(self, path: str, folder: _Folder, new: Sequence[str], clusters: int) -> None:
        """Raise OutputError unless ``clusters`` fit, and the entries of ``new``, each in the folder before it."""
        needed = clusters
        if new:
            needed += folder.growth(fat_names.slots_for(new[0]))
        for name in new[1:]:  # after "." and ".."
            needed += -(-(2 + fat_names.slots_for(name)) * ENTRY // self._layout.cluster_bytes)
        free = self._table.free_clusters
        if needed > free:
            raise OutputError(
                f"{self._region.target}: {path}: no room: it needs {needed * self._layout.cluster_bytes} bytes, and "
                f"{free * self._layout.cluster_bytes} are free"
            )

    def _fill(self, chain: Sequence[int], data: bytes | Path, size: int) -> None:
        """Write ``data`` into the clusters, and zeros up to the end of the last one."""
        try:
            with _stream(data) as stream:
                for first, count in runs_of(chain):
                    at, left = self._layout.offset_of(first), count * self._layout.cluster_bytes
                    while left:
                        piece = stream.read(min(left, _CHUNK))
                        size -= len(piece)
                        piece = piece or bytes(min(left, self._layout.cluster_bytes))
                        self._region.write(at, piece)
                        at, left = at + len(piece), left - len(piece)
                size -= len(stream.read(1))
        except OutputError:
            raise
        except OSError as error:
            raise InputError(f"{data!s}: cannot read it: {error.strerror}") from error
        if size:
            raise InputError(f"{data!s}: changed while it was being read")

    def _make_folder(self, parent: _Folder, name: str) -> _Folder:
        entry = parent.add(name, fat_names.FOLDER)
        [cluster] = self._table.allocate(1)
        parent.change(entry, cluster, 0)
        self._table.zero([cluster])
        folder = _Folder(self._table, cluster)
        # For a parent that is the root, the cluster is 0, on FAT32 too.
        above = 0 if parent.first == self._layout.root_cluster else parent.first
        folder.put_dots(above)
        return folder


class _Folder:
    """The entries of one folder; ``first`` is its first cluster, 0 for the root of FAT16, which cannot grow."""

    def __init__(self, table: FatTable, first: int) -> None:
        self._region, self._layout, self._table = table.region, table.layout, table
        self.first = first
        self._clusters = table.chain(first) if first else []
        if len(self._clusters) * self._layout.cluster_bytes > _MAX_SLOTS * ENTRY + self._layout.cluster_bytes:
            raise self._region.damaged("a folder with too many entries")

    def entries(self) -> Iterator[Entry]:
        """Return all files and folders."""
        return fat_names.parse(self._bytes())

    def find(self, name: str) -> Entry | None:
        """Return the file or folder with that name, or else with that short name."""
        wanted = fat_names.upper(name)
        entries = [entry for entry in self.entries() if entry.name not in (".", "..")]
        named = [entry for entry in entries if fat_names.upper(entry.name) == wanted]
        aliased = [entry for entry in entries if fat_names.short_name(entry.short) == wanted]
        return next(iter(named or aliased), None)

    def growth(self, slots: int) -> int:
        """Return the clusters to add for ``slots`` consecutive free entries. Raises OutputError if it cannot grow."""
        data = self._bytes()
        missing = _place(data, slots) + slots - len(data) // ENTRY
        if missing > 0 and not self.first:
            raise OutputError(f"{self._region.target}: the root folder is full")
        return max(0, -(-missing * ENTRY // self._layout.cluster_bytes))

    def add(self, name: str, attributes: int) -> Entry:
        """Create an empty file, or a folder without a cluster; there must be room."""
        taken = {entry.short for entry in self.entries()}
        raw = fat_names.make(name, taken, attributes)
        growth = self.growth(len(raw))
        data = self._bytes()
        slot, end = _place(data, len(raw)), data[::ENTRY].find(fat_names.END)
        grown = self._table.allocate(growth, after=self._clusters[-1]) if growth else []
        self._table.zero(grown)
        self._clusters += grown
        for index, each in enumerate(raw):
            self._region.write(self._offset(slot + index), each)
        behind = slot + len(raw)
        if 0 <= end < behind < len(data) // ENTRY:  # the end mark was overwritten; what follows may be old data
            self._region.write(self._offset(behind), bytes([fat_names.END]))
        return Entry(name, raw[-1][:11], attributes, 0, 0, slot + len(raw) - 1)

    def change(self, entry: Entry, cluster: int, size: int) -> None:
        """Set the content, size and date of ``entry``."""
        at = self._offset(entry.slot)
        raw = self._region.read(at, ENTRY)
        attributes = entry.attributes if entry.is_folder else entry.attributes | fat_names.ARCHIVE
        self._region.write(at, fat_names.changed(raw, cluster=cluster, size=size, attributes=attributes))

    def put_dots(self, above: int) -> None:
        """Write "." and "..", the first two entries of every folder but the root."""
        for slot, (short, cluster) in enumerate(((_DOT, self.first), (_DOT_DOT, above))):
            raw = fat_names.short_entry(short, fat_names.FOLDER)
            raw = fat_names.changed(raw, cluster=cluster, size=0, attributes=fat_names.FOLDER)
            self._region.write(self._offset(slot), raw)

    def _bytes(self) -> bytes:
        if not self.first:
            return self._region.read(self._layout.root_at, self._layout.root_bytes)
        return self._table.content(self._clusters)

    def _offset(self, slot: int) -> int:
        if not self.first:
            return self._layout.root_at + slot * ENTRY
        cluster, rest = divmod(slot * ENTRY, self._layout.cluster_bytes)
        return self._layout.offset_of(self._clusters[cluster]) + rest


def _place(data: bytes, slots: int) -> int:
    """Return the first of ``slots`` consecutive free entries; they may extend beyond the last entry."""
    marks = data[::ENTRY]
    end = marks.find(fat_names.END)
    start = 0
    for slot, mark in enumerate(marks if end < 0 else marks[:end]):
        if mark != fat_names.FREE:
            start = slot + 1
        elif slot + 1 - start == slots:
            break
    return start


def _size_of(data: bytes | Path) -> int:
    """Return the number of bytes in ``data``. Raises InputError if the file is missing."""
    if isinstance(data, bytes):
        return len(data)
    try:
        return data.stat().st_size
    except OSError as error:
        raise InputError(f"{data}: cannot read it: {error.strerror}") from error


def _stream(data: bytes | Path) -> BinaryIO:
    return io.BytesIO(data) if isinstance(data, bytes) else data.open("rb")
