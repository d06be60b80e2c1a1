"""FER+: the answers of ten people for each FER2013 image (Barsoum et al., 2016, arXiv:1608.01041).

Its file has one row for each row of FER2013, in the same order; the image names in it are not row numbers.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.types import Float32Array
from fer_train.data.readers.locate import locate
from fer_train.data.samples import Dataset
from fer_train.splits import SPLIT_NAMES

FILE_NAMES = ("ferplus_fer2013new.csv", "fer2013new.csv")
ANSWERS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
"""The possible answers; NF is "not a face"."""

_LABEL_OF_ANSWER = {
    "neutral": "neutral",
    "happiness": "happy",
    "surprise": "surprise",
    "sadness": "sad",
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
}
"""FER2013's label for each answer; contempt, unknown and NF have none."""

_WHERE = "get fer2013new.csv from https://github.com/microsoft/FERPlus and put it next to FER2013"

_COUNT = re.compile("[0-9]{1,4}")


def load_votes(dataset: Dataset, source: Path | None = None) -> dict[str, Float32Array]:
    """Return the votes for the rows of each split of FER2013: float32 [rows, 10], counts in the order of ``ANSWERS``.

    ``source`` is the path from which FER2013 was read; the votes must be in the same folder.

    Raises:
        InputError: if the votes are missing or malformed, or if ``dataset`` is not the known FER2013 with its order of
            rows.
    """
    if not dataset.is_known_fer2013:
        raise InputError(f"{dataset.name}: FER+ votes go by row, so they need the known FER2013 as one CSV file")
    folder = locate(source).parent
    path = next((folder / name for name in FILE_NAMES if (folder / name).is_file()), None)
    if path is None:
        raise InputError(f"{folder}: no FER+ votes ({' or '.join(FILE_NAMES)}) in this folder; {_WHERE}")
    votes = _read(path)
    for name in SPLIT_NAMES:
        if len(votes[name]) != len(dataset.splits[name]):
            rows, wanted = len(votes[name]), len(dataset.splits[name])
            raise InputError(f"{path}: {rows} rows for {name} where FER2013 has {wanted}: not the whole file; {_WHERE}")
    return votes


def majority_labels(votes: Float32Array, labels: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Return the index into ``labels`` of the answer with more ``votes`` [N, 10] than any other, int64 [N].

    It is -1 for a tie, and for an answer that is not in ``labels``.
    """
    words = [_LABEL_OF_ANSWER.get(answer) for answer in ANSWERS]
    of_answer = np.array([labels.index(word) if word in labels else -1 for word in words], dtype=np.int64)
    alone = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1
    return np.where(alone, of_answer[votes.argmax(axis=1)], -1)


def label_votes(votes: Float32Array, of_word: Mapping[str, int], label_count: int) -> tuple[Float32Array, Float32Array]:
    """Return the ``votes`` [N, 10] as counts for each label, and counts for each answer without a label.

    Args:
        votes: The votes.
        of_word: The index of the label for each of FER2013's labels and for "contempt"; -1: none. Answers with the same
            label are added up. "unknown" and "NF" never have one.
        label_count: The number of labels.

    Returns:
        float32 [N, label_count], and float32 [N, answers without a label].
    """
    counts = np.zeros((len(votes), label_count), dtype=np.float32)
    others = []
    for answer, column in zip(ANSWERS, votes.T, strict=True):
        label = of_word.get(_LABEL_OF_ANSWER.get(answer, answer), -1)
        if label >= 0:
            counts[:, label] += column
        else:
            others.append(column)
    return counts, np.stack(others, axis=1)


def _read(path: Path) -> dict[str, Float32Array]:
    rows: dict[str, list[list[float]]] = {name: [] for name in SPLIT_NAMES}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"Usage", *ANSWERS} - set(reader.fieldnames or ())
            if missing:
                raise InputError(f"{path}: not FER+'s file of votes: no column {min(missing)}; {_WHERE}")
            for row in reader:
                counts = [row[answer] for answer in ANSWERS]
                # A short row contains None; float() would accept "nan" and "-1".
                if row["Usage"] not in rows or not all(count and _COUNT.fullmatch(count) for count in counts):
                    raise InputError(f"{path}: not FER+'s file of votes: line {reader.line_num} is damaged; {_WHERE}")
                rows[row["Usage"]].append([float(count) for count in counts])
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InputError(f"{path}: not FER+'s file of votes: not a text file in UTF-8; {_WHERE}") from None
    except csv.Error as error:
        raise InputError(f"{path}: not FER+'s file of votes: {error}; {_WHERE}") from None
    return {name: np.array(lines, dtype=np.float32).reshape(-1, len(ANSWERS)) for name, lines in rows.items()}
