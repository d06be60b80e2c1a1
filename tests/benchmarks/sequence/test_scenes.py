"""The sequences of ``bench sequence``: the same bytes everywhere, and correct truth."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_bench.results.sequence import SequenceSettings
from fer_bench.sequence.cast import MIN_IMAGES, SEGMENT_FRAMES, Cast
from fer_bench.sequence.costs import measure_costs
from fer_bench.sequence.measure import measure
from fer_bench.sequence.scenes import KINDS, FaceSequence
from fer_bench.sequence.systems import FerEdge, FullSearch, haar_search
from fer_bench.sequence.truth import CleanView, rows_of
from fer_edge.errors import InputError
from fer_edge.model.bundle import load_bundle
from fer_edge.model.labels import FER2013_LABELS
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.stages.classification import EmotionClassifier
from fer_train.data.dataset import SPLIT_NAMES, Dataset, Split
from fer_train.data.ferplus import ANSWERS, load_votes
from support.data.fer2013 import real_fer2013

FRAMES = 240
KIND = {kind.name: kind for kind in KINDS}


def drawn_dataset(count: int = 20 * len(FER2013_LABELS)) -> Dataset:
    """Make a data set of different gratings, without random numbers."""
    rows, columns = np.mgrid[0:48, 0:48]
    images = np.stack([(rows * (number + 2) + columns * (5 * number + 3)) % 256 for number in range(count)])
    split = Split(images.astype(np.uint8), np.arange(count) % len(FER2013_LABELS))
    return Dataset("drawn", FER2013_LABELS, dict.fromkeys(SPLIT_NAMES, split), "0" * 64)


CAST = Cast(drawn_dataset(), "PublicTest", None)


def sequence(name: str, size: tuple[int, int] = (320, 240), seed: int = 0) -> FaceSequence:
    return FaceSequence(KIND[name], size, FRAMES, CAST, (seed, 1))


@pytest.mark.parametrize("name", KIND)
def test_a_frame_is_the_same_whenever_it_is_asked_for(name: str):
    played = sequence(name)
    frame = played.frame(100)
    played.frame(3)
    again = sequence(name).frame(100)
    assert (frame.gray.shape, frame.gray.dtype) == ((240, 320), np.uint8)
    assert np.array_equal(frame.gray, again.gray)
    assert frame.faces == again.faces
    assert len(frame.faces) == KIND[name].faces
    assert not np.array_equal(frame.gray, played.frame(101).gray)


def test_the_bytes_are_those_of_every_other_machine():
    # Computed on x86-64 with NumPy 2.4. With another sum, results of different machines are not comparable.
    assert digest_of(list(KIND)[:12]) == "47df915d92b91e4c53abcbb8bc777e3db2217328f2dbd71c05a22f89aa6cbe29"
    assert digest_of(list(KIND)[12:]) == "b8f27715b61aa1b70a3c1369757c17b746656135d80ed181051f041f67f3b515"


def digest_of(names: list[str]) -> str:
    frames = (sequence(name).frame(index).gray.tobytes() for name in names for index in (0, 77))
    return hashlib.sha256(b"".join(frames)).hexdigest()


def test_photographs_on_the_wall_are_faces_that_neither_move_nor_change():
    played = sequence("posters")
    first, later = played.frame(0).faces, played.frame(FRAMES - 1).faces
    assert [face.visible for face in first[:3]] == [1.0] * 3
    for before, after in zip(first[:3], later[:3], strict=True):
        assert (before.box, before.row, before.label) == (after.box, after.row, after.label)
    assert first[3].box != later[3].box


@pytest.mark.parametrize("name", ["text", "foliage", "bricks", "checks", "drawn faces"])
@pytest.mark.parametrize("size", [(64, 48), (320, 240), (641, 479)])
def test_clutter_covers_the_wall_at_any_size_and_is_another_for_each_seed(name: str, size: tuple[int, int]):
    one, other = (sequence(name, size, seed).frame(0).gray for seed in (0, 1))
    assert one.shape == (size[1], size[0])
    assert one.std() > 15
    assert not np.array_equal(one, other)


@given(st.integers(0, 300), st.integers(61, 900))
def test_a_part_has_no_gap_and_its_label_changes_at_every_segment(seed, frames):
    part = CAST.part((seed,), frames)
    assert (part[0].start, part[-1].end) == (0, frames)
    assert all(before.end == after.start and before.label != after.label for before, after in pairwise(part))
    assert all(segment.end - segment.start <= SEGMENT_FRAMES for segment in part)
    assert all(segment.end - segment.start == SEGMENT_FRAMES for segment in part[1:-1])
    labels = drawn_dataset().splits["PublicTest"].labels
    for segment in part:
        shown = {segment.row_at(index) for index in range(segment.start, segment.end)}
        assert shown <= set(segment.rows)
        assert {FER2013_LABELS[labels[row]] for row in shown} == {segment.label}
        assert len(shown) == len(set(segment.rows)) or segment.end - segment.start < SEGMENT_FRAMES


@settings(max_examples=20)
@given(st.sampled_from(sorted(KIND)), st.integers(0, 20), st.integers(0, FRAMES - 2))
def test_the_truth_is_what_the_segments_say_and_moves_smoothly(name, seed, index):
    played = sequence(name, seed=seed)
    frame, following = played.frame(index), played.frame(index + 1)
    for face, later in zip(frame.faces, following.faces, strict=True):
        segment = next(one for one in played.parts[face.number] if one.start <= index < one.end)
        assert (face.label, face.row) == (segment.label, segment.row_at(index))
        assert 0.0 <= face.visible <= 1.0
        (x, y), (to_x, to_y) = face.box.centre, later.box.centre
        assert abs(to_x - x) + abs(to_y - y) <= 0.6 * face.box.width


def test_faces_are_painted_where_the_truth_has_them():
    played = sequence("easy")
    blank = FaceSequence(KIND["empty"], (320, 240), FRAMES, CAST, (0, 1))
    for index in range(0, FRAMES, 40):
        frame = played.frame(index)
        changed = np.abs(frame.gray.astype(int) - blank.frame(index).gray) > 25
        rows, columns = np.nonzero(changed)
        (x, y), side = frame.faces[0].box.centre, frame.faces[0].box.width
        assert abs((columns.min() + columns.max() + 1) / 2 - x) < 0.1 * side
        assert abs((rows.min() + rows.max() + 1) / 2 - y) < 0.1 * side


def test_every_kind_has_what_it_is_named_after():
    def seen(name: str) -> list[list[float]]:
        played = sequence(name)
        return [[face.visible for face in played.frame(index).faces] for index in range(0, FRAMES, 5)]

    leaving = [shares[0] for shares in seen("leaving")]
    assert min(leaving) == 0 and max(leaving) == 1
    assert 0.3 < min(shares[0] for shares in seen("half hidden")) < 0.7
    assert min(shares[0] for shares in seen("crossing")) < 0.7
    assert all(shares == [1.0] for name in ("easy", "rotating", "noisy", "dark", "fast") for shares in seen(name))
    widths = [sequence("scaling").frame(index).faces[0].box.width for index in range(0, FRAMES, 5)]
    assert max(widths) > 3 * min(widths)
    gray = {name: sequence(name).frame(50).gray.astype(int) for name in ("easy", "dark", "noisy")}
    assert gray["dark"].mean() < 0.4 * gray["easy"].mean()

    def grain(picture: np.ndarray) -> float:
        return float(np.abs(np.diff(picture, axis=1)).mean())

    assert grain(gray["noisy"]) > 2 * grain(gray["easy"])


def test_only_faces_that_people_agree_on_play():
    dataset = drawn_dataset()
    labels = dataset.splits["PublicTest"].labels
    votes = np.zeros((len(labels), len(ANSWERS)), dtype=np.float32)
    votes[:, ANSWERS.index("neutral")] = 10
    votes[labels == 3] = np.eye(len(ANSWERS))[ANSWERS.index("happiness")] * 10
    split = np.flatnonzero(labels == 3)[:5]
    votes[split, ANSWERS.index("happiness")], votes[split, ANSWERS.index("fear")] = 7, 3
    cast = Cast(dataset, "PublicTest", votes)
    assert cast.left_out == ("angry", "disgust", "fear", "sad", "surprise")
    assert cast.candidates == 15 + 20
    parts = [cast.part((number,), 900) for number in range(20)]
    assert rows_of(parts) <= set(np.flatnonzero(np.isin(labels, (3, 6)))) - set(split.tolist())
    with pytest.raises(InputError, match="too few images"):
        Cast(drawn_dataset(MIN_IMAGES), "PublicTest", None)


@pytest.fixture(scope="module")
def real_cast() -> Cast:
    dataset = real_fer2013()
    try:
        votes = load_votes(dataset)
    except InputError as error:
        pytest.skip(str(error))
    return Cast(dataset, "PublicTest", votes["PublicTest"])


@pytest.mark.slow
def test_real_faces_are_mostly_found_and_mostly_called_by_their_label(real_cast: Cast):
    cast = real_cast
    assert "disgust" in cast.left_out
    parts = [cast.part((number,), 360) for number in range(4)]
    with EmotionClassifier(load_bundle(None)) as classifier:
        clean = CleanView(cast, classifier)
        found, shown = clean.share_found(rows_of(parts))
        assert 0.5 < found / shown < 1.0
        segments = [segment for part in parts for segment in part]
        right = sum(clean.label(segment) == segment.label for segment in segments)
        assert right / len(segments) > 0.5


def test_costs_are_those_of_the_frames_after_the_faces_were_found():
    bundle = load_bundle(None)
    systems = [
        FerEdge(bundle, "int8", RuntimeSettings()),
        FullSearch("full (1.3, 5)", haar_search(1.3), bundle, "int8"),
    ]
    cells = measure_costs(systems, [(320, 240, 0), (320, 240, 2)])
    assert [(cell.system, cell.width, cell.faces) for cell in cells] == [
        (name, 320, faces) for faces in (0, 2) for name in ("fer-edge", "full (1.3, 5)")
    ]
    assert all(cell.cpu_ms > 0 for cell in cells)
    assert [round(cell.followed) for cell in cells] == [0, 0, 2, 2]


def test_fer_edge_and_a_full_search_find_real_faces_in_the_same_frames(real_cast: Cast):
    bundle = load_bundle(None)
    systems = [
        FerEdge(bundle, "int8", RuntimeSettings()),
        FullSearch("full (1.3, 5)", haar_search(1.3), bundle, "int8"),
    ]
    shown = SequenceSettings(("easy", "empty"), 320, 240, 90, 15.0, 1, 2)
    with EmotionClassifier(bundle) as classifier:
        results, stages = measure(systems, shown, real_cast, CleanView(real_cast, classifier))
    scores = {(result.kind, result.system): result.score for result in results}
    for system in systems:
        easy, empty = scores["easy", system.name], scores["empty", system.name]
        assert 0.3 < easy.shared.matched / easy.shared.shown <= 1
        assert easy.shared.shown == easy.shared.frames == 45
        assert (empty.shared.shown, empty.sight_s, empty.visits) == (0, 0, 0)
        assert {"detect_full", "classify"} <= {share.stage for share in stages if share.system == system.name}
    ours, full = (scores["easy", system.name] for system in systems)
    assert (ours.faces.frames, full.faces.frames) == (90, 45)
    assert (ours.visits, full.visits, full.by_label.shown) == (1, 0, 0)
    assert ours.by_label.shown >= 1
    assert full.cpu_ms > ours.cpu_ms
