"""Failures whose cause is a limit of the system: memory, file descriptors, or a removed working directory."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fer_edge.errors import DeviceError, InputError, ModelError, OutputError

_MIN_DESCRIPTORS = 32
"""File descriptors that a run with one source, all outputs and the page needs, with some to spare."""
_MEMORY_WORDS = (
    "failed to map segment",  # dlopen(3), for a library that does not fit
    "cannot allocate memory",
    "insufficient memory",  # OpenCV
    "out of memory",
    "bad_alloc",
    "can't start new thread",  # its stack does not fit
)
_MEMORY_ADVICE = "free some memory, or raise the limit (ulimit -v, MemoryMax)"


def check_descriptors() -> None:
    """Check that the process may open enough files. Raises InputError."""
    if sys.platform == "win32":
        return
    import resource

    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY and allowed < _MIN_DESCRIPTORS:
        raise InputError(f"only {allowed} open files are allowed; {_MIN_DESCRIPTORS} are needed: ulimit -n 1024")


def check_address_space() -> None:
    """Check that the native libraries can be loaded, if the address space is limited (``ulimit -v``).

    A library that runs out of memory while it is loaded ends the process, often with SIGSEGV and without a message, so
    another process tries it first. Without a limit this does nothing.

    Raises:
        OutputError: If they cannot.
    """
    if sys.platform == "win32":
        return
    import resource

    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    # What ends it other than an ImportError is the lack of memory: a signal, MemoryError, or OpenBLAS's own exit(1).
    code = "import contextlib\nwith contextlib.suppress(ImportError): import cv2"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    if done.returncode != 0:
        raise OutputError(f"out of memory while libraries were loaded: {_MEMORY_ADVICE}")


def resource_problem(error: BaseException) -> tuple[int, str] | None:
    """Return exit code and message if ``error``, or what caused it, is due to a limit of the system; else None."""
    for cause in _chain(error):
        if _is_out_of_memory(cause):
            model = isinstance(error, ModelError)
            what = "out of memory while the model was loaded" if model else "out of memory"
            return (ModelError if model else OutputError).exit_code, f"{what}: {_MEMORY_ADVICE}"
        if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
            return OutputError.exit_code, "too many open files: raise the limit (ulimit -n)"
        if isinstance(cause, FileNotFoundError) and not _has_working_directory():
            return InputError.exit_code, "the working directory was removed; change to another folder and run again"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    # The others may quote a library, which has no type of error for it.
    return not isinstance(error, InputError | DeviceError) and any(word in str(error).lower() for word in _MEMORY_WORDS)


def _has_working_directory() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True
