"""Published speeds of Raspberry Pi boards, and what follows from them for the released bundles.

Each published time is copied from its source, which has a fixed revision. Everything else is calculated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_GITHUB = "https://github.com"
_TSUKAMOTO = f"{_GITHUB}/NobuoTsukamoto/benchmarks/blob/422e0a08dba7006dfa9bb6fbe81494689b39db42"
_TFLITE = f"{_TSUKAMOTO}/tensorflow/lite/efficentdet"
XNNPACK, TFLITE_2_5, TFLITE_PI_4, TFLITE_PI_5, OPENCV = "xnnpack", "tflite-2.5", "tflite-pi-4", "tflite-pi-5", "opencv"
SOURCES = {
    XNNPACK: f"{_GITHUB}/google/XNNPACK/blob/75db3c093b6d74fe90b8df82670cd8a01102ba38/README.md#raspberry-pi",
    TFLITE_2_5: f"{_TFLITE}/efficientdet.md",
    TFLITE_PI_4: f"{_TFLITE}/results/RasPi4_64bit/efficientdet_latency_v2.18.0.txt",
    TFLITE_PI_5: f"{_TFLITE}/results/RasPi5/efficientdet_latency_v2.18.0.txt",
    OPENCV: f"{_GITHUB}/opencv/opencv_zoo/blob/966be4cb6eefc2a4f586ed0581bf4bbaa2533070/benchmark/README.md",
}

Precision = Literal["int8", "float32"]
V1, V2, DETECTOR, YUNET = "MobileNet v1 1.0", "MobileNet v2 1.0", "EfficientDet-Lite0", "YuNet, 160×120"
PI_3, PI_4, PI_5, ZERO_2 = "Pi 3 B+", "Pi 4 B", "Pi 5", "Zero 2 W"
BOARDS = (ZERO_2, PI_3, PI_4, PI_5)

MACS = {V1: 569e6, V2: 300e6}
"""Multiply-accumulates at 224×224, of arXiv:1704.04861 (table 8) and arXiv:1801.04381 (table 4)."""
CLOCK_GHZ = {ZERO_2: 1.0, PI_3: 1.4}
"""Both have Cortex-A53 cores; by Raspberry Pi's product pages."""
FRAMES = ((320, 240), (640, 480), (1280, 720))
SEARCH_SHARE = 0.5
"""``schedule.budget_share``'s default."""
_YUNET_PIXELS = 160 * 120


@dataclass(frozen=True, slots=True)
class Published:
    """The mean time of one inference, as the source states it.

    Attributes:
        software: what ran it; times by different software are not compared.
        threads: all four cores, or one.
        source: a key of ``SOURCES``.
    """

    board: str
    network: str
    precision: Precision
    threads: Literal[1, 4]
    ms: float
    software: str
    source: str


_README = "XNNPACK, February 2022"
_2_5, _2_18 = "TensorFlow Lite 2.5.0", "TensorFlow Lite 2.18.0"
PUBLISHED = (
    Published(PI_3, V1, "int8", 4, 46, f"{_README}, 32-bit", XNNPACK),
    Published(PI_3, V2, "int8", 4, 30, f"{_README}, 32-bit", XNNPACK),
    Published(PI_3, V2, "float32", 4, 79, f"{_README}, 32-bit", XNNPACK),
    Published(PI_4, V1, "int8", 4, 24, _README, XNNPACK),
    Published(PI_4, V2, "int8", 4, 17, _README, XNNPACK),
    Published(PI_4, V2, "float32", 4, 46, _README, XNNPACK),
    Published(PI_3, DETECTOR, "int8", 1, 624.07, _2_5, TFLITE_2_5),
    Published(PI_3, DETECTOR, "int8", 4, 277.76, _2_5, TFLITE_2_5),
    Published(PI_3, DETECTOR, "float32", 1, 720.83, _2_5, TFLITE_2_5),
    Published(PI_4, DETECTOR, "float32", 4, 193.39, _2_5, TFLITE_2_5),
    Published(PI_4, DETECTOR, "int8", 1, 197.751, _2_18, TFLITE_PI_4),
    Published(PI_4, DETECTOR, "int8", 4, 78.0089, _2_18, TFLITE_PI_4),
    Published(PI_4, DETECTOR, "float32", 1, 328.651, _2_18, TFLITE_PI_4),
    Published(PI_4, DETECTOR, "float32", 4, 175.845, _2_18, TFLITE_PI_4),
    Published(PI_5, DETECTOR, "int8", 1, 44.1976, _2_18, TFLITE_PI_5),
    Published(PI_5, DETECTOR, "float32", 1, 104.012, _2_18, TFLITE_PI_5),
    Published(PI_4, YUNET, "float32", 4, 6.23, "OpenCV 4.10.0", OPENCV),
)


def published_ms(board: str, network: str, precision: Precision, threads: int, software: str | None = None) -> float:
    """Return the only published time of these; ``software`` is needed if there are several."""
    (found,) = (
        each.ms
        for each in PUBLISHED
        if (each.board, each.network, each.precision, each.threads) == (board, network, precision, threads)
        and software in (None, each.software)
    )
    return found


def int8_over_float32(board: str) -> float:
    """Return the published time of a network in int8 relative to float32."""
    if board == PI_5:
        return published_ms(PI_5, DETECTOR, "int8", 1) / published_ms(PI_5, DETECTOR, "float32", 1)
    return published_ms(board, V2, "int8", 4) / published_ms(board, V2, "float32", 4)


def macs_per_s(board: str, network: str = V2) -> float:
    """Return the calculated int8 multiply-accumulates per second of one core."""
    if board == ZERO_2:
        return macs_per_s(PI_3, network) * _relative_clock(ZERO_2)
    if board == PI_5:
        one_core = published_ms(PI_4, DETECTOR, "int8", 1) / published_ms(PI_5, DETECTOR, "int8", 1)
        return macs_per_s(PI_4, network) * one_core
    one_core = published_ms(board, DETECTOR, "int8", 4) / published_ms(board, DETECTOR, "int8", 1)
    return MACS[network] / (published_ms(board, network, "int8", 4) / 1e3) * one_core


def face_ms(board: str, macs: int) -> float:
    """Return the calculated time of one face for a bundle with ``macs`` multiply-accumulates, int8, on one core."""
    return macs / macs_per_s(board) * 1e3


def search_ms(board: str, width: int, height: int) -> float:
    """Return the calculated time in which one core searches a whole frame by YuNet."""
    if board == ZERO_2:
        return search_ms(PI_3, width, height) / _relative_clock(ZERO_2)
    software = _2_5 if board == PI_3 else _2_18
    one_core = published_ms(board, DETECTOR, "float32", 1, software)
    one_core /= published_ms(PI_4, DETECTOR, "float32", 4, software)
    return published_ms(PI_4, YUNET, "float32", 4) * width * height / _YUNET_PIXELS * one_core


def _relative_clock(board: str) -> float:
    """Return the board's clock relative to a Pi 3 B+."""
    return CLOCK_GHZ[board] / CLOCK_GHZ[PI_3]
