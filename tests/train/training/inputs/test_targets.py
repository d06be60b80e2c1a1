"""The targets of each Training image: labels, FER+ votes, a teacher's soft labels."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge.errors import InputError, OutputError
from fer_edge.types import Float32Array
from fer_train.data.dataset import Dataset, load_dataset
from fer_train.data.ferplus import ANSWERS, FILE_NAMES, load_votes
from fer_train.data.readers.locate import locate
from fer_train.recipe.targets import TargetSettings
from fer_train.splits import SPLIT_NAMES, TRAINING
from fer_train.training.inputs.soft_labels import read_soft_labels, write_soft_labels
from fer_train.training.inputs.targets import training_targets
from support.data.caches import users_cache
from support.data.fer2013 import real_fer2013, write_mini_fer2013
from support.processes import fork
from support.training.mini_run import RECIPE, MiniRun, assert_refused, fer_edge

# The label of each answer of FER+; contempt, unknown and "not a face" have none.
LABEL_OF_ANSWER = np.array([6, 3, 5, 4, 0, 1, 2, -1, -1, -1])


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A miniature data set; its labels are not in order."""
    return load_dataset(write_mini_fer2013(tmp_path_factory.mktemp("mini") / "fer2013.csv"), cache=False)


def labels_of(dataset: Dataset) -> np.ndarray:
    return dataset.splits["Training"].labels


def random_answers(dataset: Dataset) -> Float32Array:
    rows = len(labels_of(dataset))
    return np.random.default_rng(1).dirichlet(np.ones(7), rows).astype(np.float32)


@cache
def real_votes_file() -> Path | str:
    """Return the file of FER+ votes next to the real FER2013, or the reason why there is none."""
    folder = locate(None).parent
    found = [folder / name for name in FILE_NAMES if (folder / name).is_file()]
    return found[0] if found else f"no FER+ votes ({' or '.join(FILE_NAMES)}) next to the real FER2013"


def real_votes() -> dict[str, Float32Array]:
    """Return the real votes; skip the calling test if they or the real FER2013 are not available."""
    dataset, path = real_fer2013(), real_votes_file()
    if isinstance(path, str):
        pytest.skip(path)
    return load_votes(dataset)


def test_labels_alone_are_one_hot(mini: Dataset) -> None:
    targets = training_targets(TargetSettings(), mini)(0)
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, np.eye(7)[labels_of(mini)])


@given(teacher=st.floats(0.01, 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_teacher_takes_its_share(mini: Dataset, tmp_path: Path, teacher: float) -> None:
    answers = random_answers(mini)
    write_soft_labels(tmp_path / "soft.npz", answers, mini)
    targets = training_targets(TargetSettings(teacher=teacher, teacher_labels=str(tmp_path / "soft.npz")), mini)(0)
    np.testing.assert_allclose(targets, teacher * answers + (1 - teacher) * np.eye(7)[labels_of(mini)], atol=1e-3)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-5)
    assert targets.min() >= 0


def test_the_votes_are_those_of_the_same_rows() -> None:
    votes, dataset = real_votes(), real_fer2013()
    counts = np.concatenate([votes[name] for name in SPLIT_NAMES])
    labels = np.concatenate([dataset.splits[name].labels for name in SPLIT_NAMES])
    assert counts.shape == (35_887, len(ANSWERS))
    top = LABEL_OF_ANSWER[counts.argmax(axis=1)]
    # 62.3 % of all rows; 65.7 % of those where one of the seven emotions has more votes than any other answer.
    assert (top == labels).mean() == pytest.approx(0.623, abs=0.001)
    alone = (counts == counts.max(axis=1, keepdims=True)).sum(axis=1) == 1
    assert (top == labels)[alone & (top >= 0)].mean() == pytest.approx(0.657, abs=0.001)
    for shift in (-1, 1):
        assert (np.roll(top, shift) == labels).mean() < 0.25


@pytest.mark.slow
def test_targets_of_the_crowd_are_distributions_that_lean_to_the_label() -> None:
    dataset = real_fer2013()
    real_votes()
    labels = labels_of(dataset)
    targets = training_targets(TargetSettings(crowd=0.5), dataset)(0)
    assert targets.shape == (28_709, 7)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-5)
    rows = np.arange(len(labels))
    assert targets.min() >= 0
    assert targets[rows, labels].min() >= 0.5
    # The translated votes alone agree with FER2013's label more often than the plain majority does.
    crowd = 2 * targets - np.eye(7)[labels]
    assert 0.64 < (crowd.argmax(axis=1) == labels).mean() < 0.75
    # They are translated votes, not FER2013's label, which would have nearly all probability everywhere.
    assert 0.4 < crowd[rows, labels].mean() < 0.7


@pytest.fixture(scope="module")
def real_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a link to FER2013, but without votes."""
    real_fer2013()
    source = locate(None)
    folder = tmp_path_factory.mktemp("beside")
    (folder / source.name).symlink_to(source.resolve())
    return folder


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda text: b"", "no column"),
    "cut in a row": (lambda text: text[: len(text) // 2].rpartition(b",")[0], "damaged"),
    "cut after a row": (lambda text: text[: text.rindex(b"\n", 0, len(text) // 2) + 1], "not the whole file"),
    "a row too many": (lambda text: text + text[text.rstrip().rindex(b"\n") + 1 :], "3590 rows for PrivateTest"),
    "other columns": (lambda text: text.replace(b"disgust", b"disgusted", 1), "no column disgust"),
    "no header": (lambda text: text[text.index(b"\n") + 1 :], "no column"),
    "another split": (lambda text: text.replace(b"\nPublicTest", b"\nTest", 1), "damaged"),
    "not a number": (lambda text: text.replace(b",4,0,", b",nan,0,", 1), "line 2 is damaged"),
    "below zero": (lambda text: text.replace(b",4,0,", b",-4,0,", 1), "line 2 is damaged"),
    "not UTF-8": (lambda text: b"\xff\xfe" + text, "UTF-8"),
    "compressed": (lambda text: b"\x1f\x8b" + text, "UTF-8"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_votes_are_refused(damage: str, real_folder: Path) -> None:
    real_votes()
    change, words = DAMAGES[damage]
    path = real_folder / FILE_NAMES[1]
    path.write_bytes(change(Path(real_votes_file()).read_bytes()))
    try:
        with pytest.raises(InputError, match=words) as refused:
            load_votes(real_fer2013(), real_folder)
    finally:
        path.unlink()
    assert str(path) in str(refused.value)
    assert "github.com/microsoft/FERPlus" in str(refused.value)


def test_missing_and_damaged_votes_are_one_line_of_the_command(real_folder: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE + "[targets]\ncrowd = 0.5\n")

    def refuse(*words: str) -> None:
        with users_cache():  # decoding the real FER2013 takes half a minute
            done = fer_edge("train", "--config", recipe, "--out", out, data=real_folder)
        assert_refused(done, 2, *words)
        assert not out.exists()

    refuse(str(real_folder), "no FER+ votes", "github.com/microsoft/FERPlus")
    path = real_folder / FILE_NAMES[0]
    path.mkdir()
    refuse(str(real_folder), "no FER+ votes")
    path.rmdir()
    path.write_bytes(b"\xff\xfe")
    refuse(str(path), "UTF-8")
    path.write_text("Usage,neutral\nTraining,4\n")
    refuse(str(path), "no column")
    path.unlink()


def test_votes_for_another_data_set_are_refused(mini: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="need the known FER2013"):
        training_targets(TargetSettings(crowd=0.5), mini)(0)
    data = write_mini_fer2013(tmp_path / "fer2013.csv")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE + "[targets]\ncrowd = 0.5\n")
    done = fer_edge("train", "--config", recipe, "--out", tmp_path / "run", data=data)
    assert_refused(done, 2, "need the known FER2013")
    assert not (tmp_path / "run").exists()


def test_soft_labels_are_read_as_written(mini: Dataset, tmp_path: Path) -> None:
    answers = random_answers(mini)
    write_soft_labels(tmp_path / "soft.npz", answers, mini)
    read = read_soft_labels(tmp_path / "soft.npz", mini)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, answers, atol=1e-3)  # float16 in the file
    np.testing.assert_allclose(read.sum(axis=1), 1, atol=1e-6)
    with pytest.raises(OutputError):
        write_soft_labels(tmp_path / "no" / "soft.npz", answers, mini)


def test_soft_labels_of_other_data_are_refused(mini: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "soft.npz"
    for other in (
        dataclasses.replace(mini, rows_sha256="0" * 64),
        load_dataset(write_mini_fer2013(tmp_path / "other.csv", seed=5), cache=False),
        load_dataset(write_mini_fer2013(tmp_path / "longer.csv", per_class=13), cache=False),
    ):
        write_soft_labels(path, random_answers(other), other)
        with pytest.raises(InputError, match="of another data set") as refused:
            read_soft_labels(path, mini)
        assert str(path) in str(refused.value)
    write_soft_labels(path, random_answers(mini)[:-1], mini)
    with pytest.raises(InputError, match="of another data set"):
        read_soft_labels(path, mini)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 0.0])
def test_what_is_no_distribution_is_refused(value: float, mini: Dataset, tmp_path: Path) -> None:
    answers = random_answers(mini)
    answers[3] = value
    write_soft_labels(tmp_path / "soft.npz", answers, mini)
    with pytest.raises(InputError, match="not probabilities"):
        read_soft_labels(tmp_path / "soft.npz", mini)


def saved(**arrays: object) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def one_array() -> bytes:
    content = io.BytesIO()
    np.save(content, np.ones((84, 7)))
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"a text",
        one_array(),
        saved(),
        saved(probabilities=np.ones((84, 7))),
        saved(probabilities=np.array(["a"]), rows_sha256="x"),
        saved(probabilities=np.array([{}]), rows_sha256="x"),
    ],
)
def test_another_file_is_refused(content: bytes, mini: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "soft.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="soft labels"):
        read_soft_labels(path, mini)


def test_a_missing_file_or_a_folder_is_refused(mini: Dataset, tmp_path: Path) -> None:
    for path in (tmp_path / "no.npz", tmp_path):
        with pytest.raises(InputError, match="cannot read the teacher's soft labels") as refused:
            read_soft_labels(path, mini)
        assert str(path) in str(refused.value)


@given(share=st.floats(0, 1, exclude_max=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_file_cut_anywhere_is_refused(share: float, mini: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "soft.npz"
    write_soft_labels(path, random_answers(mini), mini)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="soft labels"):
        read_soft_labels(path, mini)


@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_file_with_a_changed_byte_is_refused_or_the_same(
    place: float, bits: int, mini: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "soft.npz"
    write_soft_labels(path, random_answers(mini), mini)
    whole, content = read_soft_labels(path, mini), bytearray(path.read_bytes())
    content[int(place * len(content))] ^= bits
    path.write_bytes(content)
    try:
        read = read_soft_labels(path, mini)
    except InputError:
        return
    np.testing.assert_array_equal(read, whole)  # in a date or similar: the zip's checksums cover the rest


@pytest.mark.slow
def test_teachers_answers_are_kept_and_taught(mini_run: MiniRun, tmp_path: Path) -> None:
    out = tmp_path / "teacher.npz"
    asked = ("data", "soft-labels", mini_run.run, mini_run.run / "model.keras", "--out", out)
    done = fork.fer_edge(*asked, data=mini_run.data)
    assert done.returncode == 0, done.stderr
    dataset = load_dataset(mini_run.data)
    kept = read_soft_labels(out, dataset)
    assert kept.shape == (len(dataset.splits[TRAINING]), 7)
    np.testing.assert_allclose(kept.sum(axis=1), 1, atol=1e-5)
    # The teacher was trained on these images: it is right on many more than the one in seven of chance.
    assert (kept.argmax(axis=1) == dataset.splits[TRAINING].labels).mean() > 0.3
    again = fer_edge(*asked, data=mini_run.data)
    assert_refused(again, 2, str(out), "--force")
    nowhere = fer_edge("data", "soft-labels", mini_run.run, "--out", tmp_path / "no" / "x.npz", data=mini_run.data)
    assert_refused(nowhere, 6, str(tmp_path / "no"))
    missing = fer_edge("data", "soft-labels", tmp_path / "no.keras", "--out", tmp_path / "y.npz", data=mini_run.data)
    assert_refused(missing, 2, "no.keras")


@pytest.mark.slow
def test_a_bundle_can_be_the_teacher(mini_run: MiniRun, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    converted = fork.fer_edge("convert", mini_run.run, "--out", bundle, data=mini_run.data)
    assert converted.returncode == 0, converted.stderr
    by_file, by_bundle = tmp_path / "file.npz", tmp_path / "bundle.npz"
    for teacher, out in ((mini_run.run / "model.keras", by_file), (bundle, by_bundle)):
        done = fork.fer_edge("data", "soft-labels", teacher, "--out", out, data=mini_run.data)
        assert done.returncode == 0, done.stderr
    dataset = load_dataset(mini_run.data)
    np.testing.assert_allclose(read_soft_labels(by_bundle, dataset), read_soft_labels(by_file, dataset), atol=5e-3)


@pytest.mark.parametrize(("epoch", "teacher"), [(0, 0.0), (2, 0.0), (3, 0.5), (100, 0.5)])
def test_a_teacher_is_heard_from_its_epoch_on(epoch: int, teacher: float, mini: Dataset, tmp_path: Path) -> None:
    answers = random_answers(mini)
    write_soft_labels(tmp_path / "soft.npz", answers, mini)
    settings = TargetSettings(teacher=0.5, teacher_labels=str(tmp_path / "soft.npz"), teacher_from=3)
    targets = training_targets(settings, mini)(epoch)
    np.testing.assert_allclose(targets, teacher * answers + (1 - teacher) * np.eye(7)[labels_of(mini)], atol=1e-3)
