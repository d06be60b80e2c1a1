"""Quantization rounds, saturates and is invertible; softmax is a distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.model.quantization import Quantization, softmax

DTYPES = ("int8", "uint8", "int16")


@st.composite
def codecs(draw: st.DrawFn) -> Quantization:
    dtype = draw(st.sampled_from(DTYPES))
    info = np.iinfo(dtype)
    scale = draw(st.floats(1e-4, 10.0))
    return Quantization(dtype, scale, draw(st.integers(int(info.min), int(info.max))))


@given(codecs(), st.floats(-1e6, 1e6))
def test_round_trip_is_within_half_a_scale_or_saturates(codec: Quantization, value: float) -> None:
    info = np.iinfo(codec.dtype)
    low, high = ((limit - codec.zero_point) * codec.scale for limit in (int(info.min), int(info.max)))
    back = float(codec.dequantize(codec.quantize([value]))[0])
    wanted = min(max(value, low), high)
    # Dequantization in float32 adds a small error to the half step.
    assert abs(back - wanted) <= codec.scale / 2 + 1e-5 * max(abs(wanted), codec.scale)


@given(codecs(), st.data())
def test_every_integer_survives_the_round_trip(codec: Quantization, data: st.DataObject) -> None:
    info = np.iinfo(codec.dtype)
    integers = np.array(
        data.draw(st.lists(st.integers(int(info.min), int(info.max)), min_size=1, max_size=20)), codec.dtype
    )
    # In float64, because float32 cannot represent every int16 times every scale exactly.
    real = (integers.astype(np.float64) - codec.zero_point) * codec.scale
    np.testing.assert_array_equal(codec.quantize(real), integers)


@pytest.mark.parametrize(("value", "wanted"), [(0.5, 1), (-0.5, -1), (1.5, 2), (2.5, 3), (-2.5, -3), (0.49, 0)])
def test_halves_round_away_from_zero(value: float, wanted: int) -> None:
    assert int(Quantization("int8", 1.0, 0).quantize([value])[0]) == wanted


@pytest.mark.parametrize(("value", "wanted"), [(1e9, 127), (-1e9, -128), (127.6, 127), (-129.0, -128)])
def test_out_of_range_saturates_and_does_not_wrap(value: float, wanted: int) -> None:
    assert int(Quantization("int8", 1.0, 0).quantize([value])[0]) == wanted


def test_pixels_pass_the_uint8_input_unchanged() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(Quantization("uint8", 1.0, 0).quantize(pixels), pixels)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=9), st.floats(0.05, 20.0))
def test_softmax_sums_to_one_and_keeps_the_order(logits: list[float], temperature: float) -> None:
    values = np.array(logits, dtype=np.float32)
    probabilities = softmax(values, temperature)
    assert probabilities.dtype == np.float32
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    assert probabilities[int(values.argmax())] == probabilities.max()


def test_a_higher_temperature_lowers_the_confidence() -> None:
    logits = np.array([2.0, 0.0, -1.0], dtype=np.float32)
    assert softmax(logits, 2.0).max() < softmax(logits, 1.0).max() < softmax(logits, 0.5).max()
    np.testing.assert_allclose(softmax(logits, 1.0), np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)
