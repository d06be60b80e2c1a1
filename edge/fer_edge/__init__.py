"""FER-Edge: facial-expression recognition on a Raspberry Pi.

Events of a source: ``demo`` here, or a camera, a stream, a video file, a class of your own::

    from fer_edge import Pipeline, open_source

    for event in Pipeline.from_bundle().open(open_source("demo")).events():
        print(event.mono, event.kind, event.track_id, event.emotion)

Several sources in the background: ``Watcher``.

Faces of a single image, a NumPy array in grey or BGR::

    from fer_edge import FaceReader, load_bundle

    for face in FaceReader(load_bundle()).read(picture):
        print(face.box, face.emotion, face.confidence)

``UNCERTAIN`` is the emotion of a track without a clear expression, ``__version__`` the version of the package:

>>> import fer_edge
>>> fer_edge.UNCERTAIN, fer_edge.__version__
('uncertain', '0.1.0')

See docs/ for the documentation and edge/examples for small programs. Names are imported on first use, so that
``import fer_edge`` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fer_edge.system.version import __version__

if TYPE_CHECKING:
    from fer_edge.daemon.watcher import Watcher
    from fer_edge.errors import FerEdgeError, InputError, ModelError, OutputError, SourceLostError
    from fer_edge.images.colour import to_gray
    from fer_edge.model.bundle import ModelBundle, load_bundle
    from fer_edge.pipeline import Pipeline, SourceRun
    from fer_edge.protocols import Classifier, ClosingSink, ClosingSource, EventSink, FaceDetector, FrameSource, NoFrame
    from fer_edge.recording.annotate import Annotator
    from fer_edge.recording.video import AnnotatedVideo
    from fer_edge.settings.pipeline import DetectorSettings, ScheduleSettings
    from fer_edge.settings.runtime import RuntimeSettings, load_settings
    from fer_edge.settings.source import SourceSettings
    from fer_edge.sinks.console import event_line
    from fer_edge.sinks.event_json import event_to_json
    from fer_edge.sources import open_source
    from fer_edge.sources.newest import NewestFrameSource
    from fer_edge.stages.classification import EmotionClassifier
    from fer_edge.stages.crop import crop_face
    from fer_edge.stages.detection.haar import HaarFaceDetector
    from fer_edge.stages.detection.yunet import YuNetFaceDetector
    from fer_edge.stills import FaceReader, FaceReading
    from fer_edge.system.opencv_setup import set_up_opencv
    from fer_edge.telemetry import Telemetry
    from fer_edge.types import (
        UNCERTAIN,
        Box,
        CropSpec,
        EmotionEvent,
        EmotionProbabilities,
        EventKind,
        Face,
        FaceCrop,
        Frame,
        FrameResult,
        Search,
        TrackedEmotion,
    )

__all__ = [
    "UNCERTAIN",
    "AnnotatedVideo",
    "Annotator",
    "Box",
    "Classifier",
    "ClosingSink",
    "ClosingSource",
    "CropSpec",
    "DetectorSettings",
    "EmotionClassifier",
    "EmotionEvent",
    "EmotionProbabilities",
    "EventKind",
    "EventSink",
    "Face",
    "FaceCrop",
    "FaceDetector",
    "FaceReader",
    "FaceReading",
    "FerEdgeError",
    "Frame",
    "FrameResult",
    "FrameSource",
    "HaarFaceDetector",
    "InputError",
    "ModelBundle",
    "ModelError",
    "NewestFrameSource",
    "NoFrame",
    "OutputError",
    "Pipeline",
    "RuntimeSettings",
    "ScheduleSettings",
    "Search",
    "SourceLostError",
    "SourceRun",
    "SourceSettings",
    "Telemetry",
    "TrackedEmotion",
    "Watcher",
    "YuNetFaceDetector",
    "__version__",
    "crop_face",
    "event_line",
    "event_to_json",
    "load_bundle",
    "load_settings",
    "open_source",
    "set_up_opencv",
    "to_gray",
]

if not TYPE_CHECKING:  # type checkers use the imports above, and can report a misspelled name
    _HOMES = {
        "daemon.watcher": ("Watcher",),
        "errors": ("FerEdgeError", "InputError", "ModelError", "OutputError", "SourceLostError"),
        "images.colour": ("to_gray",),
        "model.bundle": ("ModelBundle", "load_bundle"),
        "pipeline": ("Pipeline", "SourceRun"),
        "protocols": (
            "Classifier",
            "ClosingSink",
            "ClosingSource",
            "EventSink",
            "FaceDetector",
            "FrameSource",
            "NoFrame",
        ),
        "recording.annotate": ("Annotator",),
        "recording.video": ("AnnotatedVideo",),
        "settings.pipeline": ("DetectorSettings", "ScheduleSettings"),
        "settings.runtime": ("RuntimeSettings", "load_settings"),
        "settings.source": ("SourceSettings",),
        "sinks.console": ("event_line",),
        "sinks.event_json": ("event_to_json",),
        "sources": ("open_source",),
        "sources.newest": ("NewestFrameSource",),
        "stages.classification": ("EmotionClassifier",),
        "stages.crop": ("crop_face",),
        "stages.detection.haar": ("HaarFaceDetector",),
        "stages.detection.yunet": ("YuNetFaceDetector",),
        "stills": ("FaceReader", "FaceReading"),
        "system.opencv_setup": ("set_up_opencv",),
        "telemetry": ("Telemetry",),
        "types": (
            "UNCERTAIN",
            "Box",
            "CropSpec",
            "EmotionEvent",
            "EmotionProbabilities",
            "EventKind",
            "Face",
            "FaceCrop",
            "Frame",
            "FrameResult",
            "Search",
            "TrackedEmotion",
        ),
    }
    _MODULES = {name: f"{__name__}.{module}" for module, names in _HOMES.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
