"""Recipes, batches and augmentation through their public functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import ConfigError
from fer_edge.settings.base import decode, to_table
from fer_edge.settings.toml_files import dump_toml
from fer_train.recipe.augmentation import AugmentSettings
from fer_train.recipe.loop import LoopSettings
from fer_train.recipe.recipe import Recipe, load_recipe
from fer_train.training.inputs.augmentation import augment_batch, mix_up
from support.environments.fresh_install import CHECKOUT

CONFIGS = CHECKOUT / "train" / "configs"
UNCHANGED = AugmentSettings(
    flip=0, rotate_degrees=0, scale=0, shift=0, brightness=0, contrast=0, erase_probability=0, mixup_alpha=0
)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_committed_recipe_reads_and_writes_back(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    copy = tmp_path / "copy.toml"
    copy.write_text(dump_toml(to_table(recipe)))
    assert load_recipe(copy) == recipe


@given(
    name=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30),
    epochs=st.integers(1, 500),
    rate=st.floats(1e-6, 1.0),
    share=st.floats(0, 0.99),
)
def test_any_recipe_survives_being_written(name: str, epochs: int, rate: float, share: float) -> None:
    recipe = Recipe(
        name=name,
        augment=AugmentSettings(flip=share),
        loop=LoopSettings(epochs=epochs, learning_rate=rate, label_smoothing=share),
    )
    import tomllib

    table = tomllib.loads(dump_toml(to_table(recipe)))
    assert decode(Recipe, table, "test") == recipe


@given(table=st.dictionaries(st.text(max_size=8), st.one_of(st.integers(), st.text(), st.booleans(), st.none())))
def test_no_table_of_the_wrong_form_passes_or_breaks_the_parser(table: dict[str, object]) -> None:
    known = {"name", "model", "augment", "loop"}
    if set(table) <= known and all(key == "name" and isinstance(value, str) for key, value in table.items()):
        return
    with pytest.raises(ConfigError):
        decode(Recipe, table, "test")


def test_no_augmentation_leaves_the_pixels_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    batch = augment_batch(images, 48, UNCHANGED, np.random.default_rng(1))
    np.testing.assert_allclose(batch[..., 0], images, atol=0.5)


def test_a_sure_flip_mirrors_exactly() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48), dtype=np.uint8)
    flipped = AugmentSettings(**{**to_table(UNCHANGED), "flip": 1.0})
    batch = augment_batch(images, 48, flipped, np.random.default_rng(1))
    np.testing.assert_allclose(batch[..., 0], images[:, :, ::-1], atol=0.5)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(16, 64))
def test_augmented_pixels_stay_pixels_and_repeat_by_seed(seed: int, size: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    strong = AugmentSettings(rotate_degrees=45, scale=0.5, shift=0.5, brightness=1, contrast=1, erase_probability=1)
    first, second = (augment_batch(images, size, strong, np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == (3, size, size, 1)
    assert first.dtype == np.float32
    assert 0 <= first.min() <= first.max() <= 255
    np.testing.assert_array_equal(first, second)


def test_the_same_place_stays_in_the_middle_at_every_size() -> None:
    # A dot in the exact middle must stay there when the warp resizes: a shift by half a pixel would blur every face.
    image = np.zeros((1, 49, 49), dtype=np.uint8)
    image[0, 22:27, 22:27] = 255
    for size in (33, 49, 65):
        batch = augment_batch(image, size, UNCHANGED, np.random.default_rng(0))[0, ..., 0]
        rows, columns = np.indices(batch.shape)
        assert (rows * batch).sum() / batch.sum() == pytest.approx((size - 1) / 2, abs=0.05)
        assert (columns * batch).sum() / batch.sum() == pytest.approx((size - 1) / 2, abs=0.05)


def test_mixup_keeps_targets_a_distribution() -> None:
    random = np.random.default_rng(3)
    images = random.uniform(0, 255, (8, 6, 6, 1)).astype(np.float32)
    targets = np.eye(7, dtype=np.float32)[random.integers(0, 7, 8)]
    mixed, soft = mix_up(images, targets, 0.4, random)
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    assert mixed.min() >= images.min() - 1e-3
    assert mixed.max() <= images.max() + 1e-3
