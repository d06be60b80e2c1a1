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

if TYPE_CHECKING:
    from fer_edge.daemon.watcher import Watcher as Watcher
    from fer_edge.errors import FerEdgeError as FerEdgeError
    from fer_edge.errors import InputError as InputError
    from fer_edge.errors import ModelError as ModelError
    from fer_edge.errors import OutputError as OutputError
    from fer_edge.errors import SourceLostError as SourceLostError
    from fer_edge.images.colour import to_gray as to_gray
    from fer_edge.model.bundle import ModelBundle as ModelBundle
    from fer_edge.model.bundle import load_bundle as load_bundle
    from fer_edge.pipeline import Pipeline as Pipeline
    from fer_edge.pipeline import SourceRun as SourceRun
    from fer_edge.protocols import Classifier as Classifier
    from fer_edge.protocols import ClosingSink as ClosingSink
    from fer_edge.protocols import ClosingSource as ClosingSource
    from fer_edge.protocols import EventSink as EventSink
    from fer_edge.protocols import FaceDetector as FaceDetector
    from fer_edge.protocols import FrameSource as FrameSource
    from fer_edge.protocols import NoFrame as NoFrame
    from fer_edge.recording.annotate import Annotator as Annotator
    from fer_edge.recording.video import AnnotatedVideo as AnnotatedVideo
    from fer_edge.settings.pipeline import DetectorSettings as DetectorSettings
    from fer_edge.settings.pipeline import ScheduleSettings as ScheduleSettings
    from fer_edge.settings.runtime import RuntimeSettings as RuntimeSettings
    from fer_edge.settings.runtime import load_settings as load_settings
    from fer_edge.settings.source import SourceSettings as SourceSettings
    from fer_edge.sinks.console import event_line as event_line
    from fer_edge.sinks.event_json import event_to_json as event_to_json
    from fer_edge.sources import open_source as open_source
    from fer_edge.sources.newest import NewestFrameSource as NewestFrameSource
    from fer_edge.stages.classification import EmotionClassifier as EmotionClassifier
    from fer_edge.stages.crop import crop_face as crop_face
    from fer_edge.stages.detection.haar import HaarFaceDetector as HaarFaceDetector
    from fer_edge.stages.detection.yunet import YuNetFaceDetector as YuNetFaceDetector
    from fer_edge.stills import FaceReader as FaceReader
    from fer_edge.stills import FaceReading as FaceReading
    from fer_edge.system.opencv_setup import set_up_opencv as set_up_opencv
    from fer_edge.system.version import __version__ as __version__
    from fer_edge.telemetry import Telemetry as Telemetry
    from fer_edge.types import UNCERTAIN as UNCERTAIN
    from fer_edge.types import Box as Box
    from fer_edge.types import CropSpec as CropSpec
    from fer_edge.types import EmotionEvent as EmotionEvent
    from fer_edge.types import EmotionProbabilities as EmotionProbabilities
    from fer_edge.types import EventKind as EventKind
    from fer_edge.types import Face as Face
    from fer_edge.types import FaceCrop as FaceCrop
    from fer_edge.types import Frame as Frame
    from fer_edge.types import FrameResult as FrameResult
    from fer_edge.types import Search as Search
    from fer_edge.types import TrackedEmotion as TrackedEmotion

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
        "system.version": ("__version__",),
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
    __all__ = list(_MODULES)

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
