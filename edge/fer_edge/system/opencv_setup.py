"""Configure OpenCV (no log output, one thread, no global FFmpeg lock), and check the paths passed to it."""

from __future__ import annotations

import os
from pathlib import Path

import cv2

from fer_edge.errors import InputError

# FFmpeg's AV_LOG_QUIET, https://ffmpeg.org/doxygen/trunk/group__lavu__log__constants.html
_FFMPEG_QUIET = "-8"
# cv::utils::logging::LOG_LEVEL_SILENT, which only newer bindings define.
_LOG_SILENT = 0


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
