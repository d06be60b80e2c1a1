"""Download a file into a cache, completely and with a checksum, within a time limit."""

from __future__ import annotations

import hashlib
import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from fer_edge.errors import InputError, OutputError, reason_of
from fer_edge.system.files import atomic_path
from fer_train.progress import progress

log = logging.getLogger(__name__)

SILENCE_S = 20.0
"""Seconds without data after which a download fails."""
_GRACE_S, _MIN_BYTES_PER_S = 60.0, 20_000
"""After this time, a download fails if its mean rate is lower."""
_BLOCK = 1 << 16


def fetch(url: str, target: Path, *, md5: str, silence_s: float = SILENCE_S) -> Path:
    """Download ``url`` to ``target``, unless it exists with the checksum ``md5``; return ``target``.

    An interrupted download leaves no file.

    Raises:
        InputError: if it cannot be downloaded or has another checksum. The message contains only the reason.
        OutputError: if the folder or the file cannot be written.
    """
    if target.is_file():
        if _md5_of(target) == md5:
            return target
        log.warning("%s: is damaged; downloading it again", target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target.parent}: cannot make this folder: {reason_of(error)}") from error
    with atomic_path(target) as temporary:
        digest = hashlib.md5(usedforsecurity=False)
        with temporary.open("wb") as stream:
            for block in _blocks(url, silence_s):
                digest.update(block)
                stream.write(block)
        if digest.hexdigest() != md5:
            raise InputError(f"the server sent another file (MD5 {digest.hexdigest()}, wanted {md5})")
    return target


def _blocks(url: str, silence_s: float) -> Iterator[bytes]:
    """Yield what the server sends, up to the length that it announces. Raises InputError."""
    try:
        with urllib.request.urlopen(url, timeout=silence_s) as answer:
            length, done, began = answer.length or 0, 0, time.monotonic()
            log.info("downloading %s, %.0f MB", url, length / 1e6)
            with progress("downloading", length, "B") as show:
                while block := answer.read1(_BLOCK):
                    yield block
                    done += len(block)
                    show(done)
                    passed = time.monotonic() - began
                    if passed > _GRACE_S and done < passed * _MIN_BYTES_PER_S:
                        raise InputError(f"too slow: {done} bytes in {passed:.0f} s")
    except urllib.error.HTTPError as error:
        raise InputError(f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        # urllib's exception often wraps the actual one.
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        raise InputError(reason_of(why) if isinstance(why, BaseException) else str(why)) from error
    if done < length:
        raise InputError(f"the connection ended after {done} of {length} bytes")


def _md5_of(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason_of(error)}") from error
