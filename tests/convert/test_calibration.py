"""The representative data set is fixed and balanced, and covers the whole range of pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fer_convert.quantization.calibration import PER_CLASS, calibration_images, choose_indices, committed_rows
from fer_edge.errors import InputError
from fer_train.data.dataset import TRAINING, Dataset, Split, leak_free_training, load_dataset
from support.data.fer2013 import real_fer2013, write_mini_fer2013


@pytest.fixture
def mini(tmp_path: Path) -> Dataset:
    return load_dataset(write_mini_fer2013(tmp_path / "fer2013.csv", leaks=4, blanks=2), cache=False)


def test_the_choice_is_fixed_balanced_and_free_of_leaks_and_blanks(mini: Dataset) -> None:
    chosen = choose_indices(mini, per_class=5)
    np.testing.assert_array_equal(chosen, choose_indices(mini, per_class=5))
    split = mini.splits[TRAINING]
    assert np.bincount(split.labels[chosen]).tolist() == [5] * 7
    assert set(chosen) <= set(leak_free_training(mini))
    assert all(split.images[row].min() < split.images[row].max() for row in chosen)


def test_black_and_white_pin_the_range(mini: Dataset) -> None:
    images = calibration_images(mini)
    assert images.dtype == np.uint8
    assert not images[-2].any()
    assert (images[-1] == 255).all()


def test_a_data_set_without_training_rows_is_refused(mini: Dataset) -> None:
    empty = {**mini.splits, TRAINING: Split(mini.splits[TRAINING].images[:0], mini.splits[TRAINING].labels[:0])}
    with pytest.raises(InputError):
        choose_indices(Dataset("none", mini.labels, empty, "0" * 64))


def test_the_committed_choice_is_what_the_rule_gives_on_the_real_data() -> None:
    dataset = real_fer2013()
    committed = committed_rows()
    assert committed.rows_sha256 == dataset.rows_sha256
    np.testing.assert_array_equal(committed.training_rows, choose_indices(dataset))
    labels = dataset.splits[TRAINING].labels[committed.training_rows]
    assert np.bincount(labels).tolist() == [PER_CLASS] * 7
