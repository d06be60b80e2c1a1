"""Read a repository of The Update Framework: metadata and targets, verified, and within limits of size and time.

https://theupdateframework.github.io/specification/latest/#detailed-client-workflow
"""

from __future__ import annotations

import contextlib
import logging
import signal
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tuf.api import exceptions as tuf
from tuf.api.metadata import Metadata, Root, TargetFile
from tuf.api.serialization import DeserializationError
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

from fer_edge.errors import InputError, ModelError, OutputError, SourceLostError, reason_of
from fer_edge.model.manifest import decode_format
from fer_edge.settings.redaction import redacted
from fer_edge.system.files import open_regular, read_regular
from fer_edge.update.format import CHANNELS, MAX_ARCHIVE_BYTES, Channel, Release, channel_target

MAX_REFRESH_S = 120.0
"""Seconds for all metadata together, which has some kilobytes."""
MIN_BYTES_PER_S = 4096
"""Slowest download of a bundle, in addition to ``MAX_REFRESH_S``."""
MAX_ROOT_BYTES = 512_000
_MAX_DOCUMENT_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16
_SOCKET_TIMEOUT_S = 30
_REFUSALS = {
    tuf.ExpiredMetadataError: "{reason}: it is not refreshed, or someone replays an old state",
    tuf.BadVersionNumberError: "older than what {reader} has seen, or mixed: {reason}",
    tuf.UnsignedMetadataError: "not signed by the keys that {reader} trusts: {reason}",
    tuf.LengthOrHashMismatchError: "differs from what is signed: {reason}",
}

# Its messages contain no more than the errors that are reported.
logging.getLogger("tuf").setLevel(logging.CRITICAL)
logging.getLogger("urllib3").setLevel(logging.CRITICAL)


class _TooSlowError(BaseException):
    """The time is over. Not an Exception, so that no library retries because of it."""


class Client:
    """The repository at ``url``, as of one moment. Use it in the main thread: the time limit is a timer signal.

    Args:
        url: Its URL: http://, https:// or file://.
        root: The root of trust.
        metadata: Folder of the metadata that was verified so far, which protects from older states of the repository.
        incoming: Folder for files that are being downloaded.
        max_refresh_s: Seconds for all metadata together.
        reader: What reads it, for error messages.
    """

    def __init__(
        self,
        url: str,
        root: bytes,
        metadata: Path,
        incoming: Path,
        *,
        max_refresh_s: float = MAX_REFRESH_S,
        reader: str = "this device",
    ) -> None:
        self._url, self._incoming, self._max_refresh_s = url.rstrip("/"), incoming, max_refresh_s
        self._reader = reader
        self._shown = redacted(self._url)
        with self._problems():
            self._updater = Updater(
                str(metadata),
                f"{self._url}/metadata",
                target_base_url=f"{self._url}/targets",
                fetcher=_Fetcher(incoming),
                config=UpdaterConfig(max_root_rotations=64, root_max_length=MAX_ROOT_BYTES),
                bootstrap=root,
            )

    def releases(self, channel: str) -> list[Release]:
        """Return the releases for a device of ``channel``.

        Raises:
            ModelError: If the metadata is refused, or its format is newer.
            OutputError: If it cannot be stored.
            SourceLostError: If the server cannot be reached, or is too slow.
        """
        lists = self.documents(channel_target(name) for name in CHANNELS[channel])
        return [
            release
            for name, data in lists.items()
            for release in decode_format(data, f"{self._shown}: {name}", Channel).releases
        ]

    def documents(self, names: Iterable[str]) -> dict[str, bytes]:
        """Refresh the metadata, and return the content of those of the targets ``names`` that exist.

        A larger one than 1 MiB is refused. Raises as ``releases``.
        """
        with self._problems(), _deadline(self._max_refresh_s):
            self._updater.refresh()
            targets = [self._updater.get_targetinfo(name) for name in names]
            return {target.path: self._read(target) for target in targets if target is not None}

    def download(self, name: str, path: Path) -> None:
        """Write the target ``name`` to ``path``, unless that has its content already. Raises as ``releases``."""
        target = self._updater.get_targetinfo(name)
        if target is None:
            raise ModelError(f"{self._shown}: refused: {name} is listed, but not signed")
        if target.length > MAX_ARCHIVE_BYTES:
            raise ModelError(f"{self._shown}: refused: {name} has {target.length} bytes")
        if self._updater.find_cached_target(target, str(path)) is not None:
            return
        with self._problems(path.parent), _deadline(self._max_refresh_s + target.length / MIN_BYTES_PER_S):
            self._updater.download_target(target, str(path))

    def _read(self, target: TargetFile) -> bytes:
        if target.length > _MAX_DOCUMENT_BYTES:
            raise ModelError(f"{self._shown}: refused: {target.path} has {target.length} bytes")
        path = self._incoming / target.path
        self._updater.download_target(target, str(path))
        data = path.read_bytes()
        path.unlink()
        return data

    @contextlib.contextmanager
    def _problems(self, written: Path | None = None) -> Iterator[None]:
        """Turn each error of python-tuf into one line of ours; ``written`` is the folder to which it writes."""
        try:
            yield
        except _TooSlowError:
            raise SourceLostError(f"{self._shown}: too slow: the download was given up") from None
        except (ModelError, SourceLostError):
            raise
        except (tuf.RepositoryError, tuf.DownloadLengthMismatchError, DeserializationError, ValueError) as error:
            form = next((form for kind, form in _REFUSALS.items() if isinstance(error, kind)), "{reason}")
            said = form.format(reason=_reason(error), reader=self._reader)
            raise ModelError(f"{self._shown}: refused: {said}") from None
        except tuf.DownloadError as error:
            raise SourceLostError(f"{self._shown}: cannot be read: {_reason(_origin(error))}") from None
        except OSError as error:
            raise OutputError(f"{written or self._incoming.parent}: cannot be written: {_reason(error)}") from None


def read_root(path: Path) -> bytes:
    """Return the root of trust in the file ``path``. Raises InputError if it is not one, or not signed by its keys."""
    try:
        data = read_regular(path, MAX_ROOT_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot read the root of trust: {_reason(error)}") from None
    try:
        metadata = Metadata[Root].from_bytes(data)
        if not isinstance(metadata.signed, Root):
            raise InputError(f"{path}: contains metadata of {metadata.signed.type}, not a root of trust")
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except (DeserializationError, tuf.RepositoryError) as error:
        raise InputError(f"{path}: not a root of trust: {_reason(error)}") from None
    return data


def _origin(error: BaseException) -> BaseException:
    """Return the system's error behind ``error``, or else ``error``: urllib3 wraps it several times."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found
        reason = getattr(found, "reason", None)
        found = reason if isinstance(reason, BaseException) else found.__cause__ or found.__context__
    return error


def _reason(error: BaseException) -> str:
    return redacted(reason_of(error))


class _Fetcher(Urllib3Fetcher):
    """Downloads into a folder of ours: the system's temporary folder may be in memory."""

    def __init__(self, incoming: Path) -> None:
        super().__init__(socket_timeout=_SOCKET_TIMEOUT_S, chunk_size=_PIECE_BYTES, app_user_agent="fer-edge")
        self._incoming = incoming

    def _fetch(self, url: str) -> Iterator[bytes]:
        return _pieces(url) if url.startswith("file://") else super()._fetch(url)

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Yield a temporary file with the content of ``url``, which has at most ``max_length`` bytes."""
        received = 0
        with tempfile.TemporaryFile(dir=self._incoming) as stream:
            for piece in self.fetch(url):
                received += len(piece)
                if received > max_length:
                    raise tuf.DownloadLengthMismatchError(f"{url} has more than {max_length} bytes")
                stream.write(piece)
            stream.seek(0)
            yield stream


def _pieces(url: str) -> Iterator[bytes]:
    """Yield the content of the file at the file:// URL ``url``; a missing one ends as on a web server."""
    try:
        with open_regular(Path(url2pathname(urlsplit(url).path))) as stream:
            while piece := stream.read(_PIECE_BYTES):
                yield piece
    except FileNotFoundError:
        raise tuf.DownloadHTTPError(f"{url} does not exist", 404) from None
    except OSError as error:
        raise tuf.DownloadError(f"{url}: {_reason(error)}") from None


@contextlib.contextmanager
def _deadline(limit_s: float) -> Iterator[None]:
    """Raise ``_TooSlowError`` in the block after ``limit_s`` seconds.

    Timeouts of sockets do not limit a server that sends a byte from time to time, also within a header.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise _TooSlowError

    handler = signal.signal(signal.SIGALRM, end)
    before_s, _ = signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, before_s)
        signal.signal(signal.SIGALRM, handler)
