"""Accuracy of the mean answer to several views of an image, as papers report it. A device classifies one view."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from fer_bench.accuracy.evaluation import logits_of, share, split_of
from fer_bench.results import REFERENCE, ShareResult
from fer_bench.runners import ModelRunner
from fer_edge.model.quantization import softmax
from fer_edge.types import UInt8Array
from fer_train.data.dataset import Dataset

VIEWED = (REFERENCE, "int8")
"""The variants that are measured: others agree with one of these, and slow ones would take hours."""
_CROP = 44 / 48
"""Side of a crop as a share of the image's: 44 of 48 pixels, as in most papers on FER2013."""

Views = Callable[[UInt8Array], Iterator[UInt8Array]]


def mirrored(images: UInt8Array) -> Iterator[UInt8Array]:
    """Yield ``images`` uint8 [N, H, W], then their mirror images."""
    yield images
    yield np.ascontiguousarray(images[:, :, ::-1])


def ten_crops(images: UInt8Array) -> Iterator[UInt8Array]:
    """Yield the four corners and the centre of ``images``, each enlarged to their size, and their mirror images."""
    height, width = images.shape[1:]
    tall, wide = round(height * _CROP), round(width * _CROP)
    down, right = height - tall, width - wide
    for top, left in ((0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)):
        crops = images[:, top : top + tall, left : left + wide]
        enlarged = [cv2.resize(crop, (width, height), interpolation=cv2.INTER_LINEAR) for crop in crops]
        yield from mirrored(np.stack(enlarged))


def views_of(runner: ModelRunner, dataset: Dataset, split: str) -> dict[str, ShareResult | None]:
    """Return the fields of ``AccuracyResult`` for views: the accuracy of the mean probabilities."""
    return {
        "mirrored": _accuracy(runner, dataset, split, mirrored),
        "ten_crops": _accuracy(runner, dataset, split, ten_crops),
    }


def _accuracy(runner: ModelRunner, dataset: Dataset, split: str, views: Views) -> ShareResult | None:
    images, truth = split_of(dataset, split)
    total = sum(softmax(logits_of(runner, view, dataset), runner.temperature) for view in views(images))
    return share(np.argmax(total, axis=1) == truth)
