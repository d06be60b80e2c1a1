"""``fer-edge evaluate`` and ``fer-edge bench`` as processes, with good and bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import pytest

import fer_bench
from fer_bench.runners import open_runner
from fer_train.data.dataset import load_dataset
from support.data.fer2013 import MiniRow, csv_bytes, mini_rows, write_csv, write_mini_fer2013


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini_fer2013(tmp_path_factory.mktemp("data") / "fer2013.csv", test_per_class=3)


def fer_edge(*arguments: object, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cwd), "PYTHONIOENCODING": "utf-8"}
    environment.pop("FER_EDGE_DATA", None)
    done = subprocess.run(
        [sys.executable, "-m", "fer_edge", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def refusal(*arguments: object, cwd: Path) -> tuple[int, str]:
    """Run a command that must fail and write nothing; return its exit code and its line on stderr."""
    before = sorted(cwd.rglob("*"))
    done = fer_edge(*arguments, cwd=cwd, check=False)
    assert done.stdout == ""
    assert done.stderr.startswith("fer-edge: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert sorted(cwd.rglob("*")) == before
    return done.returncode, done.stderr


@pytest.mark.slow
def test_bench_measures_everything_in_one_run(tiny_bundle: Path, mini: Path, tmp_path: Path):
    done = fer_edge(
        "bench", "--bundle", tiny_bundle, "--data", mini, "--rounds", 2, "--runs", 10, "--engines", "litert",
        "--threads", "1",
        "--json", "out.json", "--markdown", "out.md", cwd=tmp_path,
    )  # fmt: skip
    table = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert table["bundle"]["name"] == "tiny"
    float32, int8 = table["results"]
    assert (float32["variant"], int8["variant"]) == ("float32", "int8")
    assert int8["size_bytes"] == (tiny_bundle / "int8.tflite").stat().st_size
    assert_valid(table)
    assert [(row["variant"], row["engine"], row["threads"]) for row in table["latency"]] == [
        ("float32", "litert", 1),
        ("int8", "litert", 1),
    ]
    for row in table["latency"]:
        assert row["runs"] == 20
        assert row["rss_loaded_mib"] > row["rss_before_mib"]
    (accuracy,) = int8["accuracy"]
    assert (accuracy["split"], accuracy["n"], accuracy["temperature"]) == ("PublicTest", 21, 1.5)
    assert accuracy["low"] <= accuracy["accuracy"] <= accuracy["high"]
    assert 0 <= accuracy["agreement"] <= 1
    assert float32["accuracy"][0]["agreement"] is None
    markdown = (tmp_path / "out.md").read_text(encoding="utf-8")
    for row in ("top-1 % (95 %)", "recall % of", "p50 ms", "RSS MiB"):
        assert row in done.stdout
        assert row in markdown
    assert not list(tmp_path.glob(".*tmp*"))
    # The numbers must be those of the runner, counted here.
    with open_runner(tiny_bundle, "int8") as runner:
        split = load_dataset(mini, cache=False).splits["PublicTest"]
        assert accuracy["correct"] == int((runner.logits(split.images).argmax(axis=1) == split.labels).sum())


@pytest.mark.slow
def test_private_test_comes_with_final_only(tiny_bundle: Path, mini: Path, tmp_path: Path):
    done = fer_edge(
        "bench", "accuracy", "--final", "--bundle", tiny_bundle, "--data", mini, "--json", "-", cwd=tmp_path
    )
    splits = [found["split"] for found in json.loads(done.stdout)["results"][0]["accuracy"]]
    assert splits == ["PublicTest", "PrivateTest"]
    code, line = refusal("evaluate", tiny_bundle, "--data", mini, "--split", "PrivateTest", cwd=tmp_path)
    assert code == 2
    assert "bench accuracy --final" in line


def test_leak_free_images_and_recall_of_each_class(tiny_bundle: Path, tmp_path: Path):
    rows = mini_rows(test_per_class=3)
    public = [row for row in rows if row.usage == "PublicTest"]
    rows += [
        MiniRow(public[number].label, usage, public[number].pixels)
        for number, usage in ((0, "Training"), (1, "PrivateTest"), (2, "PublicTest"))
    ]
    path = write_csv(tmp_path / "fer2013.csv", csv_bytes(rows))
    done = fer_edge(
        "bench", "accuracy", "--final", "--bundle", tiny_bundle, "--data", path, "--json", "o.json", cwd=tmp_path
    )
    # This data has no votes: no number, and one line with the reason.
    assert "FER+" not in done.stdout
    assert done.stderr.startswith("fer-edge: accuracy by FER+ is left out: ")
    assert (done.stderr.count("\n"), "known FER2013" in done.stderr) == (1, True)
    assert "PublicTest of" in done.stdout
    assert "22 images, 19 leak-free" in done.stdout
    assert "22 images, 21 leak-free" in done.stdout

    float32, int8 = json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))["results"]
    for result in (float32, int8):
        on_public, on_private = result["accuracy"]
        with open_runner(tiny_bundle, result["variant"]) as runner:
            split = load_dataset(path, cache=False).splits["PublicTest"]
            right = runner.logits(split.images).argmax(axis=1) == split.labels
        # The first two rows are also in other splits, and the last repeats the third.
        leak_free = on_public["leak_free"]
        assert (leak_free["n"], leak_free["correct"]) == (19, int(right[2:21].sum()))
        assert leak_free["low"] <= leak_free["accuracy"] <= leak_free["high"]
        assert on_private["leak_free"]["n"] == 21
        assert on_public["ferplus"] is None
        assert [row["support"] for row in on_public["classes"]] == [int((split.labels == i).sum()) for i in range(7)]
        assert [row["correct"] for row in on_public["classes"]] == [
            int(right[split.labels == i].sum()) for i in range(7)
        ]
    for before, after in zip(float32["accuracy"][0]["classes"], int8["accuracy"][0]["classes"], strict=True):
        assert before["change"] is None
        assert after["label"] == before["label"]
        assert after["change"] == pytest.approx(after["recall"] - before["recall"])


def test_a_split_that_leaked_as_a_whole_has_no_leak_free_accuracy(tiny_bundle: Path, tmp_path: Path):
    path = write_mini_fer2013(tmp_path / "fer2013.csv", test_per_class=1, leaks=7)
    done = fer_edge("bench", "accuracy", "--bundle", tiny_bundle, "--data", path, "--json", "-", cwd=tmp_path)
    assert [result["accuracy"][0]["leak_free"] for result in json.loads(done.stdout)["results"]] == [None, None]


def test_bench_latency_needs_neither_data_nor_the_training_package(tiny_bundle: Path, tmp_path: Path):
    script = (
        "import sys; from fer_edge.commands.cli import main; "
        f"code = main(['bench', 'latency', '--bundle', {str(tiny_bundle)!r}, '--rounds', '1', '--runs', '5', "
        "'--engines', 'litert', '--threads', '1']); "
        "heavy = {'fer_train.data.dataset', 'fer_convert.convert', 'keras', 'tensorflow', 'sklearn', 'statsmodels'}; "
        "sys.exit(code or ' '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "p99 ms" in done.stdout
    assert "int8 cost: accuracy was not measured." in done.stdout
    assert "top-1" not in done.stdout


@pytest.mark.slow
def test_bench_latency_goes_on_without_an_engine_that_is_absent(tiny_bundle: Path, tmp_path: Path):
    # The defaults, in a folder without .venv-legacy; this bundle has no file for ONNX Runtime.
    done = fer_edge(
        "bench", "latency", "--bundle", tiny_bundle, "--rounds", 1, "--runs", 2, "--json", "-", cwd=tmp_path
    )
    table = json.loads(done.stdout)
    assert_valid(table)
    assert table["results"][0]["accuracy"] == []
    assert {row["engine"] for row in table["latency"]} == {"litert", "litert-noxnnpack"}
    assert {row["threads"] for row in table["latency"]} == {1, len(os.sched_getaffinity(0))}
    assert done.stderr.startswith("fer-edge: skipped tflite-runtime: ")
    assert done.stderr.count("\n") == 1
    assert "make legacy-env" in done.stderr

    bench = ("bench", "latency", "--bundle", tiny_bundle, "--threads", 1, "--engines")
    named = fer_edge(*bench, "litert,onnxruntime", "--rounds", 1, "--runs", 1, cwd=tmp_path)
    assert named.stderr == "fer-edge: skipped onnxruntime: this bundle has no .onnx file\n"
    code, line = refusal(*bench, "onnxruntime", cwd=tmp_path)
    assert (code, "no file for onnxruntime" in line) == (2, True)
    code, line = refusal(*bench, "tflite-runtime", cwd=tmp_path)
    assert (code, "make legacy-env" in line) == (2, True)


@pytest.mark.slow
def test_a_python_that_is_of_no_use_for_tflite_runtime(tiny_bundle: Path, tmp_path: Path):
    bench = ("bench", "latency", "--bundle", tiny_bundle, "--engines", "tflite-runtime", "--tflite-runtime")
    code, line = refusal(*bench, "no/such/python", cwd=tmp_path)
    assert (code, "no/such/python: no such file" in line) == (2, True)
    code, line = refusal(*bench, tiny_bundle / "manifest.json", cwd=tmp_path)
    assert (code, "cannot be started: Permission denied" in line) == (2, True)
    code, line = refusal(*bench, sys.executable, cwd=tmp_path)
    assert (code, "pip install tflite-runtime==2.14.0 'numpy<2'" in line) == (2, True)
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 1000\n")
    sleeper.chmod(0o755)
    code, line = refusal(*bench, sleeper, "--timeout", 1, cwd=tmp_path)
    assert (code, "did not answer within 1 s" in line) == (4, True)


@pytest.mark.slow
def test_evaluate_tells_everything_and_draws_it(tiny_bundle: Path, mini: Path, tmp_path: Path):
    arguments = ("evaluate", tiny_bundle, "--variant", "float32", "--data", mini)
    done = fer_edge(*arguments, "--out", "deep/er", "--json", cwd=tmp_path)
    table = json.loads(done.stdout)
    assert json.loads((tmp_path / "deep/er/evaluation.json").read_text()) == table
    assert (table["model"], table["split"], table["n"]) == ("tiny float32", "PublicTest", 21)
    assert [sum(row) for row in table["confusion"]] == [3] * 7
    assert sum(table["confusion"][i][i] for i in range(7)) == table["correct"]
    assert [row["label"] for row in table["classes"]][:2] == ["angry", "disgust"]
    for name in ("confusion.png", "reliability.png"):
        image = cv2.imread(str(tmp_path / "deep/er" / name))
        assert image is not None
        assert min(image.shape[:2]) > 400
        assert image.std() > 10
    shown = fer_edge(*arguments, "--split", "Training", cwd=tmp_path).stdout
    for part in ("95 % interval", "balanced accuracy", "ECE", "precision %", "true \\ predicted", "of 84 images"):
        assert part in shown


def test_missing_and_unwritable_paths(tiny_bundle: Path, mini: Path, tmp_path: Path):
    assert refusal("bench", "latency", "--bundle", "nowhere", cwd=tmp_path)[0] == 2
    assert refusal("evaluate", tiny_bundle, "--data", "nowhere.csv", cwd=tmp_path)[0] == 2
    code, line = refusal("bench", "--bundle", tiny_bundle, "--data", mini, "--json", "no/such/x.json", cwd=tmp_path)
    assert (code, "no/such/x.json" in line) == (6, True)
    assert refusal("bench", "latency", "--bundle", tiny_bundle, "--markdown", tmp_path, cwd=tmp_path)[0] == 6
    assert refusal("evaluate", tiny_bundle, "--data", mini, "--out", mini / "folder", cwd=tmp_path)[0] == 6


@pytest.mark.slow
def test_damaged_and_foreign_models(tiny_bundle: Path, mini: Path, tmp_path: Path):
    damaged = Path(shutil.copytree(tiny_bundle, tmp_path / "damaged"))
    content = bytearray((damaged / "int8.tflite").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (damaged / "int8.tflite").write_bytes(content)
    code, line = refusal("bench", "latency", "--bundle", damaged, cwd=tmp_path)
    assert (code, "sha256" in line) == (4, True)

    text = tmp_path / "text.keras"
    text.write_text("not a model")
    assert refusal("evaluate", text, "--data", mini, cwd=tmp_path)[0] == 4
    assert refusal("bench", "--bundle", text, "--data", mini, cwd=tmp_path)[0] == 4


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--rounds", "0"),
        ("--threads", "1,,2"),
        ("--threads", "0"),
        ("--engines", "litert,tensorflow"),
        ("--engines", ""),
        ("--timeout", "nan"),
        ("--timeout", "0"),
        ("--timeout", "1e300"),
    ],
)
def test_usage_errors(tiny_bundle: Path, tmp_path: Path, flag: str, value: str):
    done = fer_edge("bench", "latency", flag, value, "--bundle", tiny_bundle, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert flag in done.stderr


def test_more_threads_than_cores_are_refused(tiny_bundle: Path, tmp_path: Path):
    code, line = refusal("bench", "latency", "--bundle", tiny_bundle, "--threads", "1,4096", cwd=tmp_path)
    assert (code, "--threads 4096: this machine has" in line) == (2, True)


def assert_valid(table: Any) -> None:
    """Check ``table`` with the schema in the package."""
    schema = Path(fer_bench.__path__[0]) / "schema" / "report.schema.json"
    jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(table)
