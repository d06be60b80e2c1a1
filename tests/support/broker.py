"""A real broker: mosquitto, as a process on loopback."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto: apt-get install mosquitto")


@contextlib.contextmanager
def broker(folder: Path, *lines: str) -> Iterator[int]:
    """Its port. ``lines`` go into its configuration; without any, everybody may do everything."""
    assert MOSQUITTO is not None
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    configuration = folder / "mosquitto.conf"
    # Else it goes on as another user when root starts it, who may not look into a folder of the tests.
    first = [f"user {getpass.getuser()}", f"listener {port} 127.0.0.1"]
    configuration.write_text("\n".join([*first, *(lines or ["allow_anonymous true"]), ""]))
    process = subprocess.Popen(
        [MOSQUITTO, "-c", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, "mosquitto did not start"
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()
