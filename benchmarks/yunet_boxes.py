"""Fit the conversion of YuNet's boxes to Haar boxes, and compare accuracy and cost of both detectors.

    python benchmarks/yunet_boxes.py FILE

Needs FER2013 in ``FER_EDGE_DATA``; takes ten minutes. The conversion (``fer_edge.stages.detection.yunet``) is fitted to
faces of Training in drawn scenes, and tested on PublicTest.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fer_bench.pipeline.faces import Portrait, face_picture
from fer_bench.pipeline.raster import Placement, paint
from fer_bench.pipeline.scenes import background, developed, make_scene, sensor_noise
from fer_edge.model.bundle import load_bundle
from fer_edge.settings.pipeline import DetectorSettings, ScheduleSettings
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.crop import crop_face
from fer_edge.stages.detection.choice import make_detector
from fer_edge.stages.detection.yunet import SIDE_OF_HEIGHT, SIDE_OF_WIDTH, UP, haar_box
from fer_edge.stages.detection.yunet_model import YuNetModel, read_model
from fer_edge.stages.schedule.tiles import DetectorProfile, sweep_tiles
from fer_edge.system.opencv_setup import set_up_opencv
from fer_edge.types import Box, Face, Float32Array, Search, UInt8Array
from fer_train.data.dataset import PUBLIC_TEST, load_dataset
from fer_train.data.samples import Split

_SIZE = (320, 256)
_SIDES = (44.0, 150.0)
_TILT = 0.07
"""Tangent of the largest angle by which a face is tilted."""
_FITTED, _WALLS, _SEED = 3000, 8, 2013


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A face of row ``row`` in the picture ``gray``, uint8 [H, W], and the Haar box that it should have."""

    row: int
    gray: UInt8Array
    x: float
    y: float
    side: float

    @property
    def box(self) -> Box:
        """The true box."""
        side = round(self.side)
        return Box(round(self.x - side / 2), round(self.y - side / 2), side, side)

    def near(self, x: float, y: float) -> bool:
        """Return whether a box with this center may be the face's."""
        return max(abs(x - self.x), abs(y - self.y)) < 0.4 * self.side


def show(split: Split, count: int, seed: int) -> Iterator[Shown]:
    """Yield ``count`` random faces of ``split``, one per picture, with random sizes and places."""
    random = np.random.default_rng(seed)
    walls = [background((seed, number), *_SIZE) for number in range(_WALLS)]
    noise = sensor_noise((seed, _WALLS), _SIZE, 3.0)
    for number, row in enumerate(random.permutation(len(split))[:count]):
        face = face_picture(number, split.images[row], "")
        side = float(np.exp(random.uniform(math.log(_SIDES[0]), math.log(_SIDES[1]))))
        x, y = (float(random.uniform(0.6 * side, length - 0.6 * side)) for length in _SIZE)
        picture = walls[number % _WALLS].copy()
        tilt = _TILT * random.uniform(-1, 1)
        paint(picture, face.gray, face.opacity, face.centre, Placement(x, y, side / face.side, tilt))
        yield Shown(int(row), developed(picture, noise, number), x, y, side)


def surest(model: YuNetModel, shown: Shown) -> Float32Array | None:
    """Return YuNet's box of the face, if it found it."""
    answers = [a for a in model.run(shown.gray) if shown.near(a[0] + a[2] / 2, a[1] + a[3] / 2)]
    return max(answers, key=lambda answer: float(answer[-1]), default=None)


def fit(model: YuNetModel, split: Split) -> tuple[float, float, float]:
    """Return the shares of width and height that give the side, and the share of it by which the center moves up."""
    found = [(shown, surest(model, shown)) for shown in show(split, _FITTED, _SEED)]
    boxes = np.array([[*answer[:4], s.y, s.side] for s, answer in found if answer is not None], np.float64)
    sides = boxes[:, 2:4] / boxes[:, 5:]
    weights = np.ones(len(sides))
    for _ in range(10):  # Huber's weights: one box of half a face must not count more than many good ones
        weighted = weights[:, None]
        shares = np.linalg.lstsq(sides * weighted, weighted[:, 0], rcond=None)[0]
        off = np.abs(1 - sides @ shares)
        weights = 1 / np.sqrt(np.maximum(1, off / (2 * np.median(off))))
    up = np.median((boxes[:, 1] + boxes[:, 3] / 2 - boxes[:, 4]) / boxes[:, 5])
    return float(shares[0]), float(shares[1]), float(up)


def judge(model: YuNetModel, split: Split) -> None:
    """Print how many faces each detector finds, and the accuracy of the classifier on its crops."""
    haar = make_detector(DetectorSettings(min_face_px=24))
    right: defaultdict[str, int] = defaultdict(int)
    count: defaultdict[str, int] = defaultdict(int)
    with load_bundle(None) as bundle, EmotionClassifier(bundle, "int8") as classifier:
        for shown in show(split, len(split), _SEED + 1):
            answer = surest(model, shown)
            boxes = {"truth": shown.box}
            if answer is not None:
                boxes["yunet"] = haar_box(*map(float, answer[:4]))
            for face in haar.detect(shown.gray, Search.whole(shown.gray)):
                if shown.near(*face.box.centre):
                    boxes["haar"] = face.box
            for name, box in boxes.items():
                crop = crop_face(shown.gray, Face(box, 0.0), classifier.crop_spec)
                good = classifier.classify(crop).top == split.labels[shown.row]
                for key in (name, f"{name}, found by both") if len(boxes) == 3 else (name,):
                    right[key] += good
                    count[key] += 1
    for key in sorted(count):
        sys.stdout.write(f"{key:<22} {count[key]:>5} faces, {100 * right[key] / count[key]:.2f} % read rightly\n")


def costs(detectors: dict[str, DetectorSettings]) -> None:
    """Print processor time per megapixel, for tiles of a frame and for the region around its face."""
    scene = make_scene((640, 480), 1, 0, Portrait(), 0)
    made = {name: make_detector(settings) for name, settings in detectors.items()}
    seconds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for index in range(0, 60, 3):
        frame = scene.frame(index)
        face = frame.faces[0].box
        for name, settings in detectors.items():
            profile = DetectorProfile.of(settings)
            tiles = sweep_tiles((640, 480), ScheduleSettings(), profile)
            scale = profile.scaled_px(48) / face.width
            region = replace(tiles[0], region=face.grown(1.5).clipped(640, 480), scale=scale, track_id=1)
            for kind, searches in (("tile", tiles), ("region", (region,))):
                began = time.thread_time()
                for search in searches:
                    made[name].detect(
                        frame.gray, replace(search, min_face=None, max_face=None, known=search.track_id is not None)
                    )
                spent = time.thread_time() - began
                seconds[name, kind].append(spent / sum(search.megapixels for search in searches))
    for (name, kind), values in seconds.items():
        sys.stdout.write(f"{name:<6} {kind:<7} {np.median(values):.3f} s for a million pixels\n")


def main() -> None:
    """Print the fit, its accuracy, and costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="FILE", help="face_detection_yunet_2023mar.onnx")
    path: Path = parser.parse_args().model
    set_up_opencv()
    costs({"haar": DetectorSettings(), "yunet": DetectorSettings(kind="yunet", model=str(path))})
    dataset = load_dataset(None)
    model = YuNetModel(read_model(path), 0.4, 0.3)
    width, height, up = fit(model, dataset.splits["Training"])
    sys.stdout.write(f"side = {width:.3f} · width + {height:.3f} · height, up by {up:.3f} of it\n")
    sys.stdout.write(f"  in use: {SIDE_OF_WIDTH}, {SIDE_OF_HEIGHT}, {UP}\n")
    judge(model, dataset.splits[PUBLIC_TEST])


if __name__ == "__main__":
    main()
