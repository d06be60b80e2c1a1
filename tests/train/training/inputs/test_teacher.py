"""``targets.teacher_models``: trained networks that predict each augmented image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from fer_edge.model.labels import FER2013_LABELS
from fer_edge.model.quantization import softmax
from fer_edge.types import Float32Array
from fer_train.backend import load_keras
from fer_train.data.dataset import TRAINING, load_dataset
from fer_train.recipe.recipe import load_recipe
from fer_train.training.inputs.teacher import Teacher
from fer_train.training.run_folder.files import MODEL
from support.processes import fork
from support.training.mini_run import RECIPE, MiniRun, assert_refused, fer_edge


def keras_answers(run: Path, images: Float32Array) -> Float32Array:
    model = load_keras().models.load_model(run / MODEL, compile=False)
    return softmax(np.asarray(model(images, training=False)))


def changed_copy(run: Path, folder: Path, sharpened: float = 1.0) -> Path:
    """Return the run's network with logits in reverse order, multiplied by ``sharpened``."""
    keras = load_keras()
    model = keras.models.load_model(run / MODEL, compile=False)
    model.layers[-1].set_weights([sharpened * array[..., ::-1] for array in model.layers[-1].get_weights()])
    folder.mkdir()
    model.save(folder / MODEL)
    return folder


@pytest.fixture(scope="module")
def images(mini_run: MiniRun) -> Float32Array:
    faces = load_dataset(mini_run.data).splits[TRAINING].images[:12]
    return faces[..., np.newaxis].astype(np.float32)


def test_it_answers_as_its_networks_do_together(mini_run: MiniRun, tmp_path: Path, images: Float32Array) -> None:
    runs = [mini_run.run, changed_copy(mini_run.run, tmp_path / "other")]
    rest = np.full((len(images), 7), 0.4 / 7, dtype=np.float32)
    taught = Teacher(runs, 0.6, FER2013_LABELS).add_share(images, rest)
    answers = [keras_answers(run, images) for run in runs]
    np.testing.assert_allclose(answers[1], answers[0][:, ::-1], atol=1e-5)
    np.testing.assert_allclose(taught, rest + 0.6 * np.mean(answers, axis=0), atol=1e-5)
    np.testing.assert_allclose(taught.sum(axis=1), 1, atol=1e-5)


def test_mirrored_it_answers_alike_for_an_image_and_its_mirror(mini_run: MiniRun, images: Float32Array) -> None:
    none = np.zeros((len(images), 7), dtype=np.float32)
    teacher = Teacher([mini_run.run], 1.0, FER2013_LABELS, mirrored=True)
    flipped = np.ascontiguousarray(images[:, :, ::-1])
    answers = [keras_answers(mini_run.run, view) for view in (images, flipped)]
    assert np.abs(answers[0] - answers[1]).max() > 0.001
    for view in (images, flipped):
        np.testing.assert_allclose(teacher.add_share(view, none), np.mean(answers, axis=0), atol=1e-5)


def test_images_of_another_size_are_brought_to_its_own(mini_run: MiniRun, images: Float32Array) -> None:
    teacher, none = Teacher([mini_run.run], 1.0, FER2013_LABELS), np.zeros((len(images), 7), dtype=np.float32)
    larger = np.stack([cv2.resize(image, (96, 96), interpolation=cv2.INTER_NEAREST) for image in images])
    np.testing.assert_allclose(teacher.add_share(larger[..., None], none), teacher.add_share(images, none), atol=1e-4)


def test_bfloat16_changes_what_it_says_by_little(mini_run: MiniRun, images: Float32Array) -> None:
    none = np.zeros((len(images), 7), dtype=np.float32)
    exact, rounded = (
        Teacher([mini_run.run], 1.0, FER2013_LABELS, precision).add_share(images, none)
        for precision in ("float32", "bfloat16")
    )
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(exact, rounded, atol=0.1)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_it_sees_what_the_network_sees(mini_run: MiniRun, mixup: float) -> None:
    """Each batch's targets are the teacher's predictions for that batch's images, also for mixed ones."""
    split = load_dataset(mini_run.data).splits[TRAINING]
    recipe = load_recipe(mini_run.recipe)
    recipe = replace(recipe, augment=replace(recipe.augment, rotate_degrees=30.0, mixup_alpha=mixup))
    share, rest = 0.75, 0.25 * split.distributions(7)

    load_keras()
    from fer_train.training.inputs.batches import TrainingBatches, TrainingSet  # imports Keras

    def batch(teacher: Teacher | None, step: int) -> Sequence[Float32Array]:
        training = TrainingSet(split.images, split.labels, rest, None, teacher)
        return TrainingBatches(training, recipe, 2, None)[step]

    teacher = Teacher([mini_run.run], share, FER2013_LABELS)
    (seen, targets, _), (plain, own, _) = batch(teacher, 1), batch(None, 1)
    np.testing.assert_array_equal(seen, plain)
    np.testing.assert_allclose(targets, own + share * keras_answers(mini_run.run, seen), atol=1e-5)
    np.testing.assert_array_equal(targets, batch(teacher, 1)[1])


def recipe_of(folder: Path, targets: str, text: str = RECIPE) -> Path:
    path = folder / "taught.toml"
    path.write_text(f"{text}[targets]\n{targets}\n")
    return path


@pytest.mark.slow
def test_a_student_learns_from_it_alone_and_is_resumed(mini_run: MiniRun, tmp_path: Path) -> None:
    """The teacher, a run's folder, has its outputs in reverse order. The labels have no effect."""
    teacher = changed_copy(mini_run.run, tmp_path / "teacher", sharpened=20.0)
    text = RECIPE.replace("epochs = 3", "epochs = 8\naveraged_epochs = 2").replace('"mini"', '"taught"')
    recipe = recipe_of(tmp_path, f'teacher = 1.0\nteacher_models = ["{teacher}"]', text)
    out = tmp_path / "run"
    done = fork.fer_edge("train", "--config", recipe, "--out", out, data=mini_run.data)
    assert done.returncode == 0, done.stderr
    split = load_dataset(mini_run.data).splits[TRAINING]
    pixels = split.images[..., np.newaxis].astype(np.float32)
    student, taught = (keras_answers(run, pixels).argmax(axis=1) for run in (out, teacher))
    assert (student == taught).mean() > 0.8
    assert (student == split.labels).mean() < 0.5
    kept = (out / "history.jsonl").read_text().splitlines()
    (out / "history.jsonl").write_text("\n".join(kept[:-1]) + "\n")
    resumed = fork.fer_edge("train", "--config", recipe, "--out", out, "--resume", data=mini_run.data)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((out / "run.json").read_text())["epochs"] == 8


@pytest.mark.slow
def test_what_can_teach_nothing_is_refused_before_the_first_epoch(mini_run: MiniRun, tmp_path: Path) -> None:
    keras = load_keras()
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.keras").write_text("no model")
    keras.Sequential([keras.Input((48, 48, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]).save(
        tmp_path / "three.keras"
    )
    for model, code, words in (
        ("missing", 2, ["missing", "no such model file"]),
        ("empty", 2, ["holds no model.keras", "finished run"]),
        ("text.keras", 4, ["text.keras", "not a Keras 3 model file"]),
        ("three.keras", 4, ["three.keras", "wanted one logit for each of 7 labels"]),
    ):
        recipe = recipe_of(tmp_path, f'teacher = 0.5\nteacher_models = ["{tmp_path / model}"]')
        done = fork.fer_edge("train", "--config", recipe, "--out", tmp_path / "run", data=mini_run.data)
        assert_refused(done, code, *words)
        assert not (tmp_path / "run").exists()


def test_a_run_of_other_labels_cannot_teach(mini_run: MiniRun, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / MODEL).write_bytes((mini_run.run / MODEL).read_bytes())
    told = json.loads((mini_run.run / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**told, "labels": told["labels"][::-1]}))
    recipe = recipe_of(tmp_path, f'teacher = 0.5\nteacher_models = ["{other}"]')
    done = fork.fer_edge("train", "--config", recipe, "--out", tmp_path / "run", data=mini_run.data)
    assert_refused(done, 4, "other", "knows neutral, surprise", "wanted angry, disgust")


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ('teacher = 0.5\nteacher_models = ["a"]\nteacher_labels = "b"', ["one of teacher_labels and teacher_models"]),
        ('teacher_models = ["a"]', ["one of teacher_labels and teacher_models"]),
        ("teacher = 0.5", ["one of teacher_labels and teacher_models"]),
        ('teacher = 0.5\nteacher_models = [""]', ["targets.teacher_models[0] must be a non-empty string"]),
        ('teacher = 0.5\nteacher_models = "a"', ["teacher_models"]),
        ('teacher = 0.5\nteacher_labels = "a"\nteacher_mirrored = true', ["teacher_mirrored needs teacher_models"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, targets: str, words: list[str]) -> None:
    done = fer_edge("train", "--config", recipe_of(tmp_path, targets), "--out", tmp_path / "run")
    assert_refused(done, 2, "taught.toml", "targets", *words)


def test_several_processes_cannot_ask_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    recipe = recipe_of(tmp_path, 'teacher = 0.5\nteacher_models = ["a"]')
    place = ["--coordinator", "127.0.0.1:9", "--processes", "2", "--process", "0"]
    done = fer_edge("train", "--config", recipe, "--out", tmp_path / "run", *place)
    assert_refused(done, 2, "targets.teacher_models", "fer-edge data soft-labels")


def test_a_search_refuses_a_missing_network_before_it_begins(mini_run: MiniRun, tmp_path: Path) -> None:
    targets = 'teacher = 0.5\nteacher_models = ["missing"]\n[tune.ranges]\n"loop.seed" = { choices = [1, 2] }'
    options = ["--tune", "--config", recipe_of(tmp_path, targets), "--out", tmp_path / "search"]
    assert_refused(fer_edge("train", *options, data=mini_run.data), 2, "missing: no such model file")
    assert not (tmp_path / "search").exists()
