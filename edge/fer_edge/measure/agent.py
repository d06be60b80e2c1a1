"""``fer-edge agent``: measure for `fer-edge bench --on`, which starts it over SSH, on a device.

A request is a line of JSON with the key ``request``, the name of a method ``do_…`` of ``_Agent``, and its arguments.
The answer is ``{"answer": …}``, or ``{"error": …, "code": exit code}``. Two lines are sent before any request: the
version, and a description of the machine. Results are raw, such as logits, times and files of the kernel; the host
computes everything from them.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import select
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import to_builtins

from fer_edge.errors import FerEdgeError, InputError, OutputError, reason_of
from fer_edge.measure import PROTOCOL, worker
from fer_edge.measure.cache import MeasureCache
from fer_edge.measure.child import Child
from fer_edge.measure.machine import ask_vcgencmd, describe_machine, own_cpu_s, read_files
from fer_edge.measure.requests import Requests
from fer_edge.model.bundle import load_bundle
from fer_edge.model.interpreter import LiteRtModel
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.system.version import __version__

_PACKAGE = Path(__file__).parents[1]
_MAX_SILENCE_S = 600.0
"""Longer than the host computes between two requests, which is up to minutes for near duplicates in the data."""


def run(arguments: argparse.Namespace) -> int:
    """Answer requests until the input ends, and return the exit code."""
    if sys.stdin.isatty():
        raise InputError("fer-edge bench --on starts this command over SSH; it has no use in a terminal")
    os.umask(0o077)  # images of faces
    # The channel is a copy of standard output, which native libraries may write to.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel, contextlib.suppress(BrokenPipeError):
        os.dup2(2, 1)
        worker.send(channel, {"fer_edge": __version__, "protocol": PROTOCOL})
        with contextlib.ExitStack() as opened:
            try:
                agent = _Agent(Requests(0, _MAX_SILENCE_S), opened)
            except FerEdgeError as error:
                worker.send(channel, _refusal(error))
                return 0
            worker.send(channel, {"answer": agent.describe()})
            with contextlib.suppress(EOFError):
                while True:
                    worker.send(channel, agent.answer())
    return 0


class _Agent:
    """The state between requests: the cache, a classifier, and the processes that time models."""

    def __init__(self, requests: Requests, opened: contextlib.ExitStack) -> None:
        self._requests = requests
        self._cache = opened.enter_context(MeasureCache())
        self._children: dict[int, Child] = {}
        self._classifier: EmotionClassifier | None = None
        opened.callback(self._close)
        threading.Thread(target=self._end_children_on_hangup, daemon=True).start()

    def describe(self) -> dict[str, Any]:
        """Return the machine's description, and what a job for the process that times a model needs."""
        return {
            "facts": to_builtins(describe_machine()),
            "cache": str(self._cache.folder),
            "python": sys.executable,
            "packages": {"fer_edge": str(_PACKAGE)},
        }

    def answer(self) -> dict[str, Any]:
        """Return the answer to the next request. Raises EOFError if there is none."""
        request = self._requests.next()
        try:
            return {"answer": getattr(self, f"do_{request.pop('request')}")(**request)}
        except FerEdgeError as error:
            return _refusal(error)

    def do_missing(self, files: dict[str, tuple[str, int]]) -> list[str]:
        """Return the names of the ``files``, given with SHA-256 and size, that must be sent."""
        return self._cache.missing(files)

    def do_put(self, name: str, sha256: str, size: int) -> None:
        """Write a file into the cache; its bytes follow the request."""
        payload = self._requests.payload(size)
        try:
            self._cache.write(name, sha256, payload)
        finally:
            for _ in payload:  # the rest, if the disk is full: the next request follows it
                pass

    def do_open(self, bundle: str, variant: str) -> None:
        """Load a variant of the bundle in the folder ``bundle`` of the cache."""
        if self._classifier is not None:
            self._classifier.close()
        with load_bundle(self._cache.path(f"{bundle}/manifest.json").parent) as opened:
            # Not tried in another process first: a model that crashes ends this process alone.
            self._classifier = EmotionClassifier(opened, variant, load=LiteRtModel)

    def do_logits(self, images: str, start: int, count: int) -> str:
        """Return the logits of images, in base64: float32 [count, labels], little-endian.

        The file ``images`` of the cache has images of the model's size, uint8 [N, height, width], in NumPy's format.
        """
        if self._classifier is None:
            raise InputError("no variant was opened")
        path = self._cache.path(images)
        try:
            pixels = np.load(path, mmap_mode="r", allow_pickle=False)[start : start + count]
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read: {reason_of(error)}") from None
        logits = np.stack([self._classifier.logits(np.asarray(image)) for image in pixels])
        return base64.b64encode(logits.astype("<f4").tobytes()).decode()

    def do_start(self, name: str, timeout_s: float) -> int:
        """Start a process that times a model, see ``worker``; return its number. Errors begin with ``name``."""
        try:
            child = Child(name, [sys.executable, worker.__file__], timeout_s, timeout_hint=" (--timeout)")
        except OSError as error:
            raise OutputError(f"cannot start a process: {reason_of(error)}") from None
        self._children[child.pid] = child
        return child.pid

    def do_ask(self, process: int, line: str) -> dict[str, Any]:
        """Return the answer of a process to a line of JSON."""
        return self._children[process].ask(line.encode())

    def do_end(self, process: int) -> None:
        """End a process."""
        self._children.pop(process).close()

    do_files = staticmethod(read_files)
    do_vcgencmd = staticmethod(ask_vcgencmd)
    do_own_cpu_s = staticmethod(own_cpu_s)

    def _close(self) -> None:
        for child in self._children.values():
            child.close()
        if self._classifier is not None:
            self._classifier.close()

    def _end_children_on_hangup(self) -> None:
        """Wait until the other side is gone. Otherwise a process that is timed would first finish its block."""
        poll = select.poll()
        poll.register(0, select.POLLRDHUP)  # POLLHUP and POLLERR are always reported
        poll.poll()
        for child in list(self._children.values()):
            child.kill()


def _refusal(error: FerEdgeError) -> dict[str, Any]:
    return {"error": str(error), "code": error.exit_code}
