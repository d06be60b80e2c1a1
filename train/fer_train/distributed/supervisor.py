"""Keeps watch over a process that trains together with others.

Where JAX cannot reach the other processes, or loses them, it ends its own process at once with a stack trace. So the
training runs in a process below the command's own, which tells in one line how it ended, and ends it on Ctrl-C.
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
from typing import Any

from fer_edge.errors import FerEdgeError, PeersLostError, reason_of
from fer_train.distributed.strategy import LOST_AFTER_S, Place

Work = Callable[[argparse.Namespace, Callable[[], None]], int]
"""What is to be done with a command's arguments; it calls what it is given when the processes have met."""

_STOP_S = 5.0
"""How long the process may take to clean up after it was told to stop; it may wait for the others, deep in JAX."""
_LEAVE_S = 60.0
"""How long it may wait at its end for the others to end as well."""
_LOST = re.compile(r"(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): ")
"""How the errors of JAX begin that come from the connections between the processes."""


def run_supervised(work: Work, arguments: argparse.Namespace, place: Place) -> int:
    """Run ``work`` in a process of its own and return its exit code; an error that it raises comes out of here.

    ``work`` is a function of a module. Raises PeersLostError when it ended for want of the other processes.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    method = multiprocessing.get_start_method()
    process = context.Process(target=_below, args=(work, arguments, sender, method), daemon=True)
    with _interrupts_ignored():  # it inherits that: Ctrl-C is ours to answer
        process.start()
    sender.close()
    met = False
    try:
        while True:
            try:
                news = receiver.recv()
            except EOFError:  # it was ended by JAX, which aborts, or by somebody
                process.join(_STOP_S)
                if process.exitcode == -signal.SIGKILL:
                    raise PeersLostError(_killed(place)) from None
                raise PeersLostError(_lost(place, met=met)) from None
            if news == "met":
                met = True
                continue
            process.join(_LEAVE_S)
            return _answer(news, place, met=met)
    finally:
        _stop(process)


def _answer(news: Any, place: Place, *, met: bool) -> int:
    """The exit code in what the process said last; raises what it failed with."""
    kind, code, text = news
    if kind == "done":
        return int(code)
    if kind == "lost":
        raise PeersLostError(_lost(place, met=met))
    error = FerEdgeError(text)
    error.exit_code = code
    raise error


def _lost(place: Place, *, met: bool) -> str:
    who = f"process {place.process} of {place.processes}"
    if not met:
        return (
            f"{who}: has not met the others at {place.coordinator} within {place.wait_s:.0f} s: is process 0 there, "
            "was each started with the same --coordinator and --processes, each with a --process of its own?"
        )
    return (
        f"{who}: lost the others: one was stopped, refused or failed (it says so itself), or gave no sign of life for "
        f"{LOST_AFTER_S} s; process 0 has kept the last whole epoch: start all again with --resume"
    )


def _killed(place: Place) -> str:
    return (
        f"process {place.process} of {place.processes}: was killed, for want of memory or by somebody; "
        "process 0 has kept the last whole epoch: start all again with --resume"
    )


def _stop(process: Any) -> None:
    process.terminate()
    process.join(_STOP_S)
    process.kill()
    process.join()


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only there may a handler be set
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _below(work: Work, arguments: argparse.Namespace, news: connection.Connection, method: str) -> None:
    """The process below: does ``work`` and says how it ended."""
    # As if it were not below another: locks made by "spawn" would be complained of where this process is ended.
    multiprocessing.set_start_method(method, force=True)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if not arguments.debug:
        _drop_native_output()
    logging.basicConfig(
        level=arguments.log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        code = work(arguments, lambda: news.send("met"))
    except Exception as error:  # noqa: BLE001 - whatever comes is told by the process above
        if arguments.debug:
            traceback.print_exc()
        news.send(_told(error))
        sys.stderr.flush()
        os._exit(1)  # the orderly end would wait for the others
    sys.stdout.flush()
    news.send(("done", code, ""))


def _told(error: Exception) -> tuple[str, int, str]:
    if isinstance(error, FerEdgeError):
        return "failed", error.exit_code, str(error)
    if _LOST.match(str(error)):
        return "lost", 0, ""
    return "failed", FerEdgeError.exit_code, f"internal error: {type(error).__name__}: {reason_of(error)}"


def _leave(number: int, frame: FrameType | None) -> None:
    """SIGTERM as an exception: half-written files are removed on the way out."""
    raise SystemExit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _drop_native_output() -> None:
    """What JAX and Gloo write by themselves goes nowhere; what Python writes still arrives."""
    null = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    sys.stderr.flush()
    for number, name in ((1, "stdout"), (2, "stderr")):
        setattr(sys, name, os.fdopen(os.dup(number), "w", buffering=1, errors="backslashreplace"))
        os.dup2(null, number)
    os.close(null)
