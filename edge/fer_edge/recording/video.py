"""Write the annotated video, in a format that browsers play: H.264 in .mp4, or VP8 in .webm.

PyAV writes both. Without it OpenCV writes .webm, ten times as slowly, since its speed cannot be set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import cv2

from fer_edge.errors import InputError, OutputError, install_command, reason_of
from fer_edge.recording.annotate import fit_picture
from fer_edge.system.closing import Closing
from fer_edge.system.extras import missing_packages
from fer_edge.system.files import PendingFile, open_output
from fer_edge.system.opencv_setup import opencv_path
from fer_edge.system.stderr import hidden_stderr
from fer_edge.types import UInt8Array

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_MAX_REPEAT_S = 10.0
"""Longest gap in a live source that the annotated video fills by repeating the last picture."""
_CODECS = {
    # suffix: container, codec, its options
    ".mp4": ("mp4", "libx264", {"preset": "ultrafast", "crf": "23"}),
    ".webm": ("webm", "libvpx", {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "2M"}),
}
"""Fast presets: a Pi has other work than to write small files."""


def video_suffix() -> str:
    """Return the suffix of the best format that can be written here: ``.mp4`` with PyAV, else ``.webm``."""
    return ".webm" if missing_packages("video") else ".mp4"


class AnnotatedVideo(Closing):
    """Writes annotated frames to an .mp4 or .webm file at ``fps`` frames a second.

    ``close`` moves the complete file to its final path. Frames that a live source dropped are replaced by repeated
    pictures, so that the video runs in real time.

    Raises:
        InputError: if the file name ends in neither .mp4 nor .webm, or in .mp4 without PyAV, or the path is not valid
            UTF-8.
        OutputError: if the file cannot be written.

    >>> import tempfile
    >>> import numpy as np
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "seen.webm"
    >>> with AnnotatedVideo(path, fps=15) as video:
    ...     video.write(np.zeros((120, 160, 3), np.uint8), at=0.0)
    >>> path.stat().st_size > 0
    True
    >>> folder.cleanup()
    """

    def __init__(self, path: Path, fps: float) -> None:
        _check_name(path)
        self._file = PendingFile(path, seekable=True)
        self._fps = fps
        self._writer: _Writer | None = None
        self._failure: OutputError | None = None
        self._size = (0, 0)
        self._written = 0
        self._started_at = 0.0

    def write(self, picture: UInt8Array, at: float) -> None:
        """Add a BGR picture taken at ``at`` seconds of the source's clock, scaled to the first picture's size.

        Raises:
            OutputError: if it cannot be written, for example on a full disk.
        """
        if self._failure is not None:
            raise self._failure
        writer = self._writer or self._open(picture, at)
        due = round((at - self._started_at) * self._fps) - self._written + 1
        fitting = fit_picture(picture, *self._size)
        try:
            for _ in range(min(max(1, due), round(_MAX_REPEAT_S * self._fps) + 1)):
                writer.write(fitting)
                self._written += 1
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Finish the video, or leave no file if no frame was written. Idempotent.

        Raises:
            OutputError: if the video is incomplete.
        """
        writer, self._writer = self._writer, None
        if writer is None:
            self._file.discard()
            return
        try:
            writer.close()
        except OSError as error:
            raise self._failed(error) from error
        self._file.commit()

    def _open(self, picture: UInt8Array, at: float) -> _Writer:
        self._size = (max(2, picture.shape[1] // 2 * 2), max(2, picture.shape[0] // 2 * 2))  # 4:2:0 needs even sides
        make = _OpenCVWriter if missing_packages("video") else _PyAVWriter
        try:
            self._writer = make(self._file.temporary, self._file.path.suffix.lower(), self._fps, self._size)
        except OSError as error:
            raise self._failed(error) from error
        self._started_at = at
        return self._writer

    def _failed(self, error: OSError) -> OutputError:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                writer.close()
        self._file.discard()
        self._failure = OutputError(f"{self._file.path}: the video could not be written: {reason_of(error)}")
        return self._failure


def _check_name(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix not in _CODECS:
        raise InputError(f"{path}: an annotated video must be named .mp4 or .webm")
    if suffix == ".mp4" and missing_packages("video"):
        raise InputError(f"{path}: PyAV is needed to write .mp4: {install_command('video')}; or name it .webm")
    opencv_path(path.resolve())  # the absolute path, which the temporary file has


class _Writer(Protocol):
    def write(self, picture: UInt8Array) -> None:
        """Add one picture. Raises OSError."""

    def close(self) -> None:
        """Finish the file. Raises OSError."""


class _PyAVWriter:
    def __init__(self, path: Path, suffix: str, fps: float, size: tuple[int, int]) -> None:
        import av

        self._new_frame, self._other_error = av.VideoFrame.from_ndarray, av.FFmpegError
        container, codec, options = _CODECS[suffix]
        self._stream_to = open(path, "wb", opener=open_output)  # noqa: SIM115 - until close
        self._container: OutputContainer = av.open(self._stream_to, "w", format=container)
        rate = Fraction(fps).limit_denominator(1000)
        self._stream = cast("VideoStream", self._container.add_stream(codec, rate=rate, options=options))
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.thread_count = 1
        self._step = 1 / rate
        self._count = 0

    def write(self, picture: UInt8Array) -> None:
        frame = self._new_frame(picture, format="bgr24")
        frame.pts, frame.time_base = self._count, self._step
        self._count += 1
        with self._in_os_errors():
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        with self._in_os_errors(), self._stream_to, self._container:
            self._container.mux(self._stream.encode())

    @contextmanager
    def _in_os_errors(self) -> Iterator[None]:
        try:
            yield
        except self._other_error as error:
            raise error if isinstance(error, OSError) else OSError(str(error)) from None


class _OpenCVWriter:
    def __init__(self, path: Path, suffix: str, fps: float, size: tuple[int, int]) -> None:
        self._path = path
        with hidden_stderr():  # OpenCV complains that WebM has no such tag, and writes VP8
            vp8 = cv2.VideoWriter.fourcc(*"VP80")
            self._writer = cv2.VideoWriter(opencv_path(path), cv2.CAP_FFMPEG, vp8, fps, size)
        if not self._writer.isOpened():
            raise OSError("OpenCV cannot write a video here")
        self._count = 0

    def write(self, picture: UInt8Array) -> None:
        self._writer.write(picture)
        self._count += 1

    def close(self) -> None:
        self._writer.release()
        # OpenCV does not report a failed write, for example on a full disk; only reading the file back shows it.
        reader = cv2.VideoCapture(opencv_path(self._path), cv2.CAP_FFMPEG)
        readable = reader.isOpened() and reader.read()[0]
        count = round(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if readable else 0
        reader.release()
        if count < self._count:
            raise OSError("it is incomplete; is the disk full?")
