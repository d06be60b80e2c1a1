"""An ext4 in an image: read by ourselves, written by debugfs of e2fsprogs, without root rights or a mount."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fer_edge.errors import InputError, OutputError
from fer_flash.image.file_systems.ext4_reader import FILE, FOLDER, MAX_FILE, Ext4Reader, Inode, Way, looks_like_ext4
from fer_flash.image.file_systems.region import Region
from fer_flash.image.file_systems.volume import parts_of, size_of, timestamp

# Where Debian and Homebrew have it, and users' PATH may not lead.
MORE_FOLDERS = ("/usr/sbin", "/sbin", "/opt/homebrew/opt/e2fsprogs/sbin", "/usr/local/opt/e2fsprogs/sbin")
_DEBUGFS_SECONDS = 600.0
_CHUNK = 1 << 20


class Ext4Volume:
    """The ext4 in ``region`` of the image file ``path``; ``looks_like`` tells beforehand whether it is one.

    A file system that was in use when it was copied, so that its journal holds changes, is refused, for reading too:
    what is found would not be what a Pi finds after it has replayed them, and a stock image has none. What is written
    counts only once it has been read back. The blocks of a file that is replaced are overwritten with zeros before they
    are given back, since they may have held a secret.
    """

    looks_like = staticmethod(looks_like_ext4)

    def __init__(self, region: Region, path: Path) -> None:
        self._region, self._path = region, path
        self._reader = Ext4Reader(region)
        block = self._reader.superblock
        if block.needs_recovery or not block.is_clean:
            raise InputError(
                f"{region.name}: was in use when it was copied (its journal holds changes, or errors are marked); take "
                f"a fresh image, or repair a copy: e2fsck -f '{path}?offset={region.start}'"
            )

    @property
    def start(self) -> int:
        """Where the volume begins in the image, in bytes."""
        return self._region.start

    @property
    def free_bytes(self) -> int:
        """As ``Volume``; what is reserved for root is not counted."""
        block = self._reader.superblock
        return max(0, block.free_blocks - block.reserved_blocks) * block.block_bytes

    def exists(self, path: str) -> bool:
        """As ``Volume``; a link that leads nowhere does not count."""
        return not self._reader.walk(path).missing

    def read(self, path: str) -> bytes:
        """As ``Volume``."""
        inode = self._found(path)
        if inode.kind != FILE:
            raise InputError(f"{self._region.name}: {path}: is no file")
        return self._reader.content(inode)

    def listdir(self, path: str) -> list[str]:
        """As ``Volume``; bytes that are no UTF-8 come as surrogates, as ``os.listdir`` has them."""
        inode = self._found(path)
        if inode.kind != FOLDER:
            raise InputError(f"{self._region.name}: {path}: is no folder")
        return sorted(self._reader.entries(inode))

    def write(self, path: str, data: bytes | Path, *, mode: int = 0o644) -> None:
        """As ``Volume``; where ``path`` is a link, the file that it leads to is written."""
        way = self._reader.walk(path)
        names = (*way.names, *way.missing)
        size = size_of(data)
        self._check(path, way, names, size)
        self._demand_room(path, size, len(way.missing))
        old = None if way.missing else way.inode
        debugfs = _debugfs()
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch, "data")
            try:
                # A copy, so that the name is harmless to debugfs and what is checked is what was written.
                source.write_bytes(data) if isinstance(data, bytes) else shutil.copyfile(data, source)
            except OSError as error:
                raise OutputError(f"{scratch}: cannot write there: {error.strerror}") from error
            if old is not None and old.links == 1:
                self._zero(old)
            said = self._run(debugfs, _script(names, way, source, mode), Path(scratch))
            self._reader = Ext4Reader(self._region)  # the superblock has changed
            self._check_written("/".join(names), source, mode, said)

    def _found(self, path: str) -> Inode:
        way = self._reader.walk(path)
        if way.missing:
            raise InputError(f"{self._region.name}: {path}: no such file or folder")
        return way.inode

    def _check(self, path: str, way: Way, names: Sequence[str], size: int) -> None:
        """Raise InputError where no such file can be made."""
        if size > MAX_FILE:
            raise InputError(f"{self._region.name}: {path}: larger than {MAX_FILE >> 20} MiB, and is not taken")
        parts_of("/".join(names))  # a link may have led to "..", below what is not there
        if not names or (not way.missing and way.inode.kind != FILE):
            raise InputError(f"{self._region.name}: {path}: is no file")
        if way.missing and way.inode.kind != FOLDER:
            raise InputError(f"{self._region.name}: {path}: one of the folders above it is a file")
        for name in names:
            if len(os.fsencode(name)) > 255 or not name.isprintable() or '"' in name:
                raise InputError(f"{self._region.name}: {path}: no name that debugfs could write: {name!r}")

    def _demand_room(self, path: str, size: int, new: int) -> None:
        block = self._reader.superblock.block_bytes
        # The file's blocks, one for each folder, one by which a folder grows, and one in 300 for the tree of extents.
        needed = (-(-size // block) + new + 1) * block
        needed += needed // 300
        if needed > self.free_bytes:
            raise OutputError(
                f"{self._region.name}: {path}: no room: it needs {needed} bytes, and {self.free_bytes} are free"
            )

    def _zero(self, inode: Inode) -> None:
        size = self._reader.superblock.block_bytes
        for extent in self._reader.extents(inode):
            if extent.physical:
                self._region.write(extent.physical * size, bytes(extent.count * size))

    def _run(self, debugfs: str, script: str, scratch: Path) -> str:
        """Let debugfs do what ``script`` says; what it says on stderr. Raises OutputError where it fails as a whole."""
        commands = scratch / "commands"
        commands.write_bytes(os.fsencode(script))
        if "?" in self._path.name:
            raise InputError(f"{self._path}: debugfs takes no image with a ? in its name; rename it")
        # By its bare name: of a path, debugfs would take what comes after a "?" for options.
        image = f"./{self._path.name}?offset={self._region.start}"
        try:
            done = subprocess.run(
                [debugfs, "-w", "-f", str(commands.resolve()), image],
                cwd=self._path.absolute().parent,
                env={**os.environ, "LC_ALL": "C", "E2FSPROGS_FAKE_TIME": str(timestamp()), "DEBUGFS_PAGER": "__none__"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_DEBUGFS_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise OutputError(f"{self._region.name}: {debugfs} could not be run: {error}") from error
        said = done.stderr.decode(errors="replace").splitlines()
        said = [line for line in said if line and not line.startswith("debugfs ")]  # its version
        return said[0] if said else f"exit code {done.returncode}"

    def _check_written(self, path: str, source: Path, mode: int, said: str) -> None:
        """Raise OutputError unless the file is there as it should be: debugfs ends with 0 whatever happens."""
        way = self._reader.walk(path)
        is_right = not way.missing and way.inode.permissions == mode and way.inode.size == source.stat().st_size
        if not is_right or not self._holds(way.inode, source):
            raise OutputError(f"{self._region.name}: {path}: debugfs could not write it ({said}); take a fresh image")

    def _holds(self, inode: Inode, source: Path) -> bool:
        return self._reader.content(inode) == source.read_bytes()


def _script(names: Sequence[str], way: Way, source: Path, mode: int) -> str:
    """What debugfs is to do, a command a line. Its parser (libss) knows double quotes, and no escapes."""
    # Whole paths: a bare name could look like an option, or, as <12>, like an inode's number.
    path, folders = "/" + "/".join(names), names[:-1]
    lines = [f'mkdir "/{"/".join(folders[: depth + 1])}"' for depth in range(len(way.names), len(folders))]
    if not way.missing:
        lines.append(f'rm "{path}"')
    # This one alone takes nothing but a name, in the folder where debugfs is.
    lines += [f'cd "/{"/".join(folders)}"', f'write "{source}" "{names[-1]}"']
    for field, value in (("mode", f"0{FILE | mode:o}"), ("uid", "0"), ("gid", "0")):
        lines.append(f'set_inode_field "{path}" {field} {value}')
    return "\n".join(lines) + "\n"


def _debugfs() -> str:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *MORE_FOLDERS])
    found = shutil.which("debugfs", path=path)
    if found is None:
        raise InputError(
            "debugfs is not installed, and without it nothing can be written to the root partition: install e2fsprogs "
            "(apt-get install e2fsprogs, or brew install e2fsprogs)"
        )
    return found
