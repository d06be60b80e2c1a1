"""FER+'s votes: their majority, and one line for votes that are missing or of other data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fer_edge.errors import InputError
from fer_edge.model.labels import FER2013_LABELS
from fer_train.data.dataset import load_dataset
from fer_train.data.ferplus import ANSWERS, load_votes, majority_labels
from fer_train.splits import SPLIT_NAMES
from support.data.caches import users_cache
from support.data.fer2013 import real_fer2013, write_mini_fer2013

# Written by hand for each answer, independently of the program's table.
WORDS = {
    "neutral": "neutral",
    "happiness": "happy",
    "surprise": "surprise",
    "sadness": "sad",
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
}


def votes(**counts: int) -> list[float]:
    return [float(counts.get(answer, 0)) for answer in ANSWERS]


def majority(*rows: list[float], labels: tuple[str, ...] = FER2013_LABELS) -> list[int]:
    return majority_labels(np.array(rows, dtype=np.float32), labels).tolist()


def test_every_emotion_has_its_label_and_the_other_answers_have_none() -> None:
    found = majority(
        *(votes(**{answer: 6, "neutral": 4} if answer != "neutral" else {answer: 10}) for answer in ANSWERS)
    )
    told = [FER2013_LABELS[index] if index >= 0 else None for index in found]
    assert told == [WORDS.get(answer) for answer in ANSWERS]
    assert told.count(None) == 3


def test_a_majority_is_more_than_any_other_answer_got() -> None:
    assert majority(
        votes(sadness=4, neutral=3, fear=3),  # fewer than half of the votes, but more than any other answer
        votes(sadness=5, neutral=5),
        votes(sadness=4, unknown=4, fear=2),
        votes(contempt=4, happiness=3, neutral=3),
        votes(),
    ) == [FER2013_LABELS.index("sad"), -1, -1, -1, -1]


def test_the_index_is_into_the_labels_that_were_given() -> None:
    assert majority(votes(anger=9), votes(fear=9), labels=("neutral", "angry")) == [1, -1]


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 20), st.just(10)), elements=st.integers(0, 10).map(float)))
def test_majority_equals_counting(given_votes: np.ndarray) -> None:
    expected = []
    for row in given_votes.tolist():
        best = [answer for answer, count in zip(ANSWERS, row, strict=True) if count == max(row)]
        word = WORDS.get(best[0]) if len(best) == 1 else None
        expected.append(-1 if word is None else FER2013_LABELS.index(word))
    assert majority_labels(given_votes, FER2013_LABELS).tolist() == expected


def test_votes_need_the_known_fer2013(tmp_path: Path) -> None:
    path = write_mini_fer2013(tmp_path / "fer2013.csv")
    with pytest.raises(InputError, match="need the known FER2013"):
        load_votes(load_dataset(path, cache=False), path)


def test_votes_that_are_missing_cut_short_or_another_file(tmp_path: Path) -> None:
    dataset = real_fer2013()
    source = tmp_path / "fer2013.csv"
    source.touch()  # the votes are next to it; the file is not read again
    with pytest.raises(InputError, match=r"no FER\+ votes"):
        load_votes(dataset, source)
    path = tmp_path / "fer2013new.csv"
    path.write_text(f"Usage,Image name,{','.join(ANSWERS)}\nTraining,a.png,{'1,' * 9}1\n")
    with pytest.raises(InputError, match="1 rows for Training where FER2013 has 28709"):
        load_votes(dataset, source)
    for content in (b"emotion,pixels\n0,1\n", b"\xff\xfe\x00", path.read_bytes().replace(b"1,1", b"one,1")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"not FER\+'s file|rows for Training"):
            load_votes(dataset, source)


def test_the_majorities_of_the_real_votes() -> None:
    dataset = real_fer2013()
    try:
        with users_cache():
            found = load_votes(dataset)
    except InputError as error:
        pytest.skip(f"the real FER+ votes are not here: {error}")
    # Counted independently of this code, row by row in the two CSV files: images with a majority, and those of them
    # with the same label in FER2013.
    counts = {}
    for split in SPLIT_NAMES:
        labels = majority_labels(found[split], dataset.labels)
        alike = labels == dataset.splits[split].labels
        counts[split] = int((labels >= 0).sum()), int(alike.sum())
    assert counts == {"Training": (26_778, 17_613), "PublicTest": (3_372, 2_204), "PrivateTest": (3_350, 2_197)}
