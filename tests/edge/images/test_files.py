"""Truncated and damaged image files are refused; the decoder would fill in the missing pixels."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import InputError
from fer_edge.images.files import read_gray
from support.processes.edge_command import face_picture, png_chunk


def test_a_truncated_png_is_detected_although_its_text_contains_iend(tmp_path: Path) -> None:
    data = cv2.imencode(".png", face_picture())[1].tobytes()
    whole = data[:33] + png_chunk(b"tEXt", b"Comment\0IEND") + data[33:]  # 33: signature and header
    path = tmp_path / "one.png"
    path.write_bytes(whole)
    assert read_gray(path).shape == (480, 640)
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="cut short"):
        read_gray(path)


def test_a_png_is_refused_for_a_wrong_checksum_of_critical_chunks_only(tmp_path: Path) -> None:
    data = cv2.imencode(".png", face_picture())[1].tobytes()
    path = tmp_path / "one.png"
    path.write_bytes(data[:33] + png_chunk(b"teXt", b"Comment\0a note", 0) + data[33:])
    assert read_gray(path).shape == (480, 640)
    at = data.index(b"IDAT") + 2000
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(InputError, match="damaged"):
        read_gray(path)


@settings(max_examples=60)
@given(st.sampled_from([".png", ".jpg"]), st.floats(0, 1), st.integers(1, 40), st.integers(1, 40))
def test_every_truncation_is_detected(suffix: str, share: float, height: int, width: int) -> None:
    image = np.random.default_rng(height * width).integers(0, 256, (height, width), dtype=np.uint8)
    data = cv2.imencode(suffix, image)[1].tobytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"one{suffix}"
        path.write_bytes(data + b"appended")
        assert read_gray(path).shape == (height, width)
        cut = data[: int(share * (len(data) - 1))]
        for left in (cut, cut + bytes(len(data) - len(cut))):
            path.write_bytes(left)
            with pytest.raises(InputError, match=f"one{suffix}: "):
                read_gray(path)
