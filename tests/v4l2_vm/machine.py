"""Run a program in a virtual machine whose root is this machine's, read-only, with a writable layer on top.

QEMU emulates the processor (KVM is not needed), so everything is ten to twenty times slower than here.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arm.rootfs import CHECKOUT
from fer_edge.errors import CheckFailedError
from fer_edge.system.user_folders import cache_folder
from v4l2_vm.film import draw_film
from v4l2_vm.initramfs import OUT
from v4l2_vm.parts import QEMU, Parts, machine_parts

CACHE = cache_folder() / "v4l2-vm"
_MACHINE = (
    "-accel tcg,thread=multi -cpu max -smp 2 -display none -vga none -monitor none -serial stdio -no-reboot -nic none"
)
_START = Path(__file__).with_name("start.sh")
_TOLD = 4000
"""Characters of the console that an error shows, from its end."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The result of a program in the machine: exit status, console output, and total seconds."""

    status: int
    console: str
    took_s: float


def run_in_machine(
    command: Sequence[str],
    out: Path,
    *,
    timeout_s: float,
    systemd: bool = False,
    environment: Mapping[str, str] | None = None,
    memory_mib: int = 3072,
    parts: Parts | None = None,
) -> Ended:
    """Start the machine, run ``command`` as root in it, and stop the machine.

    The command sees all files of this machine under their own paths, except in /tmp, /run, /dev, /proc and /sys. Its
    writes are lost, except in the folder ``out``, which is ``$OUT`` there. Its output is printed here immediately, and
    kept in ``out/console``.

    Args:
        command: Program and arguments, as on this machine.
        out: A folder of this machine; created if missing.
        timeout_s: Seconds for everything, including the start of the machine (about 15 s).
        systemd: Whether systemd is the first process, with udev and the journal; otherwise a shell, which starts
        faster. environment: Variables for the command; PATH and PYTHONPATH (this checkout's tests) are set. memory_mib:
        Memory of the machine.

    Raises:
        InputError: if the machine cannot be started here.
        CheckFailedError: if the command did not end within ``timeout_s``.
    """
    parts = parts or machine_parts(CACHE)
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    draw_film(out / "film")
    variables = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin:/usr/sbin:/bin:/sbin"]),
        "PYTHONPATH": str(CHECKOUT / "tests"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "OUT": OUT,
        "FILM": f"{OUT}/film",
        **(environment or {}),
    }
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    (out / "command").write_text(f"{exports}cd {shlex.quote(str(CHECKOUT))}\n{shlex.join(command)}\n")
    (out / "status").unlink(missing_ok=True)
    # Mitigations for real processors are useless in an emulated one, and slow down each system call.
    # no_timer_check: on a busy machine the emulated timer fails the kernel's check, which then panics.
    words = [
        "console=ttyS0",
        "panic=-1",
        "quiet",
        "loglevel=3",
        "mitigations=off",
        "no_timer_check",
        f"vm.layer={parts.layer}",
    ]
    words += [f"vm.modules={parts.modules}", f"vm.run={_START}", f"vm.systemd={int(systemd)}"]
    shares = [_share("/", "hostroot", "readonly=on,multidevs=remap"), _share(str(out), "outdir", "multidevs=remap")]
    qemu = [QEMU, *_MACHINE.split(), "-m", str(memory_mib), "-kernel", str(parts.kernel)]
    qemu += ["-initrd", str(parts.initramfs), "-append", " ".join(words)]
    for share in shares:
        qemu += ["-virtfs", share]
    began = time.monotonic()
    console = _run_qemu(qemu, out / "console", timeout_s, " ".join(command)[:80])
    with contextlib.suppress(OSError, ValueError):
        return Ended(int((out / "status").read_text()), console, time.monotonic() - began)
    raise CheckFailedError(f"the machine went off without a result; its console ended with:\n{console[-_TOLD:]}")


def _share(path: str, tag: str, options: str) -> str:
    return f"local,path={path.replace(',', ',,')},mount_tag={tag},security_model=none,{options}"


def _run_qemu(command: Sequence[str], log: Path, timeout_s: float, what: str) -> str:
    """Run QEMU until it exits, print its console output, and return it."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as qemu:
        assert qemu.stdout is not None
        os.set_blocking(qemu.stdout.fileno(), False)
        until = time.monotonic() + timeout_s
        said = bytearray()
        try:
            with log.open("wb") as stream:
                while (ended := qemu.poll()) is None and time.monotonic() < until:
                    said += _forward(qemu.stdout.read() or b"", stream.write)
                    time.sleep(0.05)
                said += _forward(qemu.stdout.read() or b"", stream.write)
        finally:
            if qemu.poll() is None:
                qemu.kill()
    text = said.decode(errors="replace")
    if ended is None:
        raise CheckFailedError(f"{what}: no end within {timeout_s:.0f} s; its console ended with:\n{text[-_TOLD:]}")
    return text


def _forward(data: bytes, write: Callable[[bytes], object]) -> bytes:
    data = data.replace(b"\r", b"")
    if data:
        write(data)
        sys.stdout.write(data.decode(errors="replace"))
        sys.stdout.flush()
    return data
