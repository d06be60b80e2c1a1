"""``--views``: the mean over image and mirror image, and over ten crops."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_bench.accuracy.views import mirrored, ten_crops, views_of
from fer_edge.types import Float32Array, UInt8Array
from fer_train.data.dataset import Dataset, Split


@given(side=st.integers(12, 60), seed=st.integers(0, 2**31))
def test_ten_crops_are_five_places_and_their_mirror_images(side: int, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (2, side, side), dtype=np.uint8)
    views = list(ten_crops(images))
    assert len(views) == 10
    assert all(view.shape == images.shape and view.dtype == np.uint8 for view in views)
    for plain, flipped in zip(views[::2], views[1::2], strict=True):
        np.testing.assert_array_equal(flipped, plain[:, :, ::-1])
    crop = round(side * 44 / 48)
    corner = cv2.resize(images[0, side - crop :, side - crop :], (side, side), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(views[6][0], corner)


def test_mirrored_is_the_image_and_its_mirror_image() -> None:
    images = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    first, second = mirrored(images)
    np.testing.assert_array_equal(first, images)
    np.testing.assert_array_equal(second[0, 0], [3, 2, 1, 0])


class LeftIsBright:
    """Says class 1 if the left half is brighter than the right, and is surer the larger the difference is."""

    name, labels, temperature = "left", None, 1.0

    def logits(self, images: UInt8Array) -> Float32Array:
        half = images.shape[2] // 2
        difference = images[:, :, :half].mean(axis=(1, 2)) - images[:, :, half:].mean(axis=(1, 2))
        return np.stack([np.zeros_like(difference), difference], axis=1).astype(np.float32)


def test_the_mean_answer_counts() -> None:
    bright_left = np.zeros((1, 48, 48), np.uint8)
    bright_left[:, :, :24] = 200
    flat = np.full((1, 48, 48), 9, np.uint8)
    split = Split(np.concatenate([bright_left, flat]), np.array([1, 0], np.int64))
    dataset = Dataset("two", ("a", "b"), {"PublicTest": split}, "0" * 64)
    runner: Any = LeftIsBright()
    assert runner.logits(split.images).argmax(axis=1).tolist() == [1, 0]
    found = views_of(runner, dataset, "PublicTest")
    # Image and mirror image of the first disagree and cancel out, so that its answer becomes class 0.
    for name in ("mirrored", "ten_crops"):
        part = found[name]
        assert part is not None
        assert (part.n, part.correct) == (2, 1)
        assert part.accuracy == pytest.approx(0.5)
