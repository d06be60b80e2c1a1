"""``fer-edge predict``: classify every face in images; print box, label and probabilities."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.errors import FerEdgeError
from fer_edge.images.files import check_readable, list_images, read_gray, read_gray_and_colour, write_image
from fer_edge.model.bundle import load_bundle
from fer_edge.model.manifest import ModelManifest
from fer_edge.recording.annotate import Annotator, draw_box, draw_label, draw_probabilities, to_bgr
from fer_edge.settings.runtime import load_settings
from fer_edge.stills import FaceReader, FaceReading
from fer_edge.system.files import create_folder, file_identity
from fer_edge.system.messages import print_message, printable
from fer_edge.system.opencv_setup import set_up_opencv
from fer_edge.system.progress import Progress
from fer_edge.types import UNCERTAIN, UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class ImageReading:
    """An image file, its pixels, grey uint8 [H, W] or BGR [H, W, 3], and its faces from left to right."""

    path: Path
    pixels: UInt8Array
    faces: tuple[FaceReading, ...]


def run(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge predict`` and return 0, even if no face was found. Raises FerEdgeError."""
    model = {"bundle": arguments.bundle, "variant": arguments.variant}
    settings = load_settings(overrides={"model": model})
    set_up_opencv(settings.detector.threads)
    paths = [found for path in arguments.images for found in (list_images(path) if path.is_dir() else [path])]
    for path in paths:  # checked first: a mistyped name should not cost the time of the others
        check_readable(path)
    folder: Path | None = arguments.annotate
    targets: list[Path | None] = [None] * len(paths)
    if folder is not None:
        create_folder(folder)
        targets = [*_targets(paths, folder)]
    entries: list[dict[str, Any]] = []
    with (
        load_bundle(settings.model.bundle) as bundle,
        FaceReader(bundle, settings) as reader,
    ):
        manifest = bundle.manifest
        try:
            with Progress(len(paths), "images") as progress:
                for path, target in zip(paths, targets, strict=True):
                    reading = _read(path, reader, settings.source.max_pixels, in_colour=target is not None)
                    if target is not None:
                        write_image(target, draw_reading(reading, manifest.labels))
                    entries.append(_entry(reading, target))
                    progress.show(len(entries))
        except FerEdgeError:
            if entries:  # print the finished results before the error
                _report(entries, manifest, settings.model.variant, as_json=arguments.json)
            raise
        _report(entries, manifest, settings.model.variant, as_json=arguments.json)
    if folder is not None:
        copies = "1 annotated copy" if len(entries) == 1 else f"{len(entries)} annotated copies"
        print_message(f"wrote {copies} to {folder}")
    return 0


def _read(path: Path, reader: FaceReader, max_pixels: int, *, in_colour: bool) -> ImageReading:
    """Return the faces of an image. They are found in grey. Raises InputError."""
    if not in_colour:
        gray = read_gray(path, max_pixels)
        return ImageReading(path, gray, reader.read(gray))
    gray, bgr = read_gray_and_colour(path, max_pixels)
    return ImageReading(path, gray if bgr is None else bgr, reader.read(gray))


def draw_reading(reading: ImageReading, labels: Sequence[str]) -> UInt8Array:
    """Return the image as uint8 BGR [H, W, 3] with boxes, labels and a probability bar for each label."""
    annotator = Annotator(labels)
    colours = {label: annotator.colour(label) for label in labels}
    picture = to_bgr(reading.pixels) if reading.pixels.ndim == 2 else reading.pixels.copy()
    for item in reading.faces:
        draw_probabilities(picture, item.box, item.by_label(), colours)
    for item in reading.faces:
        text = f"{item.emotion} {item.confidence:.0%}"
        if item.fault is not None:
            text += f" ({_in_words(item.fault)})"
        colour = colours[item.emotion] if item.fault is None else annotator.colour(UNCERTAIN)
        draw_box(picture, item.box, colour)
        draw_label(picture, item.box, text, colour)
    return picture


def _entry(reading: ImageReading, annotated: Path | None) -> dict[str, Any]:
    height, width = reading.pixels.shape[:2]
    faces = [
        {
            "box": item.box.as_list(),
            "score": round(item.face.score, 3),
            "emotion": item.emotion,
            "confidence": round(item.confidence, 4),
            "probabilities": {label: round(value, 4) for label, value in item.by_label().items()},
            "fault": item.fault,
        }
        for item in reading.faces
    ]
    entry: dict[str, Any] = {"file": str(reading.path), "width": width, "height": height, "faces": faces}
    return entry if annotated is None else {**entry, "annotated": str(annotated)}


def _report(entries: Sequence[dict[str, Any]], manifest: ModelManifest, variant: str, *, as_json: bool) -> None:
    if as_json:
        model = {"bundle": manifest.name, "version": manifest.version, "variant": variant}
        sys.stdout.write(json.dumps({**model, "images": entries}, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_table(entries, manifest.labels))


def _table(entries: Sequence[dict[str, Any]], labels: Sequence[str]) -> str:
    names = [printable(entry["file"]) for entry in entries]
    width = max(10, *map(len, names))
    heads = " ".join(f"{label[:8]:>8}" for label in labels)
    lines = [f"{'file':<{width}}  {'box x,y,w,h':<19}  {'emotion':<10}  {heads}  fault"]
    for name, entry in zip(names, entries, strict=True):
        if not entry["faces"]:
            lines.append(f"{name:<{width}}  no face found")
        for face in entry["faces"]:
            box = ",".join(str(value) for value in face["box"])
            shares = " ".join(f"{face['probabilities'][label]:>8.1%}" for label in labels)
            fault = f"  {_in_words(face['fault'])}" if face["fault"] else ""
            lines.append(f"{name:<{width}}  {box:<19}  {face['emotion']:<10}  {shares}{fault}")
    return "\n".join(lines) + "\n"


def _in_words(fault: str) -> str:
    return fault.replace("_", " ")


def _targets(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Return ``<stem>-annotated.jpg`` in ``folder`` for each path, numbered if that is an input or another output."""
    taken = {file_identity(path) for path in paths}
    targets = []
    for path in paths:
        target, number = folder / f"{path.stem}-annotated.jpg", 2
        while file_identity(target) in taken:
            target, number = folder / f"{path.stem}-annotated-{number}.jpg", number + 1
        taken.add(file_identity(target))
        targets.append(target)
    return targets
