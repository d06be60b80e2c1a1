"""How OpenCV behaves in this program: silent, so that an error stays one line, with one thread, and no lock of all."""

from __future__ import annotations

import os

import cv2

# FFmpeg's AV_LOG_QUIET, https://ffmpeg.org/doxygen/trunk/group__lavu__log__constants.html
_FFMPEG_QUIET = "-8"
# cv::utils::logging::LOG_LEVEL_SILENT, which only newer bindings name.
_LOG_NOTHING = 0


def set_up_opencv(threads: int = 1) -> None:
    """Call once, before the first capture. Levels that the user set in the environment stay.

    One thread is the default: Haar searches of small regions gain nothing from more, and a Pi has other work.

    >>> set_up_opencv()
    >>> cv2.getNumThreads()
    1
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _FFMPEG_QUIET)
    # Else a stream that does not answer holds a lock for as long, and nobody opens a file, a stream or a video for
    # writing meanwhile. FFmpeg needs no such lock since its version 4: https://github.com/opencv/opencv/issues/24229
    os.environ.setdefault("OPENCV_FFMPEG_IS_THREAD_SAFE", "1")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # OpenCV 4.11, which Bookworm's lock file has, keeps the function at the top, and 4.14 in utils.logging alone.
        set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
        set_level(_LOG_NOTHING)
    cv2.setNumThreads(threads)
