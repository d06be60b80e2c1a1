"""The gate: it passes, it refuses through the real command, and each rule refuses a model broken on purpose."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fer_bench.accuracy import run_on_split
from fer_bench.runners import open_runner
from fer_convert.checks import check_file
from fer_convert.convert import BundleOptions, convert_model
from fer_convert.export.tflite import export
from fer_convert.export.variants import VARIANTS
from fer_convert.gate import Exported, check
from fer_convert.gate_rules import AccuracyRules, FileRules, Gate, LatencyRules, read_gate
from fer_convert.quantization.calibration import calibration_images
from fer_convert.source_model import SourceModel, open_source_model
from fer_edge.errors import CheckFailedError, ConfigError
from fer_edge.model.bundle import file_sha256, load_bundle
from fer_train.data.dataset import PUBLIC_TEST, Dataset, load_dataset
from support.data.fer2013 import write_mini_fer2013
from support.processes import fork
from support.training.mini_run import MiniRun, assert_refused, fer_edge

ROOT = Path(__file__).parents[2]
OPERATORS = ("QUANTIZE", "CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED")
KIND = Gate(
    accuracy=AccuracyRules(max_loss_points=10, max_recall_loss_points=25, max_ece_rise_points=10),
    file=FileRules(max_bytes=100_000, operators=OPERATORS),
    latency=LatencyRules(max_time_over_float32=50),
)
"""Rules that an intact export of the miniature model satisfies by a wide margin."""


@dataclass(frozen=True, slots=True, eq=False)
class Workshop:
    """A trained miniature model and a data set with enough test images to measure a loss."""

    source: SourceModel
    dataset: Dataset
    folder: Path

    def convert(self, name: str, source: SourceModel | None = None, gate: Gate | None = None) -> Path:
        options = BundleOptions(variants=("float32", "int8"), gate=gate)
        return convert_model(source or self.source, self.folder / name, self.dataset, options)

    def exported(self, folder: Path) -> Exported:
        truth = self.dataset.splits[PUBLIC_TEST].labels
        logits = {}
        for variant in ("float32", "int8"):
            with open_runner(folder, variant) as runner:
                logits[variant] = run_on_split(runner, self.dataset, PUBLIC_TEST)
        return Exported(load_bundle(folder), logits, logits["float32"], truth)

    def with_int8_of(self, model: Any, healthy: Path, name: str) -> Exported:
        """Return a copy of the bundle ``healthy`` whose int8 file is from another model."""
        folder = self.folder / name
        shutil.copytree(healthy, folder)
        data = export(model, VARIANTS["int8"], calibration_images(self.dataset))
        (folder / "int8.tflite").write_bytes(data)
        manifest = json.loads((folder / "manifest.json").read_text())
        shape = (manifest["input"]["height"], manifest["input"]["width"])
        io = check_file(folder / "int8.tflite", VARIANTS["int8"], shape, len(manifest["labels"]), 0)
        manifest["variants"]["int8"]["io"] = msgspec.structs.asdict(io)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return self.exported(with_hashes_of_now(folder))


@pytest.fixture(scope="module")
def workshop(mini_run: MiniRun, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("gate")
    data = write_mini_fer2013(folder / "fer2013.csv", per_class=24, test_per_class=40)
    return Workshop(open_source_model(mini_run.run), load_dataset(data), folder)


@pytest.fixture(scope="module")
def healthy(workshop: Workshop) -> Path:
    return workshop.convert("healthy", gate=KIND)


def saved(model: Any, path: Path) -> SourceModel:
    """Return ``model`` as a user's Keras file."""
    model.save(path)
    return open_source_model(path)


def with_loud_channel(source: SourceModel, loudness: float) -> Any:
    """Return a model with the same function in float32; in int8, one channel uses nearly the whole range."""
    import keras

    *_, last = source.keras.layers
    features = last.input
    kernel, bias = last.get_weights()
    gain = np.ones(len(kernel), np.float32)
    gain[0] = loudness
    loud = keras.layers.Dense(len(gain), name="loud")
    quiet = keras.layers.Dense(len(bias), name="quiet")
    model = keras.Model(source.keras.input, quiet(loud(features)))
    loud.set_weights([np.diag(gain), np.zeros_like(gain)])
    quiet.set_weights([kernel / gain[:, None], bias])
    return model


@pytest.mark.slow
def test_a_healthy_model_passes_and_each_measured_value_is_logged(
    workshop: Workshop, healthy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "fer_convert.gate"):
        check(KIND, workshop.exported(healthy))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 6
    assert all(line.startswith("gate: int8: passed: ") for line in lines)


def test_an_export_that_lost_its_accuracy_is_refused(workshop: Workshop, healthy: Path) -> None:
    exported = workshop.with_int8_of(with_loud_channel(workshop.source, 400.0), healthy, "loud")
    check(Gate(accuracy=KIND.accuracy), workshop.exported(healthy))
    with pytest.raises(CheckFailedError, match=r"int8: top-1 loss \+.* points, 95 % interval .*at most 10"):
        check(Gate(accuracy=AccuracyRules(max_loss_points=10)), exported)
    with pytest.raises(CheckFailedError, match=r"largest loss of recall \+.* points, of \w+ \(at most 25\)"):
        check(Gate(accuracy=AccuracyRules(max_recall_loss_points=25)), exported)


def test_logits_that_are_too_small_are_refused_by_their_calibration(workshop: Workshop, healthy: Path) -> None:
    import keras

    faint = keras.models.clone_model(workshop.source.keras)
    faint.set_weights(workshop.source.keras.get_weights())
    faint.layers[-1].set_weights([weights / 8 for weights in faint.layers[-1].get_weights()])
    exported = workshop.with_int8_of(faint, healthy, "faint")
    with pytest.raises(CheckFailedError) as refused:
        check(Gate(accuracy=KIND.accuracy), exported)
    assert "calibration error rises by +" in str(refused.value)
    assert "top-1" not in str(refused.value)  # the labels are unchanged


def test_a_file_with_its_weights_in_floats_is_too_large(workshop: Workshop, healthy: Path) -> None:
    """int8.tflite contains the float32 model, as if a converter had silently skipped quantization."""
    broken = workshop.folder / "large"
    shutil.copytree(healthy, broken)
    shutil.copyfile(broken / "float32.tflite", broken / "int8.tflite")
    limit = (healthy / "int8.tflite").stat().st_size
    passing = workshop.exported(healthy)
    check(Gate(file=FileRules(max_bytes=limit)), passing)
    heavy = Exported(load_bundle(with_hashes_of_now(broken)), passing.logits, passing.reference, passing.truth)
    size = (broken / "int8.tflite").stat().st_size
    with pytest.raises(CheckFailedError, match=rf"int8: {size} bytes \(at most {limit}\)"):
        check(Gate(file=FileRules(max_bytes=limit)), heavy)


def with_hashes_of_now(folder: Path) -> Path:
    """Write the current hashes and sizes of the files to the manifest in ``folder``."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["variants"].values():
        entry["sha256"] = file_sha256(folder / entry["file"])
        entry["bytes"] = (folder / entry["file"]).stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_an_operator_outside_the_set_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    import keras

    model = workshop.source.keras
    *_, last = model.layers
    gated = keras.layers.Activation("gelu")(last.input)  # becomes separate operators
    other = keras.Model(model.input, keras.layers.Dense(7)(gated))
    other.layers[-1].set_weights(last.get_weights())
    source = saved(other, tmp_path / "gelu.keras")
    with pytest.raises(CheckFailedError, match=r"operators outside the allowed set: \w+"):
        workshop.convert("foreign", source, Gate(file=FileRules(operators=OPERATORS)))
    assert not (workshop.folder / "foreign").exists()


@pytest.mark.slow
def test_int8_slower_than_float32_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    """PReLU has no fast int8 kernel: it took eight times as long as float32 where it was measured."""
    import keras

    pixels = keras.Input((48, 48, 1))
    hidden = keras.layers.Conv2D(16, 3, padding="same")(keras.layers.Rescaling(1 / 255)(pixels))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.PReLU()(hidden))
    model = keras.Model(pixels, keras.layers.Dense(7)(pooled))
    random = np.random.default_rng(0)
    model.layers[-1].set_weights([random.normal(size=(16, 7)).astype(np.float32), np.zeros(7, np.float32)])
    source = saved(model, tmp_path / "prelu.keras")
    with pytest.raises(CheckFailedError, match=r"int8: takes .* of float32's time on this machine \(at most 2\)"):
        workshop.convert("slow", source, Gate(latency=LatencyRules(max_time_over_float32=2.0)))
    assert not (workshop.folder / "slow").exists()


def test_the_error_names_all_broken_rules_in_one_line(workshop: Workshop, healthy: Path) -> None:
    strict = Gate(file=FileRules(max_bytes=1, operators=("ADD",)))
    with pytest.raises(CheckFailedError) as refused:
        check(strict, workshop.exported(healthy))
    message = str(refused.value)
    assert "\n" not in message
    assert "at most 1)" in message
    assert "CONV_2D" in message


@pytest.mark.slow
def test_the_command_refuses_with_exit_1_and_leaves_the_old_bundle(
    mini_run: MiniRun, healthy: Path, tmp_path: Path
) -> None:
    out, rules = tmp_path / "bundle", tmp_path / "gate.toml"
    shutil.copytree(healthy, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    rules.write_text("[file]\nmax_bytes = 20_000\n")
    done = fork.fer_edge("convert", mini_run.run, "--out", out, "--force", "--gate", rules, data=mini_run.data)
    assert_refused(done, 1, "int8", "at most 20000", "nothing was written")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "gate.toml"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("holds no rule",)),
        ('variants = ["int8"]', ("holds no rule",)),
        ("[accuracy]\nmax_loss = 1", ("unknown key accuracy.max_loss; did you mean max_loss_points?",)),
        ("[acuracy]", ("unknown key acuracy; did you mean accuracy?",)),
        ("[file]\nmax_bytes = 1.5", ("file.max_bytes", "whole number")),
        ("[file]\nmax_bytes = 0", ("file.max_bytes must be a whole number of at least 1, not 0",)),
        ("[file]\noperators = ['ADD', 3]", ("file.operators[1] must be a string, not 3",)),
        (
            "[latency]\nmax_time_over_float32 = nan",
            ("latency.max_time_over_float32 must be a finite number above 0, not nan",),
        ),
        ("[accuracy]\nmax_ece_rise_points = inf", ("max_ece_rise_points must be a finite number",)),
        ("[accuracy", ("not valid TOML",)),
    ],
)
def test_a_wrong_gate_file_is_refused(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_gate(path)
    for word in (str(path), *words):
        assert word in str(refused.value)


def test_a_gate_that_cannot_judge_says_so_before_anything_is_done(healthy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="int16x8: not among the variants made"):
        Gate(variants=("int16x8",)).judged(("float32", "int8"))
    with pytest.raises(ConfigError, match="add float32 to --variants"):
        KIND.judged(("int8",))
    with pytest.raises(ConfigError, match="nothing to judge"):
        KIND.judged(("float32",))
    rules = tmp_path / "gate.toml"
    rules.write_text("[file]\nmax_bytes = 1\n")
    copied = fer_edge("convert", healthy, "--out", tmp_path / "copy", "--gate", rules)
    assert_refused(copied, 2, "--gate", "copied as they are")
    missing = fer_edge("convert", tmp_path, "--out", tmp_path / "copy", "--gate", tmp_path / "none.toml")
    assert_refused(missing, 2, "none.toml")


def test_the_shipped_model_keeps_the_files_rules_of_the_shipped_gate() -> None:
    gate = read_gate(ROOT / "convert" / "gate.toml")
    assert gate.judged(("float32", "int8")) == ("int8",)
    committed = load_bundle(ROOT / "models" / "fer-edge-s")
    nothing = np.zeros((1, 7), np.float32)
    files = Gate(variants=gate.variants, file=gate.file)
    check(files, Exported(committed, {"int8": nothing}, nothing, np.zeros(1, np.int64)))


@pytest.mark.slow
def test_bundle_check_judges_a_bundle_and_writes_only_what_passed(
    tiny_bundle: Path, mini_run: MiniRun, tmp_path: Path
) -> None:
    rules, found = tmp_path / "gate.toml", tmp_path / "found.json"
    words = ("--gate", rules, "--json", found, "--data", mini_run.data)
    rules.write_text("variants = ['int8']\n[file]\nmax_bytes = 10\n")
    assert_refused(fer_edge("bundle", "check", tiny_bundle, *words), 1, "the gate refuses it", "(at most 10)")
    assert not found.exists()
    rules.write_text("variants = ['int8']\n[file]\nmax_bytes = 1000000\n")
    done = fer_edge("bundle", "check", tiny_bundle, *words)
    assert done.returncode == 0, done.stderr
    (rule,) = json.loads(found.read_text())["passed"]
    assert rule["variant"] == "int8" and done.stdout == f"int8: {rule['finding']}\n"
    shipped = ROOT / "edge" / "fer_edge" / "model" / "default_bundle"
    assert_refused(fer_edge("bundle", "check", shipped, *words), 2, "compares with float32")
