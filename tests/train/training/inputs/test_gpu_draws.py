"""The random numbers of the loop for GPUs: ranges, permutations, and the same numbers for a seed and an epoch."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_train.recipe.augmentation import AugmentSettings
from fer_train.training.gpu.draws import Draws, draw_epoch

EVERYTHING = AugmentSettings(
    erase_probability=0.5, blur=2.0, noise=0.1, degrade_probability=0.5, mixup_alpha=0.4, cutmix_alpha=0.4
)


def _inside(rectangles: np.ndarray) -> bool:
    first, last = rectangles[..., :2], rectangles[..., 2:]
    return bool(((first >= 0) & (first <= last) & (last <= 1 + 1e-6)).all())


@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 500), images=st.integers(4, 200), batch=st.integers(2, 4))
def test_each_image_once_and_each_partner_once_in_its_batch(seed: int, epoch: int, images: int, batch: int) -> None:
    drawn = draw_epoch(images, batch, EVERYTHING, (seed, epoch))
    steps = images // batch
    assert drawn.rows.shape == (steps, batch)
    assert len(set(drawn.rows.ravel().tolist())) == steps * batch
    assert 0 <= drawn.rows.min() <= drawn.rows.max() < images
    np.testing.assert_array_equal(np.sort(drawn.partner, axis=1), np.tile(np.arange(batch), (steps, 1)))
    assert _inside(drawn.erased)
    assert _inside(drawn.pasted)
    again = draw_epoch(images, batch, EVERYTHING, (seed, epoch))
    for name in Draws.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(drawn, name), getattr(again, name))
        assert len(getattr(drawn, name)) == steps


def test_another_epoch_has_other_numbers() -> None:
    first, second = (draw_epoch(100, 10, EVERYTHING, (1, epoch)) for epoch in (0, 1))
    assert not np.array_equal(first.rows, second.rows)
    assert not np.array_equal(first.affine, second.affine)


def test_what_is_off_changes_nothing() -> None:
    off = AugmentSettings(flip=0, rotate_degrees=0, scale=0, shift=0, brightness=0, contrast=0, erase_probability=0)
    drawn = draw_epoch(60, 6, off, (3, 0))
    np.testing.assert_array_equal(drawn.affine, np.tile(np.eye(2, 3, dtype=np.float32), (10, 6, 1, 1)))
    np.testing.assert_array_equal(drawn.contrast, 1)
    np.testing.assert_array_equal(drawn.share, 1)
    for name in ("brightness", "erased", "sigma", "noise", "pasted"):
        np.testing.assert_array_equal(getattr(drawn, name), 0)


def test_the_numbers_have_the_ranges_of_the_recipe() -> None:
    drawn = draw_epoch(20000, 20, EVERYTHING, (5, 2))
    assert np.abs(drawn.contrast - 1).max() == pytest.approx(EVERYTHING.contrast, rel=0.01)
    assert np.abs(drawn.brightness).max() == pytest.approx(255 * EVERYTHING.brightness, rel=0.01)
    assert drawn.sigma.max() == pytest.approx(EVERYTHING.blur, rel=0.01)
    assert (drawn.sigma > 0).mean() == pytest.approx(EVERYTHING.degrade_probability, abs=0.02)
    area = (drawn.erased[..., 2] - drawn.erased[..., 0]) * (drawn.erased[..., 3] - drawn.erased[..., 1])
    assert (area > 0).mean() == pytest.approx(EVERYTHING.erase_probability, abs=0.02)
    assert area.max() <= EVERYTHING.erase_area + 1e-6
    zoom = 1 / np.sqrt(np.abs(np.linalg.det(drawn.affine[..., :2])))
    assert zoom.min() == pytest.approx(1 - EVERYTHING.scale, abs=0.01)
    assert zoom.max() == pytest.approx(1 + EVERYTHING.scale, abs=0.01)
    assert (np.linalg.det(drawn.affine[..., :2]) < 0).mean() == pytest.approx(EVERYTHING.flip, abs=0.02)


def test_with_mixup_and_cutmix_each_step_has_one_of_them() -> None:
    drawn = draw_epoch(2000, 10, EVERYTHING, (7, 0))
    pasted = drawn.pasted.any(axis=1)
    assert 0.4 < pasted.mean() < 0.6
    assert (drawn.share[pasted] == 1).all()
    assert (drawn.share[~pasted] < 1).all()


def test_mixup_alone_is_in_each_step() -> None:
    only_mixup = draw_epoch(2000, 10, msgspec.structs.replace(EVERYTHING, cutmix_alpha=0), (7, 0))
    assert (only_mixup.share < 1).all()
    assert not only_mixup.pasted.any()
