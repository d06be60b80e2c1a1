"""Requests on standard input, one at a time: lines of JSON, some followed by bytes. Answers on standard output.

Reading ends with EOFError if the other side is gone, also if it went without a goodbye: a connection that is lost may
stay open here for hours, and would keep files and the lock.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import Iterator
from typing import Any

_CHUNK = 2**16
_MAX_LINE = 2**20


class Requests:
    """Read requests from a file descriptor; the other side may be silent for at most ``max_silence_s``."""

    def __init__(self, descriptor: int, max_silence_s: float) -> None:
        self._descriptor = descriptor
        self._max_silence_s = max_silence_s
        self._data = b""

    def next(self) -> dict[str, Any]:
        """Return the next request. Raises EOFError, and ValueError if it is not a JSON object."""
        while b"\n" not in self._data:
            if len(self._data) > _MAX_LINE:
                raise ValueError("a request without an end")
            self._data += self._read()
        line, _, self._data = self._data.partition(b"\n")
        request = json.loads(line)
        if not isinstance(request, dict):
            raise ValueError("a request must be an object")
        return request

    def payload(self, size: int) -> Iterator[bytes]:
        """Yield the next ``size`` bytes. Raises EOFError."""
        while size > 0:
            chunk = self._data or self._read()
            chunk, self._data = chunk[:size], chunk[size:]
            size -= len(chunk)
            yield chunk

    def _read(self) -> bytes:
        ready, _, _ = select.select([self._descriptor], [], [], self._max_silence_s)
        data = os.read(self._descriptor, _CHUNK) if ready else b""
        if not data:
            raise EOFError
        return data
