"""Unusable crops are distinguished from good ones, with the reason."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from fer_edge.settings.pipeline import QualitySettings
from fer_edge.stages.crop import crop_face
from fer_edge.stages.crop_quality import CropQuality, find_fault, measure
from fer_edge.types import Box, CropFault, CropSpec, Face, FaceCrop, UInt8Array
from support.cameras.scenes import FACE_IN_PORTRAIT, portrait

SPEC = CropSpec(48, 48)


def _fault(gray: UInt8Array, box: Box) -> CropFault | None:
    return find_fault(measure(crop_face(gray, Face(box, 1.0), SPEC)), QualitySettings())


def _clipped(gray: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> UInt8Array:
    return np.clip(np.round(gray), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def face() -> tuple[UInt8Array, Box]:
    """A photograph with a face, and the box of the face."""
    return portrait(), FACE_IN_PORTRAIT


def test_a_good_face_has_no_fault(face: tuple[UInt8Array, Box]) -> None:
    assert _fault(*face) is None


@pytest.mark.parametrize("gain", [0.4, 0.7, 1.4])
def test_other_lighting_is_not_a_fault(face: tuple[UInt8Array, Box], gain: float) -> None:
    gray, box = face
    assert _fault(_clipped(gray * gain), box) is None


def test_every_fault_is_detected(face: tuple[UInt8Array, Box]) -> None:
    gray, box = face
    side = box.width
    noise = np.random.default_rng(0).normal(0, 1, gray.shape)
    smaller = cv2.resize(gray, None, fx=16 / side, fy=16 / side, interpolation=cv2.INTER_AREA).astype(np.uint8)
    shrunk = Box(round(box.x * 16 / side), round(box.y * 16 / side), 16, 16)
    spread = np.asarray(cv2.GaussianBlur(gray, (0, 0), side / 20), dtype=np.uint8)
    moved = np.asarray(cv2.blur(gray, (side // 3, 1)), dtype=np.uint8)
    fallen = np.asarray(cv2.blur(gray, (1, side // 3)), dtype=np.uint8)
    found = {
        "small": _fault(smaller, shrunk),
        "cut": _fault(np.ascontiguousarray(gray[:, box.x + side // 2 :]), Box(-side // 2, box.y, side, side)),
        "burnt": _fault(_clipped(gray * 4.0 + 60), box),
        "dark": _fault(_clipped(gray * 0.05), box),
        "fog": _fault(_clipped(120 + gray * 0.05), box),
        "spread": _fault(spread, box),
        "moved": _fault(moved, box),
        "fallen": _fault(fallen, box),
        "noise": _fault(_clipped(gray * 0.5 + noise * 60 * side / 48), box),
    }
    assert found == {
        "small": CropFault.SMALL,
        "cut": CropFault.CUT,
        "burnt": CropFault.OVEREXPOSED,
        "dark": CropFault.LOW_CONTRAST,
        "fog": CropFault.LOW_CONTRAST,
        "spread": CropFault.BLURRED,
        "moved": CropFault.BLURRED,
        "fallen": CropFault.BLURRED,
        "noise": CropFault.NOISY,
    }


@given(nps.arrays(np.uint8, st.tuples(st.integers(1, 64), st.integers(1, 64))))
def test_any_pixels_have_a_quality_within_bounds(pixels: UInt8Array) -> None:
    quality = measure(FaceCrop(Face(Box(0, 0, 30, 40), 1.0), pixels, 0.75))
    assert (quality.face_px, quality.inside) == (30, 0.75)
    assert 0 <= quality.contrast <= 127.5 + 1e-9 and 0 <= quality.overexposed <= 1
    # (a - b)^2 <= 2 (a^2 + b^2), and each first difference occurs in two second differences.
    assert 0 <= quality.sharpness <= 2.0 + 1e-6


def test_a_uniform_crop_has_sharpness_0() -> None:
    quality = measure(FaceCrop(Face(Box(0, 0, 48, 48), 1.0), np.full((48, 48), 99, np.uint8), 1.0))
    assert (quality.contrast, quality.sharpness) == (0.0, 0.0)
    assert find_fault(quality, QualitySettings()) is CropFault.LOW_CONTRAST


def test_limits_that_refuse_nothing() -> None:
    off = QualitySettings(0, 0.0, 1.0, 0.0, 0.0, 2.0)
    for sharpness in (0.0, 1.73):
        assert find_fault(CropQuality(1, 0.01, 0.0, 1.0, sharpness), off) is None
