"""Unpack a model bundle in zip format. The file is not trusted: it may be damaged or malicious."""

from __future__ import annotations

import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fer_edge.errors import ModelError, OutputError, reason_of
from fer_edge.model.manifest import MANIFEST_NAME
from fer_edge.settings.explain import shown
from fer_edge.system.messages import printable

MAX_UNPACKED_BYTES = 256 << 20
"""Limit of the unpacked size: about fifty times the size of a classifier for a Pi with all variants."""
MAX_MEMBERS = 1000

# All errors that zipfile and its decompressors are documented, or were observed, to raise for damaged archives.
_UNREADABLE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, OSError, RuntimeError, ValueError, IndexError, OverflowError, MemoryError),
)
_ENCRYPTED = 0x1
_PIECE_BYTES = 1 << 20
_MAX_NAME_BYTES = 255
"""As on ext4, and on most other file systems."""
_DRIVE = re.compile(r"[A-Za-z]:")


def unpack_bundle(path: Path, folder: Path) -> None:
    """Unpack the files of the zip at ``path`` into ``folder``, without subfolders.

    All files may be in one common folder of the zip.

    Raises:
        ModelError: If the zip is damaged, encrypted, too large, or contains a path outside itself.
        OutputError: If the files cannot be written to ``folder``.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _UNREADABLE as error:
        raise ModelError(f"{path}: neither a bundle folder nor a readable zip: {reason_of(error)}") from None
    with archive:
        for info, name in _members(path, archive):
            _write(folder / name, _content(path, archive, info))


def _members(path: Path, archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str]]:
    """Return the members to unpack, each with its bare file name. All are checked before any is read."""
    # is_dir() fails for an empty name, which a damaged archive may contain.
    infos = [info for info in archive.infolist() if info.filename and not info.filename.endswith("/")]
    for info in infos:
        if _is_outside(info.filename):
            raise ModelError(f"{path}: refused: the zip contains {shown(info.filename)}, a path outside itself")
    manifests = [info.filename for info in infos if PurePosixPath(info.filename).name == MANIFEST_NAME]
    if len(manifests) != 1 or manifests[0].count("/") > 1:
        raise ModelError(f"{path}: not a model bundle: the zip must contain one {MANIFEST_NAME}, at its top level")
    prefix = manifests[0].removesuffix(MANIFEST_NAME)
    flat = [(info, info.filename.removeprefix(prefix)) for info in infos if info.filename.startswith(prefix)]
    members = [(info, name) for info, name in flat if name and "/" not in name]
    # zipfile reads at most the declared number of bytes of a member, so the declared sizes can be relied on.
    total = sum(info.file_size for info, _ in members)
    if total > MAX_UNPACKED_BYTES or len(members) > MAX_MEMBERS:
        raise ModelError(
            f"{path}: refused: {len(members)} files with {total} bytes in total, too large for a bundle"
            f" (at most {MAX_MEMBERS} files and {MAX_UNPACKED_BYTES} bytes)"
        )
    names: set[str] = set()
    for _, name in members:
        _check_name(path, name)
        if name in names:
            raise ModelError(f"{path}: refused: the zip contains {shown(name)} more than once")
        names.add(name)
    if any(info.flag_bits & _ENCRYPTED for info, _ in members):
        raise ModelError(f"{path}: the zip is encrypted; unpack it and pass the folder")
    return members


def _check_name(path: Path, name: str) -> None:
    """Raise ModelError if ``name`` cannot be the name of a file: that is a fault of the zip, and not of the disk."""
    size = len(name.encode(errors="surrogatepass"))
    if size > _MAX_NAME_BYTES:
        raise ModelError(f"{path}: refused: the zip contains a file name of {size} bytes, at most {_MAX_NAME_BYTES}")
    if not name.isprintable():
        raise ModelError(f"{path}: refused: the zip contains the file name {shown(name)}, with unprintable characters")


def _is_outside(name: str) -> bool:
    return name.startswith("/") or "\\" in name or ".." in name.split("/") or _DRIVE.match(name) is not None


def _content(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the bytes of a member in pieces, because a Pi has little memory."""
    try:
        with archive.open(info) as stream:
            while piece := stream.read(_PIECE_BYTES):
                yield piece
    except _UNREADABLE as error:
        raise ModelError(f"{path}: cannot unpack {printable(info.filename)}: {reason_of(error)}") from None


def _write(target: Path, pieces: Iterator[bytes]) -> None:
    try:
        with target.open("wb") as stream:
            for piece in pieces:
                stream.write(piece)
    except ModelError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that the file system cannot encode
        raise OutputError(f"{target}: cannot unpack the bundle there: {reason_of(error)}") from None
