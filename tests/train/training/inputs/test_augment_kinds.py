"""Blur, noise and cutmix: their effect, labels that follow the pixels, and no effect when off."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.types import Float32Array
from fer_train.exploring.augmented import KINDS, only
from fer_train.recipe.augmentation import AugmentSettings
from fer_train.training.inputs.augmentation import cut_mix, degrade_batch, training_batch
from support.data.fer2013 import mini_images

OFF = AugmentSettings(
    flip=0, rotate_degrees=0, scale=0, shift=0, brightness=0, contrast=0, erase_probability=0, mixup_alpha=0
)
IMAGES = mini_images(list(range(7)), seed=3)
TARGETS = np.eye(7, dtype=np.float32)


def test_every_kind_has_a_name_and_each_alone_is_one_kind() -> None:
    fields = {field.name for field in msgspec.structs.fields(AugmentSettings)}
    others = {"erase_area", "degrade_probability"}
    assert {name for names in KINDS.values() for name in names} == fields - others
    strong = AugmentSettings(blur=2.0, noise=0.2, mixup_alpha=1.0, cutmix_alpha=1.0)
    for kind, names in KINDS.items():
        changed = only(strong, kind)
        assert all(bool(getattr(changed, name)) == (name in names) for name in fields - others), kind
        seen, told = training_batch(IMAGES, TARGETS, 48, changed, np.random.default_rng(5))
        seen = degrade_batch(seen, changed, np.random.default_rng(5))
        assert np.abs(seen[..., 0] - IMAGES).max() > 1, kind
        assert (not np.array_equal(told, TARGETS)) == (kind in {"mixup", "cutmix"}), kind


def batch(size: int) -> Float32Array:
    """Return the images as the network gets them if no kind is on, float32 [7, size, size, 1]."""
    return training_batch(IMAGES, TARGETS, size, OFF, np.random.default_rng(0))[0]


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), blur=st.floats(0, 16), noise=st.floats(0, 1), size=st.integers(16, 64))
def test_blur_and_noise_keep_pixels_and_repeat_by_seed(seed: int, blur: float, noise: float, size: int) -> None:
    changed = msgspec.structs.replace(OFF, blur=blur, noise=noise)
    given_images = batch(size)
    before = given_images.copy()
    first, second = (degrade_batch(given_images, changed, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(given_images, before)  # a teacher sees these
    assert first.shape == (7, size, size, 1)
    assert 0 <= first.min() <= first.max() <= 255


def test_blur_smooths_and_noise_has_the_width_it_is_given() -> None:
    flat = np.full((400, 48, 48, 1), 128, np.float32)
    seen = degrade_batch(flat, msgspec.structs.replace(OFF, noise=0.1), np.random.default_rng(0))
    widths = seen.std(axis=(1, 2, 3))
    assert 24 < widths.max() < 27  # a tenth of 255, or a little less
    assert widths.mean() == pytest.approx(255 * 0.05, rel=0.1)
    assert seen.mean() == pytest.approx(128, abs=0.5)
    sharp = np.abs(np.diff(IMAGES.astype(np.float32), axis=2)).mean()
    soft = degrade_batch(batch(48), msgspec.structs.replace(OFF, blur=3.0), np.random.default_rng(0))[..., 0]
    assert np.abs(np.diff(soft, axis=2)).mean() < sharp / 2
    assert soft.mean() == pytest.approx(IMAGES.mean(), abs=2)


def test_degrade_probability_is_the_share_of_images_with_noise() -> None:
    flat = np.full((1000, 8, 8, 1), 128, np.float32)
    some = msgspec.structs.replace(OFF, noise=0.2, degrade_probability=0.3)
    changed = (degrade_batch(flat, some, np.random.default_rng(1)) != 128).any(axis=(1, 2, 3))
    assert changed.mean() == pytest.approx(0.3, abs=0.05)


@given(seed=st.integers(0, 2**32 - 1), alpha=st.floats(0.05, 8))
def test_cutmix_shares_targets_as_it_shares_pixels(seed: int, alpha: float) -> None:
    # All pixels of image n have the value n, so that each pixel identifies its image.
    images = np.repeat(np.arange(7, dtype=np.float32), 20 * 24).reshape(7, 20, 24, 1)
    mixed, told = cut_mix(images, TARGETS, alpha, np.random.default_rng(seed))
    shares = np.stack([(mixed[..., 0] == number).mean(axis=(1, 2)) for number in range(7)], axis=1)
    np.testing.assert_allclose(told, shares, atol=1e-6)


def test_with_mixup_and_cutmix_each_batch_has_one_of_them() -> None:
    both = msgspec.structs.replace(OFF, mixup_alpha=1.0, cutmix_alpha=1.0)
    images = np.zeros((7, 48, 48), np.uint8)
    images[:3] = 200
    blended = [
        bool(np.isin(training_batch(images, TARGETS, 48, both, np.random.default_rng(seed))[0], (0, 200)).all())
        for seed in range(30)
    ]
    assert 5 < sum(blended) < 25  # cutmix creates no new grey level


def test_a_kind_that_is_off_draws_nothing() -> None:
    # Older recipes give the same results: this was the generator's next number after a batch without this kind.
    random = np.random.default_rng(7)
    training_batch(IMAGES, TARGETS, 48, AugmentSettings(), random)
    assert random.random() == pytest.approx(0.752977503597754, abs=1e-12)
