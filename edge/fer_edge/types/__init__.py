"""The values that travel between the stages: one small frozen dataclass for each arrow of the flow.

Import every name from ``fer_edge.types``; the modules behind it group them by topic. Classes that hold an array are
declared ``eq=False``, because the generated ``__eq__`` and ``__hash__`` would raise on it.
"""

from __future__ import annotations

from fer_edge.types.arrays import Float32Array, Float64Array, UInt8Array, check_gray, describe_type
from fer_edge.types.events import (
    UNCERTAIN,
    EmotionEvent,
    EventKind,
    FaceCounts,
    FrameResult,
    Presence,
    TrackedEmotion,
)
from fer_edge.types.faces import (
    HAAR_MARGIN,
    CropFault,
    CropSpec,
    EmotionProbabilities,
    Face,
    FaceCrop,
    Track,
    TrackReading,
)
from fer_edge.types.geometry import Box
from fer_edge.types.scene import Frame, SceneMotion, Search
from fer_edge.types.status import LATENCY_LIMITS_S, InterpreterInfo, RuntimeStatus, StageLatency, ZoneTotals

__all__ = [
    "HAAR_MARGIN",
    "LATENCY_LIMITS_S",
    "UNCERTAIN",
    "Box",
    "CropFault",
    "CropSpec",
    "EmotionEvent",
    "EmotionProbabilities",
    "EventKind",
    "Face",
    "FaceCounts",
    "FaceCrop",
    "Float32Array",
    "Float64Array",
    "Frame",
    "FrameResult",
    "InterpreterInfo",
    "Presence",
    "RuntimeStatus",
    "SceneMotion",
    "Search",
    "StageLatency",
    "Track",
    "TrackReading",
    "TrackedEmotion",
    "UInt8Array",
    "ZoneTotals",
    "check_gray",
    "describe_type",
]
