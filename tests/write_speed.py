"""``make bench-write``: compare the speed of ``fer-edge flash write`` and dd with the same flags, in turns.

Both write the same random image to the same loop device, dd with ``bs=4M oflag=direct conv=fsync``. Each round gives a
ratio; the exit code is 1 if their median is below 80 %. Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fer_flash.write.medium import Medium
from fer_flash.write.stream import inspect_image
from fer_flash.write.writer import write_image
from support.cards.images import MIB, loop_device, partition_table, why_no_loop_device

LEAST = 0.8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mib", type=int, default=1024, help="size of the image")
    parser.add_argument("--folder", type=Path, help="where image and card lie (default: where temporary files do)")
    arguments = parser.parse_args()
    if (reason := why_no_loop_device()) is not None:
        print(reason, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        image, backing = Path(folder) / "os.img", Path(folder) / "card"
        with image.open("wb") as stream:
            stream.write(partition_table([(2048, 2048)]))
            stream.write(os.urandom(MIB - 512))
            for _ in range(arguments.mib - 1):
                stream.write(os.urandom(MIB))
        with backing.open("wb") as stream:
            stream.truncate(arguments.mib * MIB)
        with loop_device(backing) as device:
            by_dd(image, device), by_us(image, device)  # the backing file's blocks are allocated from now on
            rounds = [(by_dd(image, device), *by_us(image, device)) for _ in range(arguments.rounds)]
    for name, speeds in zip(("dd", "flash write", "flash write and compare"), zip(*rounds, strict=True), strict=True):
        print(f"{name:24} median {statistics.median(speeds):7.0f} MB/s, from {min(speeds):.0f} to {max(speeds):.0f}")
    writing = statistics.median(ours / dd for dd, ours, _ in rounds)
    comparing = statistics.median(compared / dd for dd, _, compared in rounds)
    print(f"flash write reaches {writing:.0%} of dd's speed, and {comparing:.0%} when it reads back and compares")
    return 0 if writing >= LEAST else 1


def by_dd(image: Path, device: str) -> float:
    """Return MB/s, as printed by dd."""
    done = subprocess.run(
        ["dd", f"if={image}", f"of={device}", "bs=4M", "oflag=direct", "conv=fsync"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    match = re.search(r"(\d+) bytes.* copied, ([\d.e-]+) s", done.stderr)
    assert match, done.stderr
    return int(match[1]) / 1e6 / float(match[2])


def by_us(image: Path, device: str) -> tuple[float, float]:
    """Return MB/s of writing, with all syncs, and of writing and comparing."""
    speeds = []
    for verify in (False, True):
        with Medium(Path(device)) as medium, contextlib.redirect_stderr(io.StringIO()):
            started = time.perf_counter()
            written = write_image(inspect_image(image), medium, verify=verify)
            speeds.append(written.bytes_written / 1e6 / (time.perf_counter() - started))
    return speeds[0], speeds[1]


if __name__ == "__main__":
    sys.exit(main())
