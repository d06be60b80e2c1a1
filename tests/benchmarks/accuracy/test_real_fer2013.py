"""The numbers of the released bundle on the real PublicTest, counted from the two CSV files."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from fer_bench.runners import open_runner
from fer_train.data.readers.locate import locate
from support.data.caches import users_cache
from support.data.fer2013 import real_fer2013
from support.results.released import RELEASED, ReleasedAccuracy

LABEL_OF = {"anger": 0, "disgust": 1, "fear": 2, "happiness": 3, "sadness": 4, "surprise": 5, "neutral": 6}
OTHERS = ("contempt", "unknown", "NF")


def test_the_released_bundle_on_public_test(released_accuracy: ReleasedAccuracy) -> None:
    dataset = real_fer2013()
    with users_cache():
        votes = next((path for path in locate(None).parent.glob("*fer2013new.csv")), None)
    if votes is None:
        pytest.skip("the FER+ votes are not in the folder of the real FER2013")
    assert "3589 images, 3267 leak-free, 3155 distinct, 3372 with a FER+ majority" in released_accuracy.stdout
    found = released_accuracy.of("int8")

    split = dataset.splits["PublicTest"]
    with open_runner(RELEASED, "int8") as runner:
        named = runner.logits(split.images).argmax(axis=1)
    assert found["correct"] == sum(row["correct"] for row in found["classes"]) == int((named == split.labels).sum())
    assert [row["support"] for row in found["classes"]] == np.bincount(split.labels).tolist()
    elsewhere = {image.tobytes() for name in ("Training", "PrivateTest") for image in dataset.splits[name].images}
    kept = {image.tobytes(): i for i, image in reversed(list(enumerate(split.images)))}
    rows = [i for pixels, i in kept.items() if pixels not in elsewhere]
    assert found["leak_free"]["n"] == len(rows) == 3_267
    assert found["leak_free"]["correct"] == int((named == split.labels)[rows].sum())

    with votes.open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["Usage"] == "PublicTest"]
    agreed = [np.nan if (label := majority(line)) is None else label for line in lines]
    assert found["ferplus"]["n"] == int(np.isfinite(agreed).sum()) == 3_372
    assert found["ferplus"]["correct"] == int((named == agreed).sum())


def majority(line: dict[str, str]) -> int | None:
    ranked = sorted((int(line[answer]), answer) for answer in (*LABEL_OF, *OTHERS))
    return None if ranked[-1][0] == ranked[-2][0] else LABEL_OF.get(ranked[-1][1])
