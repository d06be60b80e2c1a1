"""Read a repository of The Update Framework: metadata and targets, verified, and within limits of size and time.

https://theupdateframework.github.io/specification/latest/#detailed-client-workflow
"""

from __future__ import annotations

import contextlib
import logging
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING

from tuf.api import exceptions as tuf
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

from fer_edge.errors import InputError, ModelError, OutputError, SourceLostError, reason_of
from fer_edge.settings.redaction import redacted
from fer_edge.system.files import read_regular
from fer_edge.update.format import CHANNELS, MAX_ARCHIVE_BYTES, Release, channel_target, parse_channel

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile

MAX_REFRESH_S = 120.0
"""Seconds for all metadata together, which has some kilobytes."""
MIN_BYTES_PER_S = 4096
"""Slowest download of a bundle, in addition to ``MAX_REFRESH_S``."""
MAX_ROOT_BYTES = 512_000
_MAX_CHANNEL_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16
_SOCKET_TIMEOUT_S = 30

# Its messages contain no more than the errors that are reported.
logging.getLogger("tuf").setLevel(logging.CRITICAL)
logging.getLogger("urllib3").setLevel(logging.CRITICAL)


class _TooSlowError(BaseException):
    """The time is over. Not an Exception, so that no library retries because of it."""


class Client:
    """The repository at ``url``, as of one moment. Use it in the main thread: the time limit is a timer signal.

    Args:
        url: Its URL.
        root: The root of trust.
        metadata: Folder of the metadata that was verified so far, which protects from older states of the repository.
        incoming: Folder for files that are being downloaded.
        max_refresh_s: Seconds for all metadata together.
    """

    def __init__(
        self, url: str, root: bytes, metadata: Path, incoming: Path, *, max_refresh_s: float = MAX_REFRESH_S
    ) -> None:
        self._url, self._incoming, self._max_refresh_s = url.rstrip("/"), incoming, max_refresh_s
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
        found: list[Release] = []
        with self._problems(), _deadline(self._max_refresh_s):
            self._updater.refresh()
            for name in CHANNELS[channel]:
                target = self._updater.get_targetinfo(channel_target(name))
                if target is not None:
                    found += parse_channel(self._read(target), f"{self._shown}: {target.path}").releases
        return found

    def download(self, release: Release, path: Path) -> None:
        """Write the archive of ``release`` to ``path``. Raises as ``releases``."""
        target = self._updater.get_targetinfo(release.target)
        if target is None:
            raise ModelError(f"{self._shown}: refused: {release.target} is listed, but not signed")
        if target.length > MAX_ARCHIVE_BYTES:
            raise ModelError(f"{self._shown}: refused: {release.target} has {target.length} bytes")
        with self._problems(), _deadline(self._max_refresh_s + target.length / MIN_BYTES_PER_S):
            self._updater.download_target(target, str(path))

    def _read(self, target: TargetFile) -> bytes:
        if target.length > _MAX_CHANNEL_BYTES:
            raise ModelError(f"{self._shown}: refused: {target.path} has {target.length} bytes")
        path = self._incoming / target.path
        self._updater.download_target(target, str(path))
        data = path.read_bytes()
        path.unlink()
        return data

    @contextlib.contextmanager
    def _problems(self) -> Iterator[None]:
        """Turn each error of python-tuf into one line of ours."""
        try:
            yield
        except _TooSlowError:
            raise SourceLostError(f"{self._shown}: too slow: the download was given up") from None
        except tuf.ExpiredMetadataError as error:
            text = f"{self._shown}: refused: {_reason(error)}: it is not refreshed, or someone replays an old state"
            raise ModelError(text) from None
        except tuf.BadVersionNumberError as error:
            text = f"{self._shown}: refused: older than what this device has seen, or mixed: {_reason(error)}"
            raise ModelError(text) from None
        except tuf.UnsignedMetadataError as error:
            text = f"{self._shown}: refused: not signed by the keys that this device trusts: {_reason(error)}"
            raise ModelError(text) from None
        except tuf.LengthOrHashMismatchError as error:
            raise ModelError(f"{self._shown}: refused: differs from what is signed: {_reason(error)}") from None
        except tuf.DownloadLengthMismatchError as error:
            raise ModelError(f"{self._shown}: refused: {_reason(error)}") from None
        except tuf.DownloadError as error:
            raise SourceLostError(f"{self._shown}: cannot be read: {_reason(_origin(error))}") from None
        except (tuf.RepositoryError, DeserializationError, ValueError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{self._shown}: refused: {_reason(error)}") from None
        except OSError as error:
            if isinstance(error, SourceLostError):
                raise
            raise OutputError(f"{self._incoming.parent}: cannot be written: {_reason(error)}") from None


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
