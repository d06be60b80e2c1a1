"""Types and limits that several settings share."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

MAX_IMAGE_SIDE_PX = 16384
"""Maximum side of an image that settings accept."""
MAX_THREADS = 64
"""Maximum number of threads that settings accept. Threads beyond the number of cores only use memory."""
MAX_DURATION_S = 7 * 86_400
"""Maximum duration that a setting accepts, a week. A longer one is probably in the wrong unit."""
MIN_BUDGET_SHARE = 0.01
"""Minimum share of one core's time for face detection. With less, faces would not be detected."""

Share = Annotated[float, Meta(ge=0, le=1)]
"""A share or a probability."""
BudgetShare = Annotated[float, Meta(ge=MIN_BUDGET_SHARE, le=1)]
Threads = Annotated[int, Meta(ge=1, le=MAX_THREADS)]
ImageSide = Annotated[int, Meta(ge=16, le=MAX_IMAGE_SIDE_PX)]
Rate = Annotated[float, Meta(ge=0.01, le=1000)]
"""Frames per second."""
Hour = Annotated[float, Meta(ge=0, le=3600)]
"""A duration in seconds of up to an hour."""
Duration = Annotated[float, Meta(ge=0, le=MAX_DURATION_S)]
"""A duration in seconds of up to a week."""
QueueSize = Annotated[int, Meta(ge=1, le=1_000_000)]

HttpUrl = Annotated[str, Meta(pattern="^https?://", extra={"allowed": "a URL that begins with http:// or https://"})]

NAME_PATTERN = r"[^\W_][\w .-]{0,63}"
Name = Annotated[
    str,
    Meta(
        pattern=rf"^{NAME_PATTERN}$(?!\n)",
        extra={"allowed": "1 to 64 letters, digits, blanks, dots and hyphens, a letter or digit first"},
    ),
]
"""A name that a user gives to a camera, a zone or a group."""

PixelFormatName = Literal[
    "auto", "MJPG", "JPEG", "YUYV", "YVYU", "UYVY", "VYUY", "NV12", "NV21", "NV16", "YU12", "YV12", "422P",
    "GREY", "Y10", "Y12", "Y16", "RGB3", "BGR3",
]  # fmt: skip
"""Pixel formats of a V4L2 camera, as named by ``v4l2-ctl --list-formats``."""
