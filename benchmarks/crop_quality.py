"""Measure which bad crops are misread, and which refused: the table in docs/explanation/crop-quality.md.

    python benchmarks/crop_quality.py [--every N] [--bundle DIR|ZIP]

Takes every Nth face of FER2013's PublicTest (FER_EDGE_DATA), degrades it in many ways, and classifies it with int8.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from fer_edge.errors import FerEdgeError
from fer_edge.images.resample import resample
from fer_edge.model.bundle import load_bundle
from fer_edge.settings.pipeline import QualitySettings
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.crop_quality import find_fault, measure
from fer_edge.types import Box, CropSpec, Face, FaceCrop, UInt8Array
from fer_train.data.dataset import PUBLIC_TEST, load_dataset

HEADER = "| face | top-1 | confidence − top-1 | refused | as | less symmetric |\n|---|---|---|---|---|---|"

Spoil = Callable[[UInt8Array], UInt8Array]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=4, metavar="N", help="take every Nth face (4)")
    parser.add_argument("--bundle", type=Path, help="folder or zip of a model bundle")
    arguments = parser.parse_args()
    try:
        split = load_dataset().splits[PUBLIC_TEST]
        images, labels = split.images[:: max(1, arguments.every)], split.labels[:: max(1, arguments.every)]
        with load_bundle(arguments.bundle) as bundle, EmotionClassifier(bundle) as classifier:
            sys.stdout.write(f"{len(images)} faces\n\n{HEADER}\n")
            plain = np.array([symmetry(image) for image in images])
            for name, spoil, inside, scale in spoiled_ways():
                crops = [crop_of(spoil(image), classifier.crop_spec, inside, scale) for image in images]
                answers = np.array([classifier.classify(crop).values for crop in crops])
                top1 = float(np.mean(answers.argmax(axis=1) == labels))
                gap = float(answers.max(axis=1).mean()) - top1
                found = [find_fault(measure(crop), QualitySettings()) for crop in crops]
                faults = Counter(fault.value.replace("_", " ") for fault in found if fault is not None)
                refused = faults.total() / len(crops)
                main_fault = faults.most_common(1)[0][0] if refused > 0.01 else ""
                less = float(np.mean(plain > np.array([symmetry(crop.pixels) for crop in crops])))
                row = f"{name} | {top1:.1%} | {100 * gap:+.0f} | {refused:.1%} | {main_fault} | {less:.0%}"
                sys.stdout.write(f"| {row} |\n")
                sys.stdout.flush()
    except FerEdgeError as error:
        sys.stderr.write(f"crop_quality.py: {error}\n")
        return error.exit_code
    return 0


def spoiled_ways() -> Iterator[tuple[str, Spoil, float, float]]:
    """Yield name, change of a 48x48 face, share of the crop inside the frame, and scale of the face."""
    yield "as it is", lambda image: image, 1.0, 1.0
    for side in (24, 20, 16):
        yield f"{side} pixels wide", partial(resample, height=side, width=side), 1.0, side / 48
    for sigma in (1.0, 1.5, 2.0):
        yield f"blurred, σ {sigma:g}", partial(blurred, sigma=sigma), 1.0, 1.0
    for length in (5, 9):
        yield f"moved by {length} pixels", partial(moved, length=length), 1.0, 1.0
    for gain in (0.5, 0.25, 0.12):
        yield f"{gain:g} of the light, noise σ 3", partial(lit, gain=gain, noise=3.0), 1.0, 1.0
    for gain in (1.5, 2.0, 3.0):
        yield f"{gain:g} times the light", partial(lit, gain=gain, noise=3.0), 1.0, 1.0
    for sigma in (10.0, 20.0):
        yield f"noise σ {sigma:g}", partial(lit, gain=1.0, noise=sigma), 1.0, 1.0
    for share in (0.3, 0.4, 0.5):
        yield f"{share:.0%} cut at the side", partial(shifted, right=share, down=0.0), 1 - share, 1.0
        yield f"{share:.0%} cut at the top", partial(shifted, right=0.0, down=share), 1 - share, 1.0
    for degrees in (30, 45):
        yield f"leaning by {degrees}°", partial(leaning, degrees=degrees), 1.0, 1.0
    for share in (0.4,):
        yield f"turned, {share:.0%} narrower", partial(turned, narrower=share), 1.0, 1.0


def crop_of(pixels: UInt8Array, spec: CropSpec, inside: float, scale: float) -> FaceCrop:
    """Return the model's crop of a degraded face, whose box is as wide as the face in FER2013's crops."""
    side = round(48 / spec.margin * scale)
    return FaceCrop(Face(Box(0, 0, side, side), 1.0), resample(pixels, spec.height, spec.width), inside)


def blurred(image: UInt8Array, sigma: float) -> UInt8Array:
    """Blur ``image`` as a lens out of focus does."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8)


def moved(image: UInt8Array, length: int) -> UInt8Array:
    """Blur ``image`` as a face that moves sideways by ``length`` pixels does."""
    return np.asarray(cv2.blur(image, (length, 1)), dtype=np.uint8)


def lit(image: UInt8Array, gain: float, noise: float) -> UInt8Array:
    """Return ``image`` with other light, and sensor noise that does not depend on it."""
    noisy = image * gain + np.random.default_rng(0).normal(0.0, noise, image.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def shifted(image: UInt8Array, right: float, down: float) -> UInt8Array:
    """Move the face beyond the frame's left or upper edge, which is repeated, as in ``crop_face``."""
    matrix = np.array([[1, 0, -right * 48], [0, 1, -down * 48]], dtype=np.float32)
    return np.asarray(cv2.warpAffine(image, matrix, (48, 48), borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def leaning(image: UInt8Array, degrees: float) -> UInt8Array:
    """Rotate the face in the plane of the picture."""
    matrix = cv2.getRotationMatrix2D((23.5, 23.5), degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (48, 48), borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def turned(image: UInt8Array, narrower: float) -> UInt8Array:
    """Distort the face like a photograph seen from the side; a turned head would also hide half of the face."""
    half, low = 47 * narrower / 2, 47 * narrower * 0.35
    source = np.array([[0, 0], [47, 0], [47, 47], [0, 47]], dtype=np.float32)
    target = np.array([[half, 0], [47 - half, low], [47 - half, 47 - low], [half, 47]], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    return np.asarray(cv2.warpPerspective(image, matrix, (48, 48), borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def symmetry(pixels: UInt8Array) -> float:
    """Return the correlation of the crop with its mirror image, which was tried as a measure for turned faces."""
    values = pixels.astype(np.float32) - pixels.mean()
    return float(np.vdot(values, values[:, ::-1]) / max(1e-6, float(np.vdot(values, values))))


if __name__ == "__main__":
    sys.exit(main())
