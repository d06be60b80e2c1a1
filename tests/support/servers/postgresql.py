"""A PostgreSQL server of Debian's package, in a temporary folder, on a Unix socket."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1].parent


class PostgreSql:
    """A server with an empty database, reached by ``url``; ``stop`` and ``start`` leave it as an outage would."""

    def __init__(self, folder: Path, options: str = "-c fsync=off") -> None:
        self._programs, self._folder, self._options = _programs(), folder, options
        self._user = "nobody" if os.geteuid() == 0 else None  # the server refuses to run as root
        if self._user:
            shutil.chown(folder, self._user)
        self._data = folder / "data"
        self.url = f"postgresql://fer@/study?host={quote(str(folder), safe='')}"
        """For SQLAlchemy without a driver's name."""
        self._run("initdb", "-D", self._data, "-U", "fer", "-A", "trust", "--no-sync")
        self.start()
        self._run("createdb", "-h", folder, "-U", "fer", "study")

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        options = f"-c listen_addresses= -c unix_socket_directories={self._folder} {self._options}"
        log = self._folder / "log"
        self._run("pg_ctl", "-D", self._data, "-w", "-t", "120", "-l", log, "-o", options, "start")

    @property
    def pid(self) -> int:
        """The server's first process."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def stop(self) -> None:
        """End it as a crash would: connections break, and the next start recovers."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "stop")

    def _run(self, program: str, *words: str | Path) -> None:
        done = subprocess.run(
            (self._programs / program, *words),
            user=self._user,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def postgresql_server(options: str = "-c fsync=off") -> Iterator[PostgreSql]:
    """Run a server with an empty database."""
    pytest.importorskip("psycopg")
    # Not in pytest's folder: that is closed to other users, and a socket's path is at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="fer-pg-"))
    try:
        server = PostgreSql(folder, options)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Run a server and yield the URL of an empty database, for SQLAlchemy without a driver's name."""
    with postgresql_server() as server:
        yield server.url
