"""An emulated computer with the processor of a Pi 4 that starts from a card image, and its serial console.

QEMU's machine ``virt``, since its Raspberry Pis do not reach a login in reasonable time. Without the Pi's firmware,
kernel and command line are read from the image's boot partition at each start.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from fer_edge.errors import CheckFailedError
from fer_flash.image.card_image import CardImage

T = TypeVar("T")

PROGRAM = "qemu-system-aarch64"
_MACHINE = (
    "-M virt -cpu cortex-a72 -m 1024 -nic none -display none -monitor none -serial stdio -no-reboot "
    "-device nvme,drive=card,serial=card -device virtio-rng-pci"
)
_CONSOLE = {"console=serial0,115200": "console=ttyAMA0,115200", "console=tty1": "", "quiet": ""}
"""The names of consoles are the board's own; the last one is also /dev/console."""
_FOR_AN_EMULATOR = (
    "systemd.default_device_timeout_sec=900",  # udev takes minutes
    "systemd.default_timeout_start_sec=1800",
    "systemd.getty_auto=no",  # the console is for messages, not for a login
    "systemd.show_status=no",
    "systemd.journald.forward_to_console=1",
)


class EmulatedPi:
    """A running computer, whose serial console is read line by line."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._log = log
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, look: Callable[[str], T | None], what: str, until: float) -> T:
        """Return the first true result of ``look`` for a line of the console.

        Raises CheckFailedError at ``until``, in seconds of the monotonic clock.
        """
        while True:
            line = self._next_line(what, until)
            if line is None:
                raise CheckFailedError(f"the computer went off before {what}")
            if (found := look(line)) is not None:
                return found

    def wait_until_off(self, until: float) -> None:
        """Wait until it switches itself off or restarts. Raises CheckFailedError at ``until``."""
        while self._next_line("the computer to go off", until) is not None:
            pass
        if self._process.wait():
            raise CheckFailedError(f"{PROGRAM} ended with {self._process.returncode}")

    def type(self, text: str) -> None:
        """Type a line on the console, for the root shell that ``shell`` of ``started`` gives."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()

    def _next_line(self, what: str, until: float) -> str | None:
        try:
            return self._lines.get(timeout=max(until - time.monotonic(), 0))
        except queue.Empty:
            raise CheckFailedError(f"no time is left to wait for {what}") from None

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._log.open("ab") as log:
            for line in self._process.stdout:
                log.write(line)
                log.flush()
                self._lines.put(line.decode(errors="replace").rstrip())
        self._lines.put(None)


@contextlib.contextmanager
def started(image: Path, log: Path, *, shell: bool = False) -> Iterator[EmulatedPi]:
    """Switch on with ``image`` as the card, and write the console to ``log``; switch off at the end in any case.

    With ``shell``, the console also has a root shell.
    """
    with tempfile.NamedTemporaryFile(prefix="fer-edge-kernel-") as kernel:
        with CardImage(image) as card:
            kernel.write(card.boot.read("kernel8.img"))
            words = card.boot.read("cmdline.txt").decode().split()
        kernel.flush()
        words = [_CONSOLE.get(word, word) for word in words] + list(_FOR_AN_EMULATOR)
        if shell:
            words += ["systemd.debug_shell", "systemd.default_debug_tty=ttyAMA0"]  # systemd-debug-generator(8)
        # If a core must wait for this machine, so must the other one.
        cores = str(min(2, len(os.sched_getaffinity(0))))
        command = [
            PROGRAM,
            *_MACHINE.split(),
            "-smp",
            cores,
            "-kernel",
            kernel.name,
            "-append",
            " ".join(filter(None, words)),
        ]
        command += ["-drive", f"file={image},format=raw,if=none,id=card"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as process:
            try:
                yield EmulatedPi(process, log)
            finally:
                if process.poll() is None:
                    process.kill()
