"""Joint rounding of a kernel's weights: never worse than separate rounding, optimal, and kept by the converter."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_convert.export.tflite import export
from fer_convert.export.variants import VARIANTS, VariantSpec
from fer_convert.quantization.rounding import LEVELS, patch_moments, round_first_convolution, round_kernel
from fer_edge.model.interpreter import LiteRtModel

Vector = npt.NDArray[np.float64]


def cost(weights: Vector, rounded: Vector, moments: Vector) -> float:
    error = rounded - weights
    return float(error @ moments @ error)


def random_moments(seed: int, size: int) -> Vector:
    """Return patches that are bright with a little texture, as in grey pictures."""
    random = np.random.default_rng(seed)
    patches = random.uniform(0.1, 0.9, (200, 1)) + random.normal(0, 0.05, (200, size))
    return np.asarray(patches.T @ patches / len(patches))


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 9), scale=st.floats(1e-3, 1e3))
def test_it_stays_on_the_grid_and_never_loses_to_the_nearest(seed: int, size: int, scale: float) -> None:
    weights = np.random.default_rng(seed).normal(0, scale, size)
    moments = random_moments(seed, size)
    rounded = round_kernel(weights, moments)
    step = np.abs(weights).max() / LEVELS
    levels = rounded / step
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-6)
    assert np.abs(levels).max() <= LEVELS + 1e-6
    assert np.isclose(np.abs(rounded).max(), np.abs(weights).max())  # or the converter would choose another grid
    nearest = np.rint(weights / step) * step
    assert cost(weights, rounded, moments) <= cost(weights, nearest, moments) * (1 + 1e-9) + 1e-12 * scale**2


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_it_comes_close_to_the_best_of_all(seed: int) -> None:
    weights = np.random.default_rng(seed).normal(0, 1, 5)
    moments = random_moments(seed, 5)
    step = np.abs(weights).max() / LEVELS
    best = min(
        cost(weights, (np.rint(weights / step) + shift) * step, moments)
        for shift in map(np.array, itertools.product((-1, 0, 1), repeat=5))
        if not shift[np.abs(weights).argmax()]
    )
    nearest = cost(weights, np.rint(weights / step) * step, moments)
    reached = cost(weights, round_kernel(weights, moments), moments)
    assert reached <= best + 0.1 * (nearest - best) + 1e-12


def test_all_zero_weights_stay_zero() -> None:
    assert not round_kernel(np.zeros(9), np.eye(9)).any()


def test_moments_are_those_of_the_patches() -> None:
    images = np.full((2, 9, 9), 51, np.uint8)
    np.testing.assert_allclose(patch_moments(images, 3, 3), np.full((9, 9), 0.04))


def test_an_edge_detector_no_longer_answers_to_brightness(tmp_path: Path) -> None:
    """The intended case: kernels with a sum near 0, whose output the normalization after them amplifies."""
    import keras

    random = np.random.default_rng(0)
    pixels = keras.Input((24, 24, 1))
    hidden = keras.layers.Rescaling(1 / 255)(pixels)
    hidden = keras.layers.Conv2D(16, 3, use_bias=False, padding="valid", name="stem")(hidden)
    hidden = keras.layers.BatchNormalization(name="norm")(hidden)
    hidden = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(hidden))
    model = keras.Model(pixels, keras.layers.Dense(7)(hidden))
    kernel = random.normal(size=(3, 3, 1, 16))
    model.get_layer("stem").set_weights([kernel - kernel.mean(axis=(0, 1))])
    ones, zeros = np.ones(16), np.zeros(16)
    model.get_layer("norm").set_weights([ones, zeros, zeros, ones * 0.01])
    brightness = random.uniform(30, 220, (200, 1, 1))
    images = np.clip(brightness + random.normal(0, 4, (200, 24, 24)), 0, 255).astype(np.uint8)
    images[0], images[1] = 0, 255
    reference = model.predict(images[..., None].astype(np.float32), verbose=0)

    def error(spec: VariantSpec) -> float:
        path = tmp_path / "int8.tflite"
        path.write_bytes(export(model, spec, images))
        file = LiteRtModel(path)
        raw = np.concatenate([file.invoke(image[None, :, :, None]) for image in images]).astype(np.float32)
        details = file.output_details
        file.close()
        return float(np.sqrt(np.mean(((raw - details.zero_point) * details.scale - reference) ** 2)))

    one_by_one = replace(VARIANTS["int8"], joint_rounding=False)
    assert error(VARIANTS["int8"]) < 0.7 * error(one_by_one)


def test_a_model_without_such_a_convolution_is_left_alone() -> None:
    import keras

    pixels = keras.Input((8, 8, 1))
    model = keras.Model(pixels, keras.layers.Dense(7)(keras.layers.Flatten()(pixels)))
    assert round_first_convolution(model, np.zeros((2, 8, 8), np.uint8)) is model
