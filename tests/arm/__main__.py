"""``make test-arm``: compare the runtime on an emulated Raspberry Pi's processor with this machine."""

from __future__ import annotations

import argparse
import io
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from arm.comparison import Arrays, compare
from arm.edge_checks import check_commands, check_tests
from arm.on_device import check_on_device
from arm.rootfs import CHECKOUT, SUITES, Suite, install_project, prepared
from arm.sandbox import CPUS, Cpu, Sandbox, binfmt, install_what_is_missing, last_line
from fer_edge.errors import CheckFailedError, FerEdgeError, InputError
from fer_edge.system.user_folders import cache_folder
from fer_train.data.dataset import load_dataset
from fer_train.splits import PUBLIC_TEST

FACES = {"int8": 256, "float32": 32}
"""Number of faces that each variant classifies: float32 takes four times as long under emulation."""
SEED = 4

PROGRAM = Path(__file__).parent / "raw_outputs.py"
BUNDLE = CHECKOUT / "models" / "fer-edge-s"


def main() -> None:
    """Prepare, then check; each part prints what it observed."""
    arguments = _parser().parse_args()
    # SIGTERM acts like Ctrl-C, so that mounts and files are removed then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _check(SUITES[arguments.suite], arguments.cache, [cpu for cpu in CPUS if cpu.name in arguments.cpu])
    except FerEdgeError as error:
        print(f"make test-arm: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make test-arm", description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default="bookworm")
    parser.add_argument("--cache", type=Path, default=cache_folder() / "arm", help="where to keep what is downloaded")
    names = [cpu.name for cpu in CPUS]
    parser.add_argument("--cpu", choices=names, nargs="+", default=names, help="the cores to compare on")
    return parser


def _check(suite: Suite, cache: Path, cpus: list[Cpu]) -> None:
    if platform.machine() != "x86_64":
        raise InputError(f"this compares x86-64 with aarch64, and the machine is {platform.machine()}: make test")
    faces = _faces()
    install_what_is_missing()
    failures = []
    with ExitStack() as stack:
        folders = stack.enter_context(prepared(suite, cache.absolute()))
        project = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fer-edge-arm-")))
        install_project(project)
        stack.enter_context(binfmt())
        packages = (project, folders.site, folders.tools)
        sandboxes = [Sandbox(folders.root, packages, folders.bytecode, folders.board, cpu) for cpu in cpus]
        _tell_versions(sandboxes[0])
        reference = _reference(faces)
        parts: list[Callable[[], str]] = [partial(_outputs_agree, box, faces, reference) for box in sandboxes]
        parts += [partial(check_commands, sandboxes[-1]), partial(check_on_device, sandboxes[-1], BUNDLE, faces)]
        parts.append(partial(check_tests, sandboxes[-1], folders.tiny_bundle))
        for part in parts:
            start = time.monotonic()
            try:
                seen = part()
            except CheckFailedError as error:
                failures.append(seen := str(error))
            print(f"[{time.monotonic() - start:4.0f} s] {seen}", flush=True)
    if failures:
        raise CheckFailedError(f"{suite.name}: {len(failures)} of {len(parts)} checks failed, first {failures[0]}")
    print(f"{suite.name}: as on x86-64")


def _faces() -> npt.NDArray[np.uint8]:
    """Return a seeded sample of FER2013's PublicTest, uint8 [N, 48, 48]. Raises InputError if it is missing."""
    images = load_dataset().splits[PUBLIC_TEST].images
    count = max(FACES.values())
    if len(images) < count:
        raise InputError(f"PublicTest has {len(images)} faces here, {count} are needed: give the whole FER2013")
    return images[np.random.default_rng(SEED).choice(len(images), count, replace=False)]


def _tell_versions(sandbox: Sandbox) -> None:
    text = (
        "import platform; from importlib.metadata import version as v; print(platform.machine(), "
        "'Python ' + platform.python_version(), *(f'{n} {v(n)}' for n in "
        "('ai-edge-litert', 'numpy', 'opencv-python-headless')), sep=', ')"
    )
    emulator = subprocess.run(["qemu-aarch64-static", "--version"], capture_output=True, text=True, check=True).stdout
    here = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    there = sandbox.run_python("-c", text, shown={}).decode()
    print(f"{emulator.splitlines()[0]}\n{there}{here}", end="", flush=True)


def _reference(faces: npt.NDArray[np.uint8]) -> Arrays:
    command = [sys.executable, str(PROGRAM), str(BUNDLE), *_wanted()]
    done = subprocess.run(command, input=_as_npy(faces), capture_output=True, check=False)
    if done.returncode:
        raise CheckFailedError(f"{PROGRAM.name} fails on this machine: {last_line(done.stderr)}")
    return _from_npz(done.stdout)


def _outputs_agree(sandbox: Sandbox, faces: npt.NDArray[np.uint8], reference: Arrays) -> str:
    shown = {PROGRAM: "/raw_outputs.py", BUNDLE: "/bundle"}
    output = sandbox.run_python("/raw_outputs.py", "/bundle", *_wanted(), shown=shown, stdin=_as_npy(faces))
    where = f"{sandbox.cpu.name} ({sandbox.cpu.board})"
    try:
        return f"{where}: {compare(reference, _from_npz(output))}"
    except CheckFailedError as error:
        raise CheckFailedError(f"{where}: {error}") from None


def _wanted() -> list[str]:
    return [f"{variant}={count}" for variant, count in FACES.items()]


def _as_npy(faces: npt.NDArray[np.uint8]) -> bytes:
    # The faces go through pipes: none is written to a file.
    stream = io.BytesIO()
    np.save(stream, faces)
    return stream.getvalue()


def _from_npz(archive: bytes) -> Arrays:
    with np.load(io.BytesIO(archive)) as arrays:
        return dict(arrays)


if __name__ == "__main__":
    main()
