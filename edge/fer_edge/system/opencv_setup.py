"""Configure OpenCV (no log output, one thread, no global FFmpeg lock), and check the paths passed to it."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

import cv2

from fer_edge.errors import InputError

# FFmpeg's AV_LOG_QUIET, https://ffmpeg.org/doxygen/trunk/group__lavu__log__constants.html
_FFMPEG_QUIET = "-8"
# cv::utils::logging::LOG_LEVEL_SILENT, which only newer bindings define.
_LOG_SILENT = 0

_MIN_ALLOC_BYTES = 64 << 20
"""FFmpeg also allocates packets and tables in one piece, which must not fail because ``max_pixels`` is small."""


def set_up_opencv(threads: int = 1) -> None:
    """Configure OpenCV. Call once, before the first capture; log levels set in the environment are kept.

    ``threads`` is 1 by default: Haar searches of small regions gain nothing from more, and a Pi has other work.

    >>> set_up_opencv()
    >>> cv2.getNumThreads()
    1
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _FFMPEG_QUIET)
    # Otherwise a stream that does not respond holds a global lock, and no other thread can open a file, a stream or a
    # video writer. FFmpeg has not needed this lock since version 4: https://github.com/opencv/opencv/issues/24229
    os.environ.setdefault("OPENCV_FFMPEG_IS_THREAD_SAFE", "1")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # OpenCV 4.11, used on Bookworm, has the function at top level; 4.14 has it only in utils.logging.
        set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
        set_level(_LOG_SILENT)
    cv2.setNumThreads(threads)


def opencv_path(path: Path | str) -> str:
    """Return ``path`` as OpenCV takes it. Every path that is passed to OpenCV goes through this function.

    Raises:
        InputError: if it is not valid UTF-8, which ends the interpreter with SIGSEGV in OpenCV 4.

    >>> opencv_path(Path("clip.mp4"))
    'clip.mp4'
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{path}: the path is not valid UTF-8, which OpenCV requires; rename the file") from None
    return str(path)


class _DecoderLimit:
    """The limit of FFmpeg's allocations in the whole process, for the largest ``max_pixels``."""

    max_bytes = 0


def limit_decoder(max_pixels: int) -> None:
    """Have FFmpeg refuse to decode pictures much larger than ``max_pixels`` (a plane of them is one allocation).

    OpenCV passes no codec options on, such as FFmpeg's own ``max_pixels``. Does nothing if OpenCV was built without a
    shared libavutil, or not on Linux: then a larger picture is refused after it was decoded.
    """
    max_bytes = max(_MIN_ALLOC_BYTES, 4 * max_pixels)  # 4 bytes per pixel: RGBA is one plane
    if max_bytes <= _DecoderLimit.max_bytes:
        return
    _DecoderLimit.max_bytes = max_bytes
    try:
        loaded = re.search(r"/\S*/libavutil\S*", Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace"))
        if loaded is not None:
            ctypes.CDLL(loaded.group()).av_max_alloc(ctypes.c_size_t(max_bytes))
    except (OSError, AttributeError):  # no /proc, or a library without this function
        return
