"""The candidates that are built from this project's parts: FER-Edge, and the pipeline of the tutorials.

``processes`` runs this module as ``python -m fer_bench.pipeline.candidates`` in a separate process.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fer_bench.pipeline.worker import Candidate, Picture, Seen, serve
from fer_edge.images.resample import resample
from fer_edge.model.bundle import ModelBundle, load_bundle
from fer_edge.pipeline import Pipeline
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.detection.haar import load_cascade
from fer_edge.system.opencv_setup import set_up_opencv
from fer_edge.telemetry import Telemetry
from fer_edge.types import Frame, UInt8Array

FER_EDGE, TUTORIAL, TUTORIAL_TFLITE = "fer-edge", "tutorial", "tutorial-tflite"
_HAAR = "detectMultiScale(gray, 1.3, 5) on the whole frame"


class _Timed:
    """Stage times of each scene, over all rounds."""

    def __init__(self) -> None:
        self._scenes: defaultdict[str, Telemetry] = defaultdict(Telemetry)
        self._telemetry = Telemetry()

    def _begin(self, scene: str | None) -> None:
        self._telemetry = Telemetry() if scene is None else self._scenes[scene]

    def stages(self, scene: str) -> dict[str, list[float]]:
        """See ``Candidate.stages``. ``frame`` is left out, because the whole frame is timed elsewhere."""
        found = self._scenes[scene].snapshot().stages
        return {
            name: [stage.p50_ms, stage.p95_ms, stage.p99_ms, stage.calls]
            for name, stage in found.items()
            if name != "frame"
        }

    def _gray(self, picture: Picture) -> UInt8Array:
        with self._telemetry.stage("grey"):
            return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), dtype=np.uint8)


class FerEdge(_Timed):
    """The pipeline that ``fer-edge run`` builds for a file, at its default settings."""

    def __init__(self, bundle: ModelBundle, variant: str) -> None:
        super().__init__()
        set_up_opencv()  # as `fer-edge run` does: one thread
        self.how = f"fer-edge run at its defaults: Haar on a schedule, {variant}.tflite, tracking and smoothing"
        self.versions = _versions("ai-edge-litert", "tflite-runtime")
        self._pipeline = Pipeline.from_bundle(bundle, RuntimeSettings(), variant)
        self.begin(None, 1.0)  # refuses a bad bundle before any scene is drawn

    def begin(self, scene: str | None, fps: float) -> None:
        """Start a new run, without the tracks of the last scene."""
        self._begin(scene)
        self._fps = fps
        self._run = self._pipeline.open(telemetry=self._telemetry)

    def process(self, picture: Picture, index: int) -> list[Seen]:
        """Return the visible tracks: confirmed ones, also for a short time while they are not detected."""
        result = self._run.process(Frame("scene", index, index / self._fps, self._gray(picture)))
        return [[*track.box.as_list(), track.emotion] for track in result.tracks]


class Tutorial(_Timed):
    """The pipeline of the tutorials: search each whole frame, and classify each detected face."""

    def __init__(self, classify: Callable[[UInt8Array], str], how: str, versions: dict[str, str]) -> None:
        super().__init__()
        self._cascade = load_cascade()
        self._classify = classify
        self.how, self.versions = how, versions
        # The first call of a Keras model compiles it.
        classify(np.zeros((64, 64), dtype=np.uint8))

    def begin(self, scene: str | None, fps: float) -> None:
        """Start a new scene; nothing is kept from frame to frame."""
        self._begin(scene)

    def process(self, picture: Picture, index: int) -> list[Seen]:
        """Return a box and a label for each detected face."""
        gray = self._gray(picture)
        with self._telemetry.stage("detect"):
            boxes = self._cascade.detectMultiScale(gray, 1.3, 5)
        seen: list[Seen] = []
        for x, y, width, height in (tuple(map(int, box)) for box in boxes):
            with self._telemetry.stage("classify"):
                label = self._classify(gray[y : y + height, x : x + width])
            seen.append([x, y, width, height, label])
        return seen


def _keras_tutorial(path: Path, labels: tuple[str, ...]) -> Tutorial:
    from fer_train.networks.model_files import check_contract, load_model

    model = load_model(path)
    size = check_contract(path, model, labels)

    def classify(face: UInt8Array) -> str:
        small = resample(face, *size)
        answer = model.predict(small[None, :, :, None].astype(np.float32), verbose=0)[0]
        return labels[int(np.argmax(answer))]

    how = f"{_HAAR}, then Keras model.predict on each face ({path.name})"
    return Tutorial(classify, how, _versions("keras", "tensorflow", "tensorflow-cpu", "jax", "torch"))


def _tflite_tutorial(bundle: ModelBundle, variant: str) -> Tutorial:
    classifier = EmotionClassifier(bundle, variant)

    def classify(face: UInt8Array) -> str:
        small = resample(face, classifier.crop_spec.height, classifier.crop_spec.width)
        return classifier.labels[int(np.argmax(classifier.logits(small)))]

    how = f"{_HAAR}, then {variant}.tflite on each face: no Keras"
    return Tutorial(classify, how, _versions("ai-edge-litert", "tflite-runtime"))


def load(request: dict[str, Any]) -> Candidate:
    """Return the candidate that ``request`` names. Raises FerEdgeError."""
    bundle = load_bundle(Path(request["bundle"]))
    if request["candidate"] == FER_EDGE:
        return FerEdge(bundle, request["variant"])
    if request["candidate"] == TUTORIAL:
        return _keras_tutorial(Path(request["keras"]), bundle.manifest.labels)
    return _tflite_tutorial(bundle, request["variant"])


def _versions(*distributions: str) -> dict[str, str]:
    found = {}
    for name in distributions:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return {**found, "opencv": cv2.__version__, "python": platform.python_version()}


if __name__ == "__main__":
    serve(load)
