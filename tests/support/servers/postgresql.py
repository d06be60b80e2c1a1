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


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Run a server and yield the URL of an empty database, for SQLAlchemy without a driver's name."""
    pytest.importorskip("psycopg")
    programs = _programs()
    # Not in pytest's folder: that is closed to other users, and a socket's path is at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="fer-pg-"))
    user = "nobody" if os.geteuid() == 0 else None  # the server refuses to run as root
    if user:
        shutil.chown(folder, user)

    def run(*words: str | Path) -> None:
        done = subprocess.run(
            words, user=user, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    data = folder / "data"
    try:
        run(programs / "initdb", "-D", data, "-U", "fer", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        run(programs / "pg_ctl", "-D", data, "-w", "-t", "120", "-l", folder / "log", "-o", options, "start")
        try:
            run(programs / "createdb", "-h", folder, "-U", "fer", "study")
            yield f"postgresql://fer@/study?host={quote(str(folder), safe='')}"
        finally:
            run(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
