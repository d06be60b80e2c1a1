"""``fer-edge predict``: classify every face in images; print box, label and probabilities."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
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
                    entries.append(_predict(path, target, reader, settings.source.max_pixels, manifest.labels))
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


def _predict(
    path: Path, target: Path | None, reader: FaceReader, max_pixels: int, labels: Sequence[str]
) -> dict[str, Any]:
    """Return the entry of an image, whose faces are found in grey, and write its annotated copy to ``target``."""
    if target is None:
        gray = read_gray(path, max_pixels)
        return _entry(path, gray, reader.read(gray))
    gray, bgr = read_gray_and_colour(path, max_pixels)
    faces = reader.read(gray)
    write_image(target, _drawn(to_bgr(gray) if bgr is None else bgr, faces, labels))
    return {**_entry(path, gray, faces), "annotated": str(target)}


def _drawn(picture: UInt8Array, faces: Sequence[FaceReading], labels: Sequence[str]) -> UInt8Array:
    """Draw boxes, labels and a probability bar for each label into ``picture``, uint8 BGR [H, W, 3], and return it."""
    annotator = Annotator(labels)
    colours = {label: annotator.colour(label) for label in labels}
    for item in faces:
        draw_probabilities(picture, item.box, item.by_label(), colours)
    for item in faces:
        text = f"{item.emotion} {item.confidence:.0%}"
        if item.fault is not None:
            text += f" ({_in_words(item.fault)})"
        colour = colours[item.emotion] if item.fault is None else annotator.colour(UNCERTAIN)
        draw_box(picture, item.box, colour)
        draw_label(picture, item.box, text, colour)
    return picture


def _entry(path: Path, gray: UInt8Array, faces: Sequence[FaceReading]) -> dict[str, Any]:
    height, width = gray.shape
    rows = [
        {
            "box": item.box.as_list(),
            "score": round(item.face.score, 3),
            "emotion": item.emotion,
            "confidence": round(item.confidence, 4),
            "probabilities": {label: round(value, 4) for label, value in item.by_label().items()},
            "fault": item.fault,
        }
        for item in faces
    ]
    return {"file": str(path), "width": width, "height": height, "faces": rows}


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
