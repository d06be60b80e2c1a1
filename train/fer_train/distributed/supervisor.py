"""Run distributed training in a child process, and report how it ended.

This does what JAX's distributed runtime does not: if JAX cannot connect to the other processes or loses them, it aborts
its process with a stack trace, and Python cannot catch that. While JAX waits for the others in native code, Python
handles no signal either. So the command's own process only waits: it reports lost processes in one line with an exit
code, and ends the child on Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import connection
from types import FrameType

from fer_edge.errors import FerEdgeError, PeersLostError, reason_of
from fer_train.distributed.strategy import HEARTBEAT_TIMEOUT_S, ProcessRank

Work = Callable[[argparse.Namespace, Callable[[], None]], int]
"""A command's work: it takes the arguments, and a function to call once the processes are connected."""

_CONNECTED = "connected"
_STOP_S = 5.0
"""Seconds that the child has to clean up after SIGTERM; it may be waiting for the others in native code."""
_LEAVE_S = 60.0
"""Seconds that it may wait at its end for the others to end as well."""
_CONNECTION_ERROR = re.compile(
    r"(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): "
)
"""How JAX's errors about connections between processes start."""
_KILLED = (
    "process {0.rank} of {0.processes}: was killed, for lack of memory or by another program; "
    "process 0 has kept the last whole epoch: start all again with --resume"
)
_LOST = (
    "process {0.rank} of {0.processes}: lost the others: one was stopped, was refused or failed (see its own output), "
    f"or sent no heartbeat for {HEARTBEAT_TIMEOUT_S} s; process 0 has kept the last whole epoch: start all again with "
    "--resume"
)
_NOT_CONNECTED = (
    "process {0.rank} of {0.processes}: has not met the others at {0.coordinator} within {0.wait_s:.0f} s: is process "
    "0 running, and were all started with the same --coordinator and --processes, and different values of --process?"
)


def run_supervised(work: Work, arguments: argparse.Namespace, rank: ProcessRank) -> int:
    """Run ``work``, a function of a module, in a child process, and return its exit code.

    Raises:
        PeersLostError: if it ended because of the other processes.
        FerEdgeError: if it raised an error, with the same text and exit code.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(
        target=_child, args=(work, arguments, sender, multiprocessing.get_start_method()), daemon=True
    )
    with _interrupts_ignored():  # inherited by the child: this process handles Ctrl-C
        child.start()
    sender.close()
    connected = False
    try:
        while (message := receiver.recv()) == _CONNECTED:
            connected = True
        child.join(_LEAVE_S)
    except EOFError:  # it ended without a result: JAX aborted it or lost the others, or it was killed
        child.join(_STOP_S)
        killed = child.exitcode == -signal.SIGKILL
        text = _KILLED if killed else _LOST if connected else _NOT_CONNECTED
        raise PeersLostError(text.format(rank)) from None
    finally:
        child.terminate()
        child.join(_STOP_S)
        child.kill()
        child.join()
    code, problem = message
    if problem is None:
        return int(code)
    error = FerEdgeError(problem)
    error.exit_code = code
    raise error


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only it may set a handler
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _child(work: Work, arguments: argparse.Namespace, sender: connection.Connection, method: str) -> None:
    """Do ``work`` and send its exit code and error; nothing if the other processes are lost."""
    # The parent's method: with "spawn", the resource tracker would report the locks of an aborted process as leaked.
    multiprocessing.set_start_method(method, force=True)
    signal.signal(signal.SIGTERM, _exit)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if not arguments.debug:
        _discard_native_output()
    logging.basicConfig(
        level=arguments.log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        code = work(arguments, lambda: sender.send(_CONNECTED))
    except Exception as error:  # noqa: BLE001 - the parent reports it
        if arguments.debug:
            traceback.print_exc()
        if isinstance(error, FerEdgeError):
            sender.send((error.exit_code, str(error)))
        elif not _CONNECTION_ERROR.match(str(error)):
            problem = f"internal error: {type(error).__name__}: {reason_of(error)}"
            sender.send((FerEdgeError.exit_code, problem))
        sys.stderr.flush()
        os._exit(1)  # an orderly exit would wait for the other processes
    sys.stdout.flush()
    sender.send((code, None))


def _exit(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that half-written files are removed."""
    raise SystemExit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _discard_native_output() -> None:
    """Discard what JAX and Gloo write to the file descriptors; Python's own output still arrives."""
    null = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    sys.stderr.flush()
    for number, name in ((1, "stdout"), (2, "stderr")):
        setattr(sys, name, os.fdopen(os.dup(number), "w", buffering=1, errors="backslashreplace"))
        os.dup2(null, number)
    os.close(null)
