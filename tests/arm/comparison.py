"""Compare two machines' raw outputs of one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.errors import CheckFailedError

Arrays = Mapping[str, npt.NDArray[Any]]

TOLERANCE = {"int8": 1.0, "float32": 1e-4}
"""Maximum difference of a raw output: in steps for int8, in logits for float32.

Kernels add in different orders: differences of 1e-6 were observed for float32. An int8 step is about 0.05 logits.
"""


def compare(reference: Arrays, other: Arrays) -> str:
    """Return one line about the agreement of the variants in ``reference``; both arguments are from raw_outputs.py.

    Raises CheckFailedError if one differs, or if XNNPACK runs fewer nodes: a Pi must not use the slow kernels.
    """
    parts = []
    for variant, tolerance in TOLERANCE.items():
        if variant not in reference:
            continue
        here, there = reference[variant], other[variant]
        if here.shape != there.shape or here.dtype != there.dtype:
            raise CheckFailedError(f"{variant}: {there.dtype} {there.shape} instead of {here.dtype} {here.shape}")
        took, wanted = (int(arrays[f"{variant}/delegated"]) for arrays in (other, reference))
        if took < max(wanted, 1):
            raise CheckFailedError(
                f"{variant}: XNNPACK took {took} nodes of the graph, not {wanted}, so this says nothing about a Pi"
            )
        # Wide enough for a difference of two int8 values, and NaN fails the comparison below.
        difference = np.abs(there.astype(np.float64) - here.astype(np.float64))
        same_label = int((here.argmax(axis=1) == there.argmax(axis=1)).sum())
        line = (
            f"{variant}: {len(here)} faces, largest difference {difference.max():.3g}, "
            f"{np.mean(difference == 0):.2%} of outputs identical, label equal for {same_label}"
        )
        if not difference.max() <= tolerance:
            raise CheckFailedError(f"{line}; allowed is {tolerance:g}")
        parts.append(line)
    return "; ".join(parts)
