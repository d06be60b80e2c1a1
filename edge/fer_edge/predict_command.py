"""``fer-edge predict``: every face in each image, with box, label and probabilities."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.annotate import Annotator, canvas, draw_box, draw_label, draw_probabilities
from fer_edge.bundle import ModelManifest, load_bundle
from fer_edge.classification import EmotionClassifier
from fer_edge.config import RuntimeSettings
from fer_edge.crop import crop_face
from fer_edge.crop_quality import find_fault, measure
from fer_edge.detection import HaarFaceDetector
from fer_edge.errors import FerEdgeError, OutputError
from fer_edge.files import file_identity
from fer_edge.image_files import check_readable, list_images, read_gray, write_image
from fer_edge.opencv_setup import set_up_opencv
from fer_edge.schedule import sweep_tiles
from fer_edge.types import UNCERTAIN, CropFault, EmotionProbabilities, Face, UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class FaceReading:
    """One face of an image and what the classifier says of it; ``fault`` is why that should not be relied on."""

    face: Face
    probabilities: EmotionProbabilities
    fault: CropFault | None


@dataclass(frozen=True, slots=True, eq=False)
class ImageReading:
    """One image file, its grey pixels uint8 [H, W], and its faces from left to right."""

    path: Path
    gray: UInt8Array
    faces: tuple[FaceReading, ...]


def run(arguments: argparse.Namespace) -> int:
    """Carry out ``fer-edge predict``; returns 0, also when no face was found. Raises FerEdgeError."""
    set_up_opencv()
    paths = [found for path in arguments.images for found in (list_images(path) if path.is_dir() else [path])]
    for path in paths:  # before any work: a mistyped name should not cost the time of the others
        check_readable(path)
    folder: Path | None = arguments.annotate
    targets: list[Path | None] = [None] * len(paths)
    if folder is not None:
        _prepare(folder)
        targets = [*_targets(paths, folder)]
    entries: list[dict[str, Any]] = []
    with (
        load_bundle(arguments.bundle) as bundle,
        EmotionClassifier(bundle, arguments.variant) as classifier,
    ):
        settings = RuntimeSettings().for_still()
        detector = HaarFaceDetector(settings.detector)
        try:
            for path, target in zip(paths, targets, strict=True):
                reading = read_image(path, detector, classifier, settings)
                if target is not None:
                    write_image(target, draw_reading(reading, classifier.labels))
                entries.append(_entry(reading, classifier.labels, target))
        except FerEdgeError:
            if entries:  # what is done is told, and then what went wrong
                _report(entries, bundle.manifest, arguments, classifier.labels)
            raise
        _report(entries, bundle.manifest, arguments, classifier.labels)
    return 0


def read_image(
    path: Path, detector: HaarFaceDetector, classifier: EmotionClassifier, settings: RuntimeSettings
) -> ImageReading:
    """Find and classify every face of the image at ``path``, as ``settings``, which are for a still, say.

    A crop that a stream would wait to see better is classified too, and its fault told: no other picture comes.
    Raises InputError when the image cannot be read.
    """
    gray = read_gray(path)
    height, width = gray.shape
    (search,) = sweep_tiles((width, height), settings.schedule, settings.detector.min_face)
    faces = detector.detect(gray, search.region, scale=search.scale, min_face=search.min_face)
    readings = []
    for face in sorted(faces, key=lambda face: (face.box.x, face.box.y)):
        crop = crop_face(gray, face, classifier.crop_spec)
        readings.append(FaceReading(face, classifier.classify(crop), find_fault(measure(crop), settings.quality)))
    return ImageReading(path, gray, tuple(readings))


def draw_reading(reading: ImageReading, labels: Sequence[str]) -> UInt8Array:
    """The image as uint8 BGR [H, W, 3] with boxes, labels, and a bar for each label's probability."""
    annotator = Annotator(labels)
    colours = {label: annotator.colour(label) for label in labels}
    picture = canvas(reading.gray)
    for item in reading.faces:
        values = _by_label(item.probabilities, labels)
        draw_probabilities(picture, item.face.box, values, colours)
    for item in reading.faces:
        label = labels[item.probabilities.top]
        told = f"{label} {float(item.probabilities.values[item.probabilities.top]):.0%}"
        if item.fault is not None:
            told += f" ({_in_words(item.fault)})"
        colour = colours[label] if item.fault is None else annotator.colour(UNCERTAIN)
        draw_box(picture, item.face.box, colour)
        draw_label(picture, item.face.box, told, colour)
    return picture


def _entry(reading: ImageReading, labels: Sequence[str], annotated: Path | None) -> dict[str, Any]:
    height, width = reading.gray.shape
    faces = [
        {
            "box": item.face.box.as_list(),
            "score": round(item.face.score, 3),
            "emotion": labels[item.probabilities.top],
            "confidence": round(float(item.probabilities.values[item.probabilities.top]), 4),
            "probabilities": {label: round(value, 4) for label, value in _by_label(item.probabilities, labels).items()},
            "fault": item.fault,
        }
        for item in reading.faces
    ]
    entry: dict[str, Any] = {"file": str(reading.path), "width": width, "height": height, "faces": faces}
    return entry if annotated is None else {**entry, "annotated": str(annotated)}


def _report(
    entries: Sequence[dict[str, Any]], manifest: ModelManifest, arguments: argparse.Namespace, labels: Sequence[str]
) -> None:
    if arguments.json:
        model = {"bundle": manifest.name, "version": manifest.version, "variant": arguments.variant}
        sys.stdout.write(json.dumps({**model, "images": entries}, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_table(entries, labels))


def _table(entries: Sequence[dict[str, Any]], labels: Sequence[str]) -> str:
    width = max(10, *(len(entry["file"]) for entry in entries))
    heads = " ".join(f"{label[:8]:>8}" for label in labels)
    lines = [f"{'file':<{width}}  {'box x,y,w,h':<19}  {'emotion':<10}  {heads}  fault"]
    for entry in entries:
        if not entry["faces"]:
            lines.append(f"{entry['file']:<{width}}  no face found")
        for face in entry["faces"]:
            box = ",".join(str(value) for value in face["box"])
            shares = " ".join(f"{face['probabilities'][label]:>8.1%}" for label in labels)
            fault = f"  {_in_words(face['fault'])}" if face["fault"] else ""
            lines.append(f"{entry['file']:<{width}}  {box:<19}  {face['emotion']:<10}  {shares}{fault}")
    return "\n".join(lines) + "\n"


def _in_words(fault: str) -> str:
    return fault.replace("_", " ")


def _by_label(probabilities: EmotionProbabilities, labels: Sequence[str]) -> dict[str, float]:
    return {label: float(value) for label, value in zip(labels, probabilities.values, strict=True)}


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make the folder: {error.strerror}") from error


def _targets(paths: Sequence[Path], folder: Path) -> list[Path]:
    """``<stem>-annotated.jpg`` in ``folder`` for each path, numbered where that is an input or another's copy."""
    taken = {file_identity(path) for path in paths}
    targets = []
    for path in paths:
        target, number = folder / f"{path.stem}-annotated.jpg", 2
        while file_identity(target) in taken:
            target, number = folder / f"{path.stem}-annotated-{number}.jpg", number + 1
        taken.add(file_identity(target))
        targets.append(target)
    return targets
