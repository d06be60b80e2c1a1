"""The layout of a FAT volume and its allocation table.

See Microsoft's "FAT32 File System Specification" (fatgen103). FAT16 and FAT32 are supported; FAT12, which no card image
uses, is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_edge.errors import InputError, OutputError
from fer_flash.image.file_systems.region import Region

# The number of clusters alone determines the type of FAT.
_FAT16_FROM, _FAT32_FROM, _CLUSTERS_BELOW = 4085, 65525, 0x0FFFFFF5
_INFO_SIGNATURES = ((0, b"RRaA"), (484, b"rrAa"), (508, b"\x00\x00\x55\xaa"))
_INFO_FREE = 488
_PIECE = 4096  # bytes of the table that are compared, and written if they differ

Runs = list[tuple[int, int]]
"""Contiguous clusters as (first, count)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Positions in bytes from the start of the volume, and sizes."""

    bits: int
    cluster_bytes: int
    clusters: int
    tables: tuple[int, ...]
    """Start of each copy of the allocation table that is in use."""
    table_bytes: int
    root_at: int
    """FAT16's root folder and its size; 0 on FAT32, whose root uses clusters."""
    root_bytes: int
    root_cluster: int
    data_at: int
    info_at: int | None
    """FAT32's sector with the number of free clusters."""
    dirty: bool
    """Whether Linux marked the volume as not unmounted."""
    faulty: bool
    """Whether Windows marked it for a check of its surface."""

    def offset_of(self, cluster: int) -> int:
        """Return the start of a cluster."""
        return self.data_at + (cluster - 2) * self.cluster_bytes


def looks_like_fat(region: Region) -> bool:
    """Return whether the boot sector could be a FAT's; ``read_layout`` checks it."""
    if region.size < 512:
        return False
    sector = region.read(0, 512)
    jump = sector[0] == 0xE9 or (sector[0] == 0xEB and sector[2] == 0x90)
    return jump and sector.endswith(b"\x55\xaa") and (sector[54:57] == b"FAT" or sector[82:87] == b"FAT32")


def read_layout(region: Region) -> Layout:
    """Return the layout from the boot sector. Raises InputError if it is inconsistent, or for a FAT12."""
    sector = region.read(0, 512)
    (sector_bytes, per_cluster, reserved, copies, root_entries, total16, _, table16) = struct.unpack_from(
        "<HBHBHHBH", sector, 11
    )
    total32, table32, flags, _, root_cluster, info = struct.unpack_from("<IIHHIH", sector, 32)
    total, table_sectors = total16 or total32, table16 or table32
    if sector_bytes not in (512, 1024, 2048, 4096) or per_cluster not in (1, 2, 4, 8, 16, 32, 64, 128):
        raise region.damaged(
            f"a boot sector with sectors of {sector_bytes} bytes and clusters of {per_cluster} sectors"
        )
    if not reserved or copies not in (1, 2) or not table_sectors or total * sector_bytes > region.size:
        raise region.damaged("a boot sector that does not fit its partition")
    root_at = (reserved + copies * table_sectors) * sector_bytes
    root_bytes = root_entries * 32
    if root_bytes % sector_bytes:
        raise region.damaged(
            f"a boot sector with a root folder of {root_entries} entries, which do not fill whole sectors"
        )
    cluster_bytes = per_cluster * sector_bytes
    clusters = (total * sector_bytes - root_at - root_bytes) // cluster_bytes
    if clusters < _FAT16_FROM:
        raise InputError(f"{region.name}: a FAT12, which a Raspberry Pi does not boot from; use a stock image")
    bits = 16 if clusters < _FAT32_FROM else 32
    table_bytes = table_sectors * sector_bytes
    if clusters >= _CLUSTERS_BELOW or (clusters + 2) * bits // 8 > table_bytes or (bits == 32) != (root_entries == 0):
        raise region.damaged("a boot sector whose allocation table does not fit its clusters")
    kept = range(copies)
    if bits == 32 and flags & 0x80:  # only one copy is in use
        kept = range(flags & 0xF, (flags & 0xF) + 1)
        if kept[0] >= copies:
            raise region.damaged("a boot sector that names a missing allocation table")
    return Layout(
        bits=bits,
        cluster_bytes=cluster_bytes,
        clusters=clusters,
        tables=tuple((reserved + copy * table_sectors) * sector_bytes for copy in kept),
        table_bytes=table_bytes,
        root_at=root_at,
        root_bytes=root_bytes,
        root_cluster=root_cluster if bits == 32 else 0,
        data_at=root_at + root_bytes,
        info_at=info * sector_bytes if bits == 32 and 0 < info < reserved else None,
        dirty=bool(sector[65 if bits == 32 else 37] & 1),
        faulty=bool(sector[65 if bits == 32 else 37] & 2),
    )


class FatTable:
    """The allocation table in memory; ``flush`` writes changes to every copy.

    For writing, it must be consistent: a file whose chain passes through a free cluster would end in what is written
    there next.
    """

    def __init__(self, region: Region, layout: Layout) -> None:
        self.region, self.layout = region, layout
        self._on_disk = region.read(layout.tables[0], layout.table_bytes)
        self._stored = "<u4" if layout.bits == 32 else "<u2"
        self._entries = np.frombuffer(self._on_disk, self._stored, layout.clusters + 2).astype(np.uint32)
        # FAT32 uses 28 bits; the others must be kept.
        self._mask = 0x0FFFFFFF if layout.bits == 32 else 0xFFFF
        self._bad, self._end = self._mask - 8, self._mask - 7  # values from the latter on mark the end of a chain
        self._referred = np.zeros(len(self._entries), bool)
        if region.writable:
            self._refuse_damaged()
            self._check_chains()

    @property
    def free_clusters(self) -> int:
        """Number of unused clusters."""
        return int(np.count_nonzero((self._entries[2:] & self._mask) == 0))

    def chain(self, first: int) -> list[int]:
        """Return the clusters of a file or folder in order. Raises InputError if the chain does not end."""
        clusters: list[int] = []
        cluster = first
        while cluster < self._end:
            if not 2 <= cluster < len(self._entries) or len(clusters) == self.layout.clusters:
                raise self.region.damaged("a file whose cluster chain does not end")
            clusters.append(cluster)
            cluster = int(self._entries[cluster]) & self._mask
        return clusters

    def content(self, clusters: Sequence[int]) -> bytes:
        """Return the content of ``clusters``, in their order."""
        size = self.layout.cluster_bytes
        runs = runs_of(clusters)
        return b"".join(self.region.read(self.layout.offset_of(first), count * size) for first, count in runs)

    def zero(self, clusters: Sequence[int]) -> None:
        """Overwrite ``clusters`` with zeros."""
        for cluster in clusters:
            self.region.write(self.layout.offset_of(cluster), bytes(self.layout.cluster_bytes))

    def claim(self, first: int, what: str) -> None:
        """Note that ``what`` begins at the cluster ``first``.

        Raises InputError if that is free, or belongs to another file as well. Only for a volume opened for writing.
        """
        if not 2 <= first < len(self._entries) or int(self._entries[first]) & self._mask in (0, self._bad):
            raise self.region.damaged(f"{what} begins at the cluster {first}, which is free, bad or missing")
        if self._referred[first]:
            raise self.region.damaged(f"{what} shares the cluster {first} with another file")
        self._referred[first] = True

    def allocate(self, count: int, after: int | None = None) -> list[int]:
        """Allocate ``count`` free clusters as a chain, appended to the one that ends with ``after``.

        Raises OutputError if there are not enough.
        """
        free = np.flatnonzero((self._entries[2:] & self._mask) == 0)[:count] + 2
        if len(free) < count:
            raise OutputError(f"{self.region.target}: full")
        following = np.append(free[1:], self._mask).astype(np.uint32)
        self._entries[free] = (self._entries[free] & ~np.uint32(self._mask)) | following[: len(free)]
        if after is not None and count:
            self._entries[after] = (int(self._entries[after]) & ~self._mask) | int(free[0])
        return [int(cluster) for cluster in free]

    def release(self, clusters: Sequence[int]) -> None:
        """Mark clusters as free."""
        self._entries[list(clusters)] &= ~np.uint32(self._mask)

    def flush(self) -> None:
        """Write the changed sectors, and the number of free clusters."""
        used = self._entries.astype(self._stored).tobytes()
        new = used + self._on_disk[len(used) :]
        for at in range(0, len(new), _PIECE):
            if self._on_disk[at : at + _PIECE] != new[at : at + _PIECE]:
                for table in self.layout.tables:
                    self.region.write(table + at, new[at : at + _PIECE])
        self._on_disk = new
        info_at = self.layout.info_at
        if info_at is not None:
            sector = self.region.read(info_at, 512)
            if all(sector[at : at + 4] == signature for at, signature in _INFO_SIGNATURES):
                # The next field, the first free cluster, is only a hint and may stay.
                self.region.write(info_at + _INFO_FREE, struct.pack("<I", self.free_clusters))

    def _refuse_damaged(self) -> None:
        second = int(self._entries[1])
        clean, intact = (0x8000, 0x4000) if self.layout.bits == 16 else (0x08000000, 0x04000000)
        if self.layout.dirty or not second & clean:
            raise InputError(
                f"{self.region.name}: was in use when it was copied (marked as not unmounted); use a fresh image"
            )
        if self.layout.faulty or not second & intact:
            raise InputError(
                f"{self.region.name}: its medium had errors when it was copied (marked for a check of its surface); "
                "use a fresh image"
            )
        for table in self.layout.tables[1:]:
            if self.region.read(table, self.layout.table_bytes) != self._on_disk:
                raise self.region.damaged("its two allocation tables differ")

    def _check_chains(self) -> None:
        """Raise InputError unless each entry is free, bad, the end of a chain, or the only reference to its cluster."""
        entries = self._entries & self._mask
        last = entries >= self._end
        inner = entries[2:][~last[2:] & (entries[2:] != 0) & (entries[2:] != self._bad)]
        if np.any((inner < 2) | (inner >= len(entries))):
            raise self.region.damaged("its allocation table refers to a cluster that it does not have")
        followed = entries[inner]
        if np.any((followed == 0) | (followed == self._bad)):
            raise self.region.damaged("a file whose cluster chain passes through a free or a bad cluster")
        counts = np.bincount(inner, minlength=len(entries))
        if np.any(counts > 1):
            raise self.region.damaged("two files that share a cluster")
        self._referred = counts > 0


def runs_of(clusters: Sequence[int]) -> Runs:
    """Return ``clusters``, in their order, as contiguous runs."""
    runs: Runs = []
    for cluster in clusters:
        if runs and cluster == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((cluster, 1))
    return runs
