"""Load a model in another process before this one does: a graph can crash the interpreter, or never return.

A model that passed is remembered by its SHA-256 and the interpreter's version, in the user's cache folder, so that
only the first start with it takes longer. A refusal is not remembered: it can have other causes, such as a lack of
memory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from fer_edge.errors import ModelError, reason_of
from fer_edge.model.bundle import ModelVariant
from fer_edge.model.interpreter import AUTO, LiteRtModel, interpreter_version
from fer_edge.system.user_folders import cache_folder

MAX_TRIAL_S = 30.0
"""Seconds for a trial, which takes 0.4 s on a PC and some seconds on a Pi Zero. Shorter than the unit's timeouts."""
_POLL_S = 0.02
_CLEANUP_S = 5.0
"""Seconds after which the process ends itself if its parent is gone and cannot end it."""
_PROBLEM = 1
"""Exit code of the process if it has printed why the model is refused."""
_passed: set[str] = set()
"""Models that passed in this process: the cache folder may not be writable."""


class TrialTimeoutError(ModelError):
    """A model did not return in time: it hangs, or the machine was too busy."""


def try_variant(variant: ModelVariant, interpreter: str = AUTO, stop: threading.Event | None = None) -> None:
    """Load ``variant``, whose file was compared with its SHA-256, in another process: see ``try_file``."""
    try_file(variant.path, variant.sha256, interpreter, stop)


def try_file(path: Path, sha256: str, interpreter: str = AUTO, stop: threading.Event | None = None) -> None:
    """Load the file at ``path`` and run it in another process, unless this machine has done so before.

    Args:
        path: A ``.tflite`` file.
        sha256: Its SHA-256.
        interpreter: As for ``LiteRtModel``.
        stop: Ends the trial early when it is set, without a result.

    Raises:
        ModelError: If the model is refused, crashes the process, or does not return within ``MAX_TRIAL_S`` seconds.
    """
    name, version = interpreter_version(interpreter)
    # The processor too: XNNPACK has different kernels for each, and a home folder can be on a network.
    key = f"{sha256}-{name}-{version}-{os.uname().machine if hasattr(os, 'uname') else sys.platform}"
    if key in _passed:
        return
    remembered = _folder() / key
    if not remembered.is_file():
        if not _run_trial(path, name, stop):
            return
        # Without a writable folder every start takes as long as the first.
        with contextlib.suppress(OSError):
            remembered.parent.mkdir(parents=True, exist_ok=True)
            remembered.touch()
    _passed.add(key)


def _folder() -> Path:
    try:
        return cache_folder() / "tried-models"
    except RuntimeError:  # neither HOME nor an entry in the user database
        return Path(os.devnull)


def _run_trial(path: Path, interpreter: str, stop: threading.Event | None) -> bool:
    """Return True if the model passed, False if ``stop`` was set before there was a result. Raises ModelError."""
    words, task = (str(path), interpreter), "an inference in a separate process"
    try:
        code, printed = run_apart("fer_edge.model.trial", words, path, task, MAX_TRIAL_S, stop)
    except TrialTimeoutError as error:
        raise TrialTimeoutError(f"{error}; convert the model again, or use another bundle") from None
    if code is None or code == 0:
        return code == 0
    if code == _PROBLEM and printed:
        raise ModelError(printed)
    if code == -signal.SIGKILL:
        # Sent by the kernel for the whole machine's memory, or for the limit of a service or container.
        raise ModelError(
            f"{path}: the separate process that tried it was killed (SIGKILL), perhaps because the memory is used up;"
            " free memory, or raise the memory limit of the service or container"
        )
    raise ModelError(
        f"{path}: refused: it ended a separate process that tried it: {_describe(code)};"
        " convert the model again, or use another bundle"
    )


def run_apart(
    module: str, words: Sequence[str], path: Path, task: str, limit_s: float, stop: threading.Event | None = None
) -> tuple[int | None, str]:
    """Run ``python -m module`` with the arguments ``words``, since the model at ``path`` may crash the interpreter.

    Returns:
        The exit code (None if ``stop`` was set before there was one), and what was printed, on one line.

    Raises:
        ModelError: If ``task`` cannot be started, or does not end within ``limit_s`` seconds.
    """
    command = [sys.executable, "-P", "-m", module, *words]  # -P: do not import a numpy.py from the current folder
    until = time.monotonic() + limit_s
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        raise ModelError(f"{path}: cannot start {task}: {reason_of(error)}") from None
    with child:
        try:
            # Polled, so that a request to end takes effect at once. What it prints fits into the pipe.
            while child.poll() is None:
                if stop is not None and stop.wait(_POLL_S):
                    return None, ""
                if stop is None:
                    time.sleep(_POLL_S)
                if time.monotonic() > until:
                    raise TrialTimeoutError(f"{path}: refused: {task} did not end within {limit_s:g} s")
        finally:
            child.kill()
        assert child.stdout is not None
        return child.returncode, " ".join(child.stdout.read().decode(errors="replace").split())


def _describe(code: int) -> str:
    """Return what ended a process, from its exit code or the negative number of a signal."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _try(path: Path, interpreter: str) -> str | None:
    """In the other process: return why the model is refused, None if it runs."""
    import numpy as np

    try:
        model = LiteRtModel(path, interpreter=interpreter)
        wanted = model.input_details
        dtype = np.dtype(wanted.dtype)
        if dtype.kind not in "uif":
            return f"{path}: its input is {wanted.dtype}, not numbers"
        low, high = (0, 255) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        noise = np.random.default_rng(0).uniform(low, high, wanted.shape)
        # Extremes and noise: which operators run, and how often, may depend on the pixels.
        for tensor in (np.full(wanted.shape, low, dtype), np.full(wanted.shape, high, dtype), noise.astype(dtype)):
            model.invoke(tensor)
        model.describe()
    except ModelError as error:
        return str(error)
    return None


def limit_this_process(limit_s: float) -> None:
    """Limit what this process can do to the machine: it runs a model that may be malicious, and may outlive its parent.

    It ends some seconds after ``limit_s``, the limit that ``run_apart`` was given.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # if memory runs out, this process is to end and not its parent
        Path("/proc/self/oom_score_adj").write_text("1000")
    if hasattr(signal, "setitimer"):
        # The default action ends the process even if native code never returns.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, limit_s + _CLEANUP_S)


if __name__ == "__main__":
    limit_this_process(MAX_TRIAL_S)
    refused = _try(Path(sys.argv[1]), sys.argv[2])
    if refused is not None:
        os.write(1, refused[:1000].encode(errors="backslashreplace"))
    # Exit without cleanup: freeing a damaged graph could crash.
    os._exit(0 if refused is None else _PROBLEM)
