"""The comparison of `make test-arm` refuses outputs that differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from arm.comparison import compare
from fer_edge.errors import CheckFailedError

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


def outputs() -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "int8": rng.integers(-128, 128, (5, 7), dtype=np.int8),
        "int8/delegated": np.array(1),
        "float32": rng.normal(0, 3, (2, 7)).astype(np.float32),
        "float32/delegated": np.array(1),
    }


def test_the_same_is_the_same() -> None:
    line = compare(outputs(), outputs())
    assert "int8: 5 faces, largest difference 0, 100.00% of outputs identical, label equal for 5" in line
    assert "float32: 2 faces" in line


def test_one_step_is_allowed_and_counted() -> None:
    other = outputs()
    other["int8"][0] = [0, 0, 0, 10, 9, 0, 0]
    reference = outputs()
    reference["int8"][0] = [0, 0, 0, 9, 10, 0, 0]
    assert "largest difference 1, 94.29% of outputs identical, label equal for 4" in compare(reference, other)


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (-128, 127)])
def test_two_steps_are_not_nor_a_wrap_around(low: int, high: int) -> None:
    reference, other = outputs(), outputs()
    reference["int8"][3, 2], other["int8"][3, 2] = low, high
    with pytest.raises(CheckFailedError, match=f"largest difference {high - low}[, ].*allowed is 1"):
        compare(reference, other)


@pytest.mark.parametrize("wrong", [np.float32("nan"), np.float32("inf"), np.float32(50)])
def test_float_logits_that_are_off(wrong: np.float32) -> None:
    other = outputs()
    other["float32"][1, 1] = wrong
    with pytest.raises(CheckFailedError, match="float32: 2 faces"):
        compare(outputs(), other)


def test_a_run_without_xnnpack_or_of_fewer_faces_is_refused() -> None:
    with pytest.raises(CheckFailedError, match="XNNPACK took 0 nodes of the graph, not 1"):
        compare(outputs(), {**outputs(), "int8/delegated": np.array(0)})
    with pytest.raises(CheckFailedError, match=r"int8 \(4, 7\) instead of int8 \(5, 7\)"):
        compare(outputs(), {**outputs(), "int8": outputs()["int8"][:4]})
