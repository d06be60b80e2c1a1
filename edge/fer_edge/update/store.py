"""The folder of updates: unpacked versions, the link to the one in use, and the state.

::

    <folder>/root.json        root of trust
    <folder>/metadata/        verified metadata of the repository
    <folder>/incoming/        unfinished work, removed when the next begins
    <folder>/versions/1.2.0/  complete bundles
    <folder>/current          link to the version in use; missing for the model of the settings
    <folder>/state.json       see ``State``

A process may be killed and the power may fail at any moment. Each step is therefore one rename: of a complete and
synced bundle, of the link, or of the state. If the link and the state disagree, the link is right, except that a
refused version is never used: ``reconcile`` completes what was interrupted.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec

from fer_edge.errors import CheckFailedError, InputError, ModelError, OutputError, reason_of
from fer_edge.model.manifest import MANIFEST_NAME, decode_format
from fer_edge.system.files import read_regular, remove_temporary_files, sync, write_bytes_atomically
from fer_edge.update.state import Refusal, State

_VERSION = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,4}", flags=re.ASCII)
_MAX_STATE_BYTES = 1 << 20
_MAX_REASON_CHARS = 300


class Store:
    """The folder of updates at ``folder``, which need not exist yet. Nothing is written before ``prepare``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.incoming = folder / "incoming"
        self.metadata = folder / "metadata"
        self._link, self._state = folder / "current", folder / "state.json"

    def prepare(self) -> None:
        """Create the folders.

        Raises:
            InputError: If root runs this, and the folder belongs to another user, who could then no longer write to it.
            OutputError: If they cannot be created.
        """
        there = next(path for path in (self.folder, *self.folder.absolute().parents) if path.exists())
        owner = there.stat().st_uid
        if os.geteuid() == 0 and owner != 0:
            raise InputError(f"{there}: belongs to another user; run this as that user: sudo -u '#{owner}' …")
        try:
            for folder in (self.incoming, self.metadata, self.folder / "versions"):
                folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot create the folder: {reason_of(error)}") from None

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Hold the lock for long work: only one process checks or takes a version at a time.

        Unfinished work of a process that was killed is removed first.

        Raises:
            CheckFailedError: If another process holds it.
            OutputError: If the folder is not writable.
        """
        self.prepare()
        descriptor = self._lock("work.lock")
        if descriptor is None:
            raise CheckFailedError(f"{self.folder}: another process is updating; try again later")
        try:
            self._clean()
            yield
        finally:
            os.close(descriptor)

    def claim(self) -> int | None:
        """Return a descriptor that marks the caller as the program that runs the version in use; None if another does.

        The mark ends with the descriptor, also if the process is killed. Raises OutputError.
        """
        return self._lock("run.lock")

    @contextlib.contextmanager
    def changing(self) -> Iterator[State]:
        """Hold the short lock, yield the state for a change, and write nothing on its own."""
        descriptor = self._lock("lock", wait=True)
        assert descriptor is not None
        try:
            yield self.state()
        finally:
            os.close(descriptor)

    def state(self) -> State:
        """Return the state; a new one if there is none, or if it is damaged. Raises InputError if it cannot be read."""
        try:
            return decode_format(read_regular(self._state, _MAX_STATE_BYTES), str(self._state), State)
        except FileNotFoundError:
            return State()
        except ModelError as error:  # a device must continue to work
            return State(problem=str(error))
        except OSError as error:
            raise InputError(f"{self._state}: cannot read it: {reason_of(error)}") from None

    def update(self, **changes: Any) -> State:
        """Change fields of the state and return it. Raises OutputError."""
        with self.changing() as state:
            return self._write(state, **changes)

    def signature(self) -> tuple[object, ...]:
        """Return a value that changes with the state or the version in use."""
        with contextlib.suppress(OSError):
            status = self._state.stat()
            return status.st_mtime_ns, status.st_ino, self.version
        return (None, None, self.version)

    @property
    def version(self) -> str | None:
        """The version in use; None for the model of the settings."""
        try:
            name = self._link.readlink().name
        except OSError:
            return None
        return name if _VERSION.fullmatch(name) and self.has(name) else None

    def path(self, version: str) -> Path:
        """Return the folder of ``version``."""
        return self.folder / "versions" / version

    def has(self, version: str) -> bool:
        """Return whether ``version`` is unpacked here."""
        return (self.path(version) / MANIFEST_NAME).is_file()

    def add(self, unpacked: Path, version: str) -> None:
        """Move the folder ``unpacked`` to its place and sync it. Raises OutputError."""
        try:
            for path in (*unpacked.iterdir(), unpacked):
                sync(path)
            self._discard(self.path(version))
            unpacked.rename(self.path(version))
            sync(self.folder / "versions")
        except OSError as error:
            raise OutputError(f"{self.path(version)}: cannot be written: {reason_of(error)}") from None
        self.update(candidate=version, stage="verified", compared=None)

    def advance(self, candidate: str, **changes: Any) -> State:
        """Change fields of the state if ``candidate`` still is the candidate; return the state. Raises OutputError."""
        with self.changing() as state:
            return self._write(state, **changes) if state.candidate == candidate else state

    def switch(self, version: str) -> None:
        """Use ``version``, on probation, if it still is the candidate. Raises OutputError."""
        with self.changing() as state:
            if state.candidate != version:
                return
            # A version that was never settled is not one to return to.
            previous = self.version if state.probation is None else state.previous
            intended = self._write(state, candidate=version, stage="checked", previous=previous, running=None)
            self._set_link(version)
            self._begin(intended, version)

    def settle(self, version: str) -> None:
        """End the probation of ``version``, if it still is on probation. Raises OutputError."""
        with self.changing() as state:
            if state.probation == version:
                self._write(state, probation=None, running=None)

    def refuse(self, version: str, reason: str, program: str | None = None) -> None:
        """Do not take ``version``, and do not use it: the previous version returns.

        Args:
            version: The version.
            reason: Why.
            program: The version of FER-Edge that cannot read it; None if the version itself is bad.

        Raises:
            OutputError: If the state or the link cannot be written.
        """
        reason = reason if len(reason) <= _MAX_REASON_CHARS else reason[: _MAX_REASON_CHARS - 1] + "…"
        with self.changing() as state:
            refused = {**state.refused, version: Refusal(reason, program)}
            candidate = None if state.candidate == version else state.candidate
            offered = None if state.offered == version else state.offered
            intended = self._write(
                state, refused=refused, candidate=candidate, offered=offered, problem=f"{version}: {reason}"
            )
            if self.version == version:
                self._return(intended)

    def reconcile(self) -> State:
        """Complete a change that was interrupted, and return the state. Raises OutputError."""
        with self.changing() as state:
            version = self.version
            refused = version is not None and state.refusal(version)
            if refused or (version is None and os.path.lexists(self._link)):  # or its folder is gone
                return self._return(state)
            if version is not None and state.candidate == version:
                return self._begin(state, version)
            if state.candidate is not None and not self.has(state.candidate):
                return self._write(state, candidate=None)
            return state

    def _begin(self, state: State, version: str) -> State:
        """Begin the probation of ``version``, which is in use."""
        return self._write(
            state, candidate=None, probation=version, switched_at=time.time(), running=None, problem=None
        )

    def _return(self, state: State) -> State:
        """Use the previous version."""
        previous = state.previous
        if previous is not None and (state.refusal(previous) or not self.has(previous)):
            previous = None
        self._set_link(previous)
        return self._write(state, previous=None, probation=None, running=None, switched_at=time.time())

    def _set_link(self, version: str | None) -> None:
        try:
            if version is None:
                self._link.unlink(missing_ok=True)
            else:
                temporary = self.incoming / f"link-{token_hex(4)}"
                temporary.symlink_to(Path("versions", version))
                temporary.replace(self._link)
            sync(self.folder)
        except OSError as error:
            raise OutputError(f"{self._link}: cannot be changed: {reason_of(error)}") from None

    def _write(self, state: State, **changes: Any) -> State:
        changed = msgspec.structs.replace(state, **changes)
        if changed != state or not self._state.exists():
            write_bytes_atomically(self._state, msgspec.json.encode(changed))
        return changed

    def _clean(self) -> None:
        """Remove unfinished work, and versions that are not needed any more."""
        with self.changing() as state:
            needed = {self.version, state.previous, state.candidate}
            for path in (self.folder / "versions").iterdir():
                if path.name not in needed:
                    self._discard(path)
            for path in self.incoming.iterdir():
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            for path in self.metadata.glob("tmp*"):  # of python-tuf
                path.unlink(missing_ok=True)
            remove_temporary_files(self.folder, [self._state.name])

    def _discard(self, path: Path) -> None:
        """Delete a folder; it is moved away first, so that no half of it stays."""
        with contextlib.suppress(FileNotFoundError):
            rubbish = self.incoming / f"old-{token_hex(4)}"
            path.rename(rubbish)
            shutil.rmtree(rubbish, ignore_errors=True)

    def _lock(self, name: str, *, wait: bool = False) -> int | None:
        """Return a descriptor that holds the lock ``name``; without ``wait`` None if another process holds it."""
        import fcntl  # not on Windows, where this module is imported all the same

        try:
            descriptor = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise OutputError(f"{self.folder / name}: cannot be written: {reason_of(error)}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:  # a signal may end the wait
            os.close(descriptor)
            if isinstance(error, OSError) and not wait:
                return None
            raise
        return descriptor
