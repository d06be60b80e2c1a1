"""Annotation: drawing stays inside the picture, labels have their colours, the video can be read back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import InputError
from fer_edge.model.labels import FER2013_LABELS
from fer_edge.recording.annotate import Annotator, contact_sheet, draw_probabilities
from fer_edge.types import UNCERTAIN, Box, Frame, FrameResult, TrackedEmotion

GRAY = np.full((240, 320), 90, np.uint8)


def result(box: Box, emotion: str = "happy", gray: np.ndarray = GRAY) -> FrameResult:
    return FrameResult(Frame("cam", 0, 1.5, gray), (TrackedEmotion("cam", 7, box, emotion, 0.8, 0.0),), ())


def test_box_has_the_labels_colour_and_leaves_its_inside_unchanged() -> None:
    annotator = Annotator(FER2013_LABELS)
    picture = annotator.draw(result(Box(100, 80, 60, 60)))
    assert picture.shape == (240, 320, 3)
    assert picture[110, 100].tolist() == pytest.approx(annotator.colour("happy"), abs=30)
    assert (picture[100:120, 110:150] == 90).all()


def test_labels_have_different_colours_and_uncertain_is_grey() -> None:
    annotator = Annotator(FER2013_LABELS)
    assert len({annotator.colour(label) for label in (*FER2013_LABELS, UNCERTAIN)}) == len(FER2013_LABELS) + 1
    assert len(set(annotator.colour(UNCERTAIN))) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(16, 200),
    st.integers(16, 200),
    st.builds(Box, st.integers(-150, 250), st.integers(-150, 250), st.integers(1, 300), st.integers(1, 300)),
)
def test_any_box_can_be_drawn_on_any_picture(height: int, width: int, box: Box) -> None:
    gray = np.full((height, width), 50, np.uint8)
    annotator = Annotator(FER2013_LABELS)
    picture = annotator.draw(result(box, "sad", gray))
    draw_probabilities(
        picture, box, dict.fromkeys(FER2013_LABELS, 0.5), {n: annotator.colour(n) for n in FER2013_LABELS}
    )
    assert picture.shape == (height, width, 3)


def test_contact_sheet_holds_every_picture() -> None:
    pictures = [np.full((30, 40, 3), value, np.uint8) for value in (50, 100, 150, 200, 250)]
    pictures.append(np.full((60, 20, 3), 10, np.uint8))  # another shape is scaled to fit
    sheet = contact_sheet(pictures, columns=3, tile_width=80)
    for value in (50, 100, 150, 200, 250, 10):
        assert (sheet == value).all(axis=2).any()
    with pytest.raises(InputError):
        contact_sheet([])


def test_a_frame_in_colour_stays_in_colour_and_is_not_changed() -> None:
    bgr = np.full((240, 320, 3), (10, 200, 60), np.uint8)
    frame = Frame("cam", 0, 1.5, cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), bgr=bgr)
    picture = Annotator(FER2013_LABELS).draw(FrameResult(frame, result(Box(100, 80, 60, 60)).tracks, ()))
    assert picture[110, 130].tolist() == [10, 200, 60]
    assert (bgr == (10, 200, 60)).all()


@pytest.mark.parametrize("size", [(320, 240), (3840, 2160)])
def test_labels_have_a_readable_size(size: tuple[int, int]) -> None:
    """A twelfth of the height at 320x240 is 12 pixels with the plate; smaller letters cannot be read."""
    gray = np.full(size[::-1], 90, np.uint8)
    annotator = Annotator(FER2013_LABELS)
    picture = annotator.draw(result(Box(size[0] // 2, size[1] // 2, size[1] // 4, size[1] // 4), gray=gray))
    plate = (picture[: size[1] // 2] == annotator.colour("happy")).all(axis=2)
    rows = np.flatnonzero(plate.any(axis=1))
    assert 12 <= rows[-1] - rows[0] <= size[1] / 12
