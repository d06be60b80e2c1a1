"""``[source]``: where frames come from, camera controls, and the preprocessing of frames."""

import re
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from fer_edge.settings.base import Settings, require
from fer_edge.settings.values import MAX_IMAGE_SIDE_PX, NAME_PATTERN, ImageSide, Name, PixelFormatName, Rate

MAX_ZONES = 64
"""Zones of one source."""
MIN_MAX_PIXELS = 16 * 16
"""Smallest value of ``max_pixels``: the smallest frame that can be requested."""
_NEAREST = "to request from a camera, which may choose the nearest it supports. Ignored for files."


class SourceSettings(Settings, frozen=True):
    """``[source]``: where frames come from, camera controls, and the preprocessing of frames.

    >>> SourceSettings(uris=("demo",), rotate=90).rotate
    90
    """

    uris: Annotated[
        tuple[str, ...],
        Meta(
            description='Sources, in the form used on the command line: "demo", a video or image file, a folder of'
            ' images, "0" or "/dev/video0", "/dev/v4l/by-id/…" (the stable name of a camera; fer-edge doctor lists'
            ' them), "picamera2", "picamera2:ID" (fer-edge doctor lists the ids), "rtsp://…" or "http(s)://…". Several'
            ' sources run in parallel. "door=rtsp://…" gives a source a name.'
        ),
    ] = ()
    width: Annotated[ImageSide | None, Meta(description=f"Frame width in pixels {_NEAREST}", examples=[640])] = None
    height: Annotated[ImageSide | None, Meta(description=f"Frame height in pixels {_NEAREST}", examples=[480])] = None
    fourcc: Annotated[
        PixelFormatName,
        Meta(
            description="Pixel format of a USB camera (v4l2-ctl --list-formats shows the supported ones). `auto` is"
            " MJPG above 640x480 pixels if the camera supports it, otherwise the driver's current format."
        ),
    ] = "auto"
    fps: Annotated[
        Rate | None,
        Meta(
            description="Frames per second to request from a camera, and to assume for images and for videos without a"
            " frame rate.",
            examples=[15.0],
        ),
    ] = None
    sensor_mode: Annotated[
        Annotated[
            str,
            Meta(
                pattern=r"^(full|auto|[1-9]\d{1,4}x[1-9]\d{1,4})$",
                extra={"allowed": '"full", "auto", or a size such as "1640x1232"'},
            ),
        ],
        Meta(
            description="Sensor mode of a picamera2 camera. `full` is the smallest mode with the full field of view at"
            " `fps`. `auto` is picamera2's choice for the frame size, which may have a smaller field of view. A size"
            " selects the mode of that size."
        ),
    ] = "full"
    rotate: Annotated[Literal[0, 90, 180, 270], Meta(description="Clockwise rotation of each frame, in degrees.")] = 0
    mirror: Annotated[bool, Meta(description="Swap left and right, after the rotation.")] = False
    region: Annotated[
        tuple[float, ...],
        Meta(
            description="Part of the frame to process, as [x, y, width, height], after `rotate` and `mirror`. The"
            " values are fractions of the frame if all are at most 1, otherwise pixels. Boxes are relative to the"
            " region's top-left corner. Empty: the whole frame."
        ),
    ] = ()
    mask: Annotated[
        tuple[tuple[float, ...], ...],
        Meta(
            description="Zones to black out, each as [x, y, width, height] or as a polygon [x1, y1, x2, y2, x3, y3, …]."
            " The values are pixels or fractions of the frame after `rotate` and `mirror`, regardless of `region`."
        ),
    ] = ()
    zones: Annotated[
        dict[Name, tuple[float, ...]],
        Meta(
            description="Named areas in which faces and emotions are counted, each as [x, y, width, height] or as a"
            " polygon [x1, y1, x2, y2, x3, y3, …]. The values are pixels or fractions of the processed frame, after"
            " `rotate`, `mirror` and `region`. A face is in the zone of its centre. Zones must not overlap.",
            examples=[{"desk": [0.0, 0.5, 0.5, 0.5]}],
        ),
    ] = field(default_factory=dict)
    low_light: Annotated[
        Literal["off", "clahe", "gamma"],
        Meta(
            description="Contrast enhancement of dark frames: `clahe` works on each tile, `gamma` on the whole frame."
            " The classifier receives the enhanced frame."
        ),
    ] = "off"
    exposure_us: Annotated[
        Annotated[int, Meta(ge=1, le=10**9)] | None,
        Meta(description="Exposure time of a camera in microseconds. If not set, it is automatic.", examples=[10000]),
    ] = None
    gain: Annotated[
        Annotated[float, Meta(ge=0, le=10_000)] | None,
        Meta(
            description="Analogue gain of a picamera2 camera (1: no gain), or gain of a USB camera in its own units. If"
            " not set, it is automatic.",
            examples=[2.0],
        ),
    ] = None
    ev: Annotated[
        Annotated[float, Meta(ge=-8, le=8)] | None,
        Meta(
            description="Exposure compensation of a picamera2 camera in stops. If not set: the camera's default.",
            examples=[0.5],
        ),
    ] = None
    autofocus: Annotated[
        bool | None,
        Meta(
            description="Continuous autofocus, for cameras that support it. If not set: the camera's default.",
            examples=[False],
        ),
    ] = None
    lens_position: Annotated[
        Annotated[float, Meta(ge=0, le=32)] | None,
        Meta(description="Fixed focus of a picamera2 camera in dioptres: 0 is infinity, 10 is 10 cm.", examples=[1.0]),
    ] = None
    timeout_s: Annotated[
        Annotated[float, Meta(ge=0.1, le=3600)],
        Meta(
            description="Seconds without a frame after which a camera or stream is lost. Opening one may take three"
            " times as long."
        ),
    ] = 10.0
    follow_redirects: Annotated[
        tuple[
            Annotated[str, Meta(pattern=r"^[^\s/:@\[\]]+$", extra={"allowed": 'a host name such as "cam2.local"'})], ...
        ],
        Meta(
            description="Hosts to which the server of an HTTP stream may redirect, besides itself. Redirects to other"
            " hosts are not followed.",
            examples=[["cam2.local"]],
        ),
    ] = ()
    max_fps: Annotated[
        Rate | None,
        Meta(
            description="Maximum number of frames to process per second of the source's time; the others are skipped."
            " If not set, there is no limit.",
            examples=[10.0],
        ),
    ] = None
    max_pixels: Annotated[
        Annotated[int, Meta(ge=MIN_MAX_PIXELS, le=MAX_IMAGE_SIDE_PX**2)],
        Meta(
            description="Maximum number of pixels (width x height) of a picture. A film, stream or image with larger"
            " ones is refused, because decoding it would exhaust the memory of a Pi."
        ),
    ] = 4096 * 4096
    decoder: Annotated[
        Literal["auto", "opencv", "pyav"],
        Meta(
            description="What decodes films and streams. `auto` is PyAV if it is installed (extra `video`), else"
            " OpenCV. The pixels of the two differ slightly."
        ),
    ] = "auto"
    realtime: Annotated[
        bool,
        Meta(
            description="Play files in real time like a camera, and skip frames late by more than one frame. The"
            " demo scene then runs indefinitely."
        ),
    ] = False

    def _check(self) -> None:
        if self.region:
            require(len(self.region) == 4, "region must be [x, y, width, height]")
            _check_zone("region", self.region)
        for zone in self.mask:
            _check_zone("mask", zone)
        require(len(self.zones) <= MAX_ZONES, f"zones: at most {MAX_ZONES}")
        for name, zone in self.zones.items():
            _check_zone(f"zones.{name}", zone)
        require(not (self.autofocus and self.lens_position is not None), "lens_position needs autofocus off")


def _check_zone(name: str, zone: tuple[float, ...]) -> None:
    """Check that ``zone`` is a polygon or a non-empty rectangle, in fractions of the frame or in whole pixels.

    Raises:
        ValueError: If it is not; the message starts with ``name``.
    """
    polygon = len(zone) >= 6 and len(zone) % 2 == 0
    require(len(zone) == 4 or polygon, f"{name}: a zone must be [x, y, width, height] or a polygon of 3 or more points")
    inside = all(0 <= value <= MAX_IMAGE_SIDE_PX for value in zone)
    require(inside, f"{name}: values must be between 0 and {MAX_IMAGE_SIDE_PX}")
    shares = max(zone) <= 1
    whole = all(value == int(value) for value in zone)
    require(shares or whole, f"{name}: values must be whole pixels, or fractions that are all at most 1")
    if len(zone) == 4:
        require(zone[2] > 0 and zone[3] > 0, f"{name}: width and height must be above 0")


SHARED_KEYS = ("uris", "realtime")
"""The keys of ``[source]`` that are not a camera's own."""

if TYPE_CHECKING:

    class CameraSettings(msgspec.Struct, frozen=True):
        """``[cameras.NAME]``: a source with a name of its own, and what differs from ``[source]`` for it."""

        uri: str | UnsetType = UNSET
        max_fps: float | UnsetType | None = UNSET

else:
    _hints: dict[str, Any] = typing.get_type_hints(SourceSettings, include_extras=True)
    _URI = Annotated[str, Meta(description="The source, as in `source.uris`.", examples=["rtsp://nvr.lan/cam1"])]
    CameraSettings = msgspec.defstruct(
        "CameraSettings",
        [
            ("uri", _URI | UnsetType, UNSET),
            *((name, hint | UnsetType, UNSET) for name, hint in _hints.items() if name not in SHARED_KEYS),
        ],
        frozen=True,
        forbid_unknown_fields=True,
        module=__name__,
        namespace={
            "__doc__": "``[cameras.NAME]``: a source with a name of its own, and what differs from ``[source]`` for it."
        },
    )


def split_name(text: str) -> tuple[str | None, str]:
    """Return name and URI of ``text``, an item of ``source.uris``; the name is None if it has none.

    >>> split_name("door=rtsp://nvr.lan/cam1?channel=1"), split_name("rtsp://nvr.lan/cam1?channel=1")
    (('door', 'rtsp://nvr.lan/cam1?channel=1'), (None, 'rtsp://nvr.lan/cam1?channel=1'))
    """
    name, equals, uri = text.partition("=")
    if not equals or re.fullmatch(NAME_PATTERN, name) is None or _is_a_file(text):
        return None, text
    return name, uri


def _is_a_file(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False
