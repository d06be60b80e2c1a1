"""Accuracy in groups of images: the file that names them, the statistics, and the report."""

from __future__ import annotations

import json
from math import comb, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_bench.accuracy import Evaluation
from fer_bench.accuracy.evaluation import evaluate_logits
from fer_bench.accuracy.groups import MAX_GROUPS, Groups, by_group, read_groups
from fer_bench.results.accuracy import MIN_GROUP
from fer_edge.errors import InputError
from fer_train.data.dataset import PUBLIC_TEST, Dataset, load_dataset
from support.data.fer2013 import write_mini_fer2013
from support.processes.edge_command import assert_one_line, fer_edge


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini_fer2013(tmp_path_factory.mktemp("groups") / "fer2013.csv", test_per_class=12)


@pytest.fixture(scope="module")
def dataset(data: Path) -> Dataset:
    return load_dataset(data, cache=False)


def evaluation(right: list[bool]) -> Evaluation:
    """An evaluation of images with two labels in turn, classified correctly where ``right`` is."""
    truth = np.arange(len(right)) % 2
    chosen = np.where(right, truth, 1 - truth)
    logits = np.eye(2, dtype=np.float32)[chosen]
    return evaluate_logits(logits, truth, model="m", split="PublicTest", labels=("a", "b"), temperature=1.0)


def named(**attributes: list[str | None]) -> Groups:
    return Groups({name: {PUBLIC_TEST: np.array(names, object)} for name, names in attributes.items()})


def fisher(a: int, b: int, c: int, d: int) -> float:
    """Two-sided p of the table [[a, b], [c, d]], summed over all tables with its margins (Fisher, 1922)."""

    def chance(x: int) -> float:
        return comb(a + b, x) * comb(c + d, a + c - x) / comb(a + b + c + d, a + c)

    possible = [chance(x) for x in range(max(0, a - d), min(a + b, a + c) + 1)]
    return sum(p for p in possible if p <= chance(a) * (1 + 1e-9))


def wilson(correct: int, n: int) -> tuple[float, float]:
    z, p = 1.959963984540054, correct / n
    middle, half = p + z * z / 2 / n, z * sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def test_two_groups_are_compared() -> None:
    right = [True] * 40 + [False] * 10 + [True] * 25 + [False] * 25
    (age,) = by_group(evaluation(right), named(age=["young"] * 50 + ["old"] * 50), PUBLIC_TEST)
    assert (age.attribute, age.left_out) == ("age", 0)
    old, young = age.groups
    assert (old.group, old.n, old.correct, young.group, young.n, young.correct) == ("old", 50, 25, "young", 50, 40)
    assert (young.low, young.high) == pytest.approx(wilson(40, 50))
    assert young.difference == pytest.approx(0.3) and old.difference == pytest.approx(-0.3)
    assert age.p == pytest.approx(fisher(40, 10, 25, 25))
    # Newcombe's interval combines Wilson's of both shares.
    (l1, u1), (l2, u2) = wilson(40, 50), wilson(25, 50)
    assert young.difference_low == pytest.approx(0.3 - sqrt((0.8 - l1) ** 2 + (u2 - 0.5) ** 2))
    assert young.difference_high == pytest.approx(0.3 + sqrt((u1 - 0.8) ** 2 + (0.5 - l2) ** 2))


def test_p_is_adjusted_for_the_number_of_attributes() -> None:
    right = [True] * 40 + [False] * 10 + [True] * 25 + [False] * 25
    halves, turns = ["young"] * 50 + ["old"] * 50, ["left", "right"] * 50
    alone = by_group(evaluation(right), named(age=halves), PUBLIC_TEST)[0].p
    first, second = by_group(evaluation(right), named(age=halves, side=turns), PUBLIC_TEST)
    assert alone is not None and first.p == pytest.approx(2 * alone)  # the smallest of two, by Holm's method
    assert second.p is not None and second.p > 0.5


def test_small_and_unknown_groups_are_left_out() -> None:
    names = ["a"] * 50 + ["b"] * (MIN_GROUP - 1) + [None] * 21
    (found,) = by_group(evaluation([True, False] * 50), named(kind=names), PUBLIC_TEST)
    assert [group.group for group in found.groups] == ["a"]
    assert (found.left_out, found.p, found.groups[0].difference) == (50, None, None)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["a", "b", "c", None])), min_size=1, max_size=300))
def test_groups_add_up(images: list[tuple[bool, str | None]]) -> None:
    right, names = [each for each, _ in images], [name for _, name in images]
    (found,) = by_group(evaluation(right), named(kind=names), PUBLIC_TEST)
    assert sum(group.n for group in found.groups) + found.left_out == len(images)
    for group in found.groups:
        assert group.correct == sum(r for r, name in images if name == group.group)
        assert 0 <= group.low <= group.accuracy <= group.high <= 1
        assert group.difference is None or -1 <= (group.difference_low or 0) <= group.difference
    assert (found.p is None) == (len(found.groups) < 2)
    assert found.p is None or 0 <= found.p <= 1


BROKEN = {
    "an empty file": ("", "no split and no row"),
    "no row": ("split,age\nPublicTest,old\n", "no row"),
    "no attribute": ("split,row\nPublicTest,0\n", "no column with groups"),
    "a column twice": ("split,row,age,age\n", "of another one"),
    "a cell too many": ("split,row,age\nPublicTest,0,old,x\n", "line 2: 4 cells"),
    "an unknown split": ("split,row,age\nspare,0,old\n", "line 2: .*no split 'spare'"),
    "a row outside": ("split,row,age\nPublicTest,84,old\n", "line 2: row '84' of PublicTest: must be from 0 to 83"),
    "a negative row": ("split,row,age\nPublicTest,-1,old\n", "row '-1'"),
    "a row that is no number": ("split,row,age\nPublicTest,²,old\n", "line 2: row '²'"),
    "an image twice": (
        "split,row,age\nPublicTest,3,old\nvalidation,3,young\n",
        "line 3: row 3 of validation is",
    ),
    "a quote that does not end": ('split,row,age\nPublicTest,3,"old\n', "line 2: unexpected end of data"),
    "too many groups": (
        "split,row,age\n" + "".join(f"PublicTest,{row},{row}\n" for row in range(MAX_GROUPS + 1)),
        f"age has {MAX_GROUPS + 1} groups",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused(dataset: Dataset, tmp_path: Path, kind: str) -> None:
    text, words = BROKEN[kind]
    (tmp_path / "groups.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words) as error:
        read_groups(tmp_path / "groups.csv", dataset)
    assert str(error.value).startswith(str(tmp_path / "groups.csv")) and "\n" not in str(error.value)


def test_other_files_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("split,row,größe\n".encode("latin-1"))
    for path, words in ((tmp_path / "latin.csv", "UTF-8"), (tmp_path, "directory"), (tmp_path / "none.csv", "No such")):
        with pytest.raises(InputError, match=words):
            read_groups(path, dataset)


def test_the_report_has_the_groups(
    tiny_bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"PublicTest,{row},{'first' if row < 40 else 'second'}\r\n" for row in range(84)]
    (tmp_path / "groups.csv").write_text("\ufeffsplit,row,half\r\n" + "".join(lines), encoding="utf-8", newline="")
    command = ("bench", "accuracy", "--bundle", tiny_bundle, "--data", data, "--groups")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = fer_edge(*command, "groups.csv", "--json", "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for result in json.loads((tmp_path / "out.json").read_text())["results"]:
        (accuracy,) = result["accuracy"]
        (half,) = accuracy["attributes"]
        assert [(group["group"], group["n"]) for group in half["groups"]] == [("first", 40), ("second", 44)]
        assert sum(group["correct"] for group in half["groups"]) == accuracy["correct"]
    assert "to others (95 %)" in done.stdout and "Newcombe" in done.stdout
    refused = fer_edge(*command, "none.csv", cwd=tmp_path)
    assert_one_line(refused, 2, "none.csv: cannot read it")
