"""Run the workers of a search as processes; Optuna itself starts only threads.

If a worker dies (memory, a crash in native code), its trial is queued again and a new worker replaces it. Optuna's
heartbeat covers the workers of other commands, and those whose command was killed too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import secrets
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

from fer_edge.errors import FerEdgeError, InputError, ModelError, OutputError
from fer_train.tuning.job import Job
from fer_train.tuning.storage import open_study, storage_errors
from fer_train.tuning.trials import take_back

log = logging.getLogger("fer_train.tuning")

_ERRORS: dict[int, type[FerEdgeError]] = {kind.exit_code: kind for kind in (InputError, ModelError, OutputError)}
_MARK = "fer-edge: "
_FAREWELL_S = 60.0
"""Time for a worker to finish its step or validation and to queue its trial again: seconds on a slow machine."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")
"""Environment variables with the number of threads. JAX reads only the last."""


@dataclass(slots=True)
class _Worker:
    job: Job
    process: subprocess.Popen[str]
    listener: threading.Thread
    complaints: list[str] = field(default_factory=list)


def supervise(job: Job, workers: int) -> None:
    """Run ``workers`` processes for ``job`` until all trials are done. None outlives this call, even after errors.

    Raises:
        InputError, ModelError, OutputError: if a worker stops with one.
    """
    running: list[_Worker] = []
    try:
        running += (_start(job, workers) for _ in range(workers))
        while running:
            time.sleep(0.1)
            for worker in [each for each in running if each.process.poll() is not None]:
                running.remove(worker)
                if _died(worker):
                    running.append(_start(job, workers))
    finally:
        _stop(running)


def threads_of(workers: int) -> dict[str, str]:
    """Return environment variables that divide the cores among ``workers`` processes; the user's own have precedence.

    A backend starts a thread per core, so that the threads of several workers would compete for the cores.
    """
    if workers == 1:
        return {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = str(max(1, cores // workers))
    return {name: share for name in _THREADS if name not in os.environ}


def _start(job: Job, workers: int) -> _Worker:
    own = dataclasses.replace(job, worker=f"{os.getpid()}-{secrets.token_hex(4)}")
    process = subprocess.Popen(
        [sys.executable, "-m", "fer_train.tuning.worker"],
        stdin=subprocess.PIPE,
        # Captured: what the user's own network prints is not output of the command.
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **threads_of(workers)},
    )
    complaints: list[str] = []

    def listen() -> None:
        # Whole lines, so that those of several workers do not mix; a progress bar is drawn only on a terminal.
        for line in process.stdout or ():
            if line.startswith(_MARK):
                complaints.append(line.removeprefix(_MARK).strip())
            else:
                with contextlib.suppress(OSError, ValueError):  # if our stderr is closed, the pipe must still be read
                    sys.stderr.write(line)
                    sys.stderr.flush()

    listener = threading.Thread(target=listen, name=f"listen {own.worker}", daemon=True)
    listener.start()
    worker = _Worker(own, process, listener, complaints)
    if process.stdin is None:
        raise AssertionError("stdin is a pipe")
    try:
        process.stdin.write(json.dumps(dataclasses.asdict(own)) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        log.debug("worker %s ended at once; see its exit code", own.worker)
    return worker


def _died(worker: _Worker) -> bool:
    """Return whether to start a replacement. Raises the error that the worker reported."""
    code = worker.process.returncode
    worker.listener.join(10)
    if code == 0:
        return False
    if worker.complaints:
        raise _ERRORS.get(code, FerEdgeError)(worker.complaints[0])
    location = worker.job.location()
    with storage_errors(location):
        study = open_study(location)
        began = any(each.user_attrs.get("worker") == worker.job.worker for each in study.get_trials(deepcopy=False))
        take_back(study, worker.job.worker, died=True)
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    if not began:
        raise FerEdgeError(f"a worker ended {how} before its first trial; does `fer-edge train` work without --tune?")
    log.warning("a worker ended %s%s; another one continues its trial", how, " (out of memory?)" if code == -9 else "")
    return True


def _stop(running: list[_Worker]) -> None:
    """Close each worker's input, which stops it; kill those that do not stop in time."""
    for worker in running:
        if worker.process.stdin is not None:
            worker.process.stdin.close()
    until = time.monotonic() + _FAREWELL_S
    try:
        for worker in running:
            worker.process.wait(max(0.0, until - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        log.warning("workers that did not stop in time are killed; --resume finds their trials")
    finally:
        for worker in running:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()
