"""Run programs in a file system of another architecture: QEMU's user mode, binfmt_misc and bubblewrap.

Bubblewrap mounts in a separate namespace, so that nothing stays mounted however the run ends. Programs inside have no
network and no home folder, and their temporary files are in memory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import CheckFailedError, InputError

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_HANDLER = _BINFMT / "qemu-aarch64"
_HANDLER_LINE = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")

_ENDING_S = 30
"""mmdebstrap needs about 3 s to end."""
_TOLD = 4000
"""Characters of a failed program's output that an error shows, from its end."""
_PACKAGE_OF = {"qemu-aarch64-static": "qemu-user-static", "mmdebstrap": "mmdebstrap", "bwrap": "bubblewrap"}


@dataclass(frozen=True, slots=True)
class Cpu:
    """A core of a Raspberry Pi: QEMU's name, the boards that have it, and its lines in /proc/cpuinfo."""

    name: str
    board: str
    part: str
    variant: str
    revision: int
    features: str

    def proc_cpuinfo(self) -> str:
        """The four cores of such a board."""
        return "".join(
            f"processor\t: {core}\nBogoMIPS\t: 38.40\nFeatures\t: {self.features}\nCPU implementer\t: 0x41\n"
            f"CPU architecture: 8\nCPU variant\t: {self.variant}\nCPU part\t: {self.part}\n"
            f"CPU revision\t: {self.revision}\n\n"
            for core in range(4)
        )


_ARMV8_0 = "fp asimd evtstrm crc32 cpuid"
_ARMV8_2 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"  # dot products
)
CPUS = (
    Cpu("cortex-a53", "Pi Zero 2 W and 3", "0xd03", "0x0", 4, _ARMV8_0),
    Cpu("cortex-a72", "Pi 4", "0xd08", "0x0", 3, _ARMV8_0),
    Cpu("cortex-a76", "Pi 5", "0xd0b", "0x4", 1, _ARMV8_2),
)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Runs the Python of ``root`` on ``cpu``; ``packages`` are folders to import from, ``bytecode`` keeps its .pyc."""

    root: Path
    packages: tuple[Path, ...]
    bytecode: Path
    board: Path
    """Folder for the emulated board's /proc/cpuinfo and /sys."""
    cpu: Cpu

    def run_python(
        self,
        *arguments: str,
        shown: Mapping[Path, str],
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: str = "/tmp",
        capture: bool = True,
    ) -> bytes:
        """Run ``python3 ARGUMENTS`` and return its stdout; each path of ``shown`` is visible to it, read-only.

        Without ``capture``, it shares the output of this process. Raises CheckFailedError if it fails.
        """
        command = self.python_command(*arguments, shown=shown, environment=environment or {}, cwd=cwd)
        if not capture:
            done = subprocess.run(command, check=False)
            output, complaint = b"", "see above"
        else:
            done = subprocess.run(command, input=stdin, capture_output=True, check=False)
            output, complaint = done.stdout, last_line(done.stderr or done.stdout)
            if done.returncode:  # pytest reports failures on stdout
                sys.stderr.write(output.decode(errors="replace")[-_TOLD:])
        if done.returncode:
            raise CheckFailedError(f"{self.cpu.name}: {' '.join(arguments)[:60]}: exit {done.returncode}: {complaint}")
        return output

    def python_command(
        self, *arguments: str, shown: Mapping[Path, str], environment: Mapping[str, str], cwd: str
    ) -> list[str]:
        """Return the command line of ``run_python``."""
        return [*self._bubblewrap(shown, environment, cwd), "/usr/bin/python3", *arguments]

    def _bubblewrap(self, shown: Mapping[Path, str], environment: Mapping[str, str], cwd: str) -> list[str]:
        inside = [f"/packages/{number}" for number in range(len(self.packages))]
        variables = {
            "PATH": "/usr/bin:/bin",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "PYTHONPATH": ":".join(inside),
            "PYTHONPYCACHEPREFIX": "/bytecode",
            "QEMU_CPU": self.cpu.name,
            **environment,
        }
        read_only = {
            self.root / "usr": "/usr",
            self.root / "etc": "/etc",
            **dict(zip(self.packages, inside, strict=True)),
            **write_board(self.board, self.cpu),
            **shown,
        }
        command = ["bwrap", "--unshare-all", "--die-with-parent", "--clearenv", "--chdir", cwd]
        for name, value in variables.items():
            command += ["--setenv", name, value]
        command += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        for folder in ("bin", "lib", "sbin"):
            command += ["--symlink", f"usr/{folder}", f"/{folder}"]
        for outside, target in read_only.items():
            command += ["--ro-bind", str(outside), target]
        return [*command, "--bind", str(self.bytecode), "/bytecode"]


def write_board(board: Path, cpu: Cpu) -> dict[Path, str]:
    """Write files that describe the processor to the folder ``board``; return each path and its mount point.

    QEMU's user mode shows the host's files, in which XNNPACK's cpuinfo finds no ARM core. LiteRT then runs without
    XNNPACK, or crashes.
    """
    cores = board / "sys" / "devices" / "system" / "cpu"
    cores.mkdir(parents=True, exist_ok=True)
    for name in ("possible", "present"):
        (cores / name).write_text("0-3\n")
    cpuinfo = board / cpu.name
    cpuinfo.write_text(cpu.proc_cpuinfo())
    return {cpuinfo: "/proc/cpuinfo", board / "sys": "/sys"}


def last_line(text: bytes) -> str:
    """Return the last line of a program's error output."""
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


def install_what_is_missing() -> None:
    """Install missing programs with apt if this process is root; otherwise raise InputError with their list."""
    missing = [package for program, package in _PACKAGE_OF.items() if shutil.which(program) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise InputError(f"missing here: as root, apt-get install {' '.join(missing)}")
    run(["apt-get", "update", "-qq"])
    run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing])


@contextlib.contextmanager
def binfmt() -> Iterator[None]:
    """Let aarch64 programs start like native ones during the block, then restore the previous state.

    Raises InputError if that is not possible.
    """
    with contextlib.ExitStack() as undo:
        if not _HANDLER.exists():
            if os.geteuid() != 0:
                raise InputError("aarch64 programs do not start here: as root, systemctl restart systemd-binfmt")
            if not (_BINFMT / "register").exists():
                run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT)])
                undo.callback(subprocess.run, ["umount", str(_BINFMT)], check=False)
            try:
                if not _HANDLER.exists():
                    (_BINFMT / "register").write_text(_HANDLER_LINE.read_text().strip())
                    undo.callback(_HANDLER.write_text, "-1")
            except OSError as error:
                raise InputError(f"aarch64 programs cannot be made to start here: {error}") from None
        # Flag F: the kernel keeps QEMU open, so that it works inside the sandbox, which does not contain it.
        flags = dict(line.split(" ", 1) for line in _HANDLER.read_text().splitlines() if " " in line).get("flags:", "")
        if "F" not in flags:
            raise InputError(f"{_HANDLER} lacks the flag F: apt-get install qemu-user-static registers it so")
        yield


def run(command: Sequence[str | Path]) -> None:
    """Run a step of the preparation quietly. Raises InputError with its last line if it fails."""
    with subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    ) as process:
        try:
            _, complaint = process.communicate()
        except BaseException:
            _end(process)
            raise
    if process.returncode:
        raise InputError(f"{Path(command[0]).name} failed (exit {process.returncode}): {last_line(complaint)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program whose result is no longer wanted."""
    process.terminate()  # mmdebstrap then deletes its temporary folder; if killed, it leaves that and its children
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_ENDING_S)
    process.kill()
