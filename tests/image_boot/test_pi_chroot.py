"""A program that was started in a chroot ends when this process is asked to end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from arm.sandbox import CPUS
from image_boot.pi_chroot import PiChroot
from support.processes.waiting import wait_for


def _cannot_run() -> bool:
    if os.geteuid() != 0 or shutil.which("bwrap") is None:
        return True
    # In some containers root may not mount.
    return subprocess.run(["bwrap", "--bind", "/", "/", "true"], capture_output=True, check=False).returncode != 0


@pytest.mark.skipif(_cannot_run(), reason="needs root that may mount, and apt-get install bubblewrap")
def test_what_was_started_ends_with_the_block(tmp_path: Path) -> None:
    # This machine's own programs: they need no emulator.
    chroot, log = PiChroot(Path("/"), tmp_path / "board", CPUS[0]), tmp_path / "log"
    long = f"sleep 3600.{os.getpid()}"
    words = ("sh", "-c", f"{long} & echo started; {long}")
    with pytest.raises(SystemExit), chroot.started(*words, log=log) as process:
        wait_for(lambda: "started" in log.read_text())
        assert _running(long)
        sys.exit(143)  # as on SIGTERM
    assert process.returncode == -signal.SIGKILL
    wait_for(lambda: not _running(long))


def _running(command: str) -> bool:
    words = "\0".join([*command.split(), ""]).encode()
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if line.read_bytes() == words:
                return True
    return False
