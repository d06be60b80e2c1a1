"""Count the instructions of one inference on each core of a Raspberry Pi.

Run by ``PYTHONPATH=tests python -m arm.instructions``. Emulation has no times, but it executes the instructions of the
kernels that XNNPACK chooses for the core. The difference of two runs leaves out start and loading.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from arm.rootfs import CHECKOUT, SUITES, Prepared, install_project, prepared
from arm.sandbox import CPUS, Cpu, last_line, run, write_board
from fer_bench.tables import markdown_table
from fer_edge.errors import CheckFailedError, FerEdgeError
from fer_edge.system.user_folders import cache_folder

BUNDLE = CHECKOUT / "models" / "fer-edge-s"
VARIANTS = ("float32", "dynamic", "int8")
FEW, MANY = 2, 12
"""Numbers of inferences; the first ones also set up caches."""
PACKAGES = ("gcc", "libc6-dev", "qemu-user", "qemu-user-static", "mmdebstrap", "bubblewrap")
"""qemu-user because the static program loads no plugins."""


def main() -> None:
    """Print a table: millions of instructions for each core and variant."""
    run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES])
    with (
        prepared(SUITES["bookworm"], cache_folder() / "arm") as folders,
        tempfile.TemporaryDirectory(prefix="fer-edge-arm-") as scratch,
    ):
        project, plugin = Path(scratch) / "project", Path(scratch) / "count.so"
        install_project(project)
        run(["gcc", "-shared", "-fPIC", "-O2", "-o", plugin, Path(__file__).with_name("count_instructions.c")])
        rows = [
            [
                f"{cpu.name} ({cpu.board})",
                *(f"{instructions(folders, project, plugin, cpu, name):.1f}" for name in VARIANTS),
            ]
            for cpu in CPUS
        ]
    print(markdown_table(["million instructions an inference", *VARIANTS], rows), end="")


def instructions(folders: Prepared, project: Path, plugin: Path, cpu: Cpu, variant: str) -> float:
    """Return the millions of instructions of one inference of ``variant``. Raises CheckFailedError if it fails."""
    few, many = (_executed(folders, project, plugin, cpu, variant, count) for count in (FEW, MANY))
    return (many - few) / (MANY - FEW) / 1e6


def _executed(folders: Prepared, project: Path, plugin: Path, cpu: Cpu, variant: str, count: int) -> int:
    command = ["bwrap", "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for outside, inside in write_board(folders.board, cpu).items():
        command += ["--ro-bind", str(outside), inside]
    command += ["qemu-aarch64", "-L", str(folders.root), "-cpu", cpu.name, "-plugin", str(plugin)]
    # BLAS starts threads otherwise, whose waiting would be counted.
    command += ["-E", f"PYTHONPATH={project}:{folders.site}", "-E", "OPENBLAS_NUM_THREADS=1"]
    command += [str(folders.root / "usr/bin/python3.11"), "-B", str(Path(__file__).with_name("invoke.py"))]
    done = subprocess.run([*command, str(BUNDLE), variant, str(count)], capture_output=True, text=True, check=False)
    found = re.search(r"^instructions (\d+)$", done.stderr, re.MULTILINE)
    if done.returncode or found is None:
        raise CheckFailedError(f"{cpu.name}: {variant}: exit {done.returncode}: {last_line(done.stderr.encode())}")
    return int(found[1])


if __name__ == "__main__":
    try:
        main()
    except FerEdgeError as error:
        print(f"arm.instructions: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
