"""`fer-edge profile`: the table, JSON and picture of real models, and bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import jsonschema
import msgspec
import pytest

import fer_bench
from fer_bench.results.profile import ProfileReport, profile_schema
from support.processes.edge_command import assert_one_line, fer_edge
from support.training.mini_run import MiniRun

MODELS = Path(__file__).parents[2] / "models"
SMALL, LARGE = MODELS / "fer-edge-xs", MODELS / "fer-edge-s"
SCHEMA = Path(fer_bench.__path__[0]) / "schema" / "profile.schema.json"


def test_the_schema_follows_from_the_structs() -> None:
    # If this fails, write ``json.dumps(profile_schema(), indent=2)`` and a newline to the file.
    assert SCHEMA.read_text(encoding="utf-8") == json.dumps(profile_schema(), indent=2) + "\n"
    jsonschema.Draft202012Validator.check_schema(profile_schema())


def test_two_bundles_are_compared(tmp_path: Path) -> None:
    result = fer_edge("profile", "--compare", LARGE, SMALL, "--rounds", 5, "--out", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert max(map(len, result.stdout.splitlines())) <= 100
    report = msgspec.json.decode((tmp_path / "out" / "profile.json").read_bytes(), type=ProfileReport)
    table = json.loads((tmp_path / "out" / "profile.json").read_bytes())
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_bytes()))
    validator.validate(table)
    first = table["models"][0]
    for damaged in ({**table, "rounds": 0}, {**table, "models": [{**first, "layers": []}]}, {**table, "unknown": 1}):
        assert not validator.is_valid(damaged)
    large, small = report.models
    assert (large.model, large.variant, small.model) == ("fer-edge-s", "int8", "fer-edge-xs")
    assert large.file_bytes == (LARGE / "int8.tflite").stat().st_size
    assert large.peak_bytes == max(layer.live_bytes for layer in large.layers) == 73_728
    # Which one is faster depends on the processor: with AMX, the depthwise layers of the smaller one take as long.
    assert report.time_ratio is not None and report.time_ratio > 0
    # One core cannot exceed its peak; the tolerance is for other programs during one of both measurements.
    assert 0.05 < large.macs_per_s / report.roof.int8_macs_per_s < 1.5
    text = result.stdout
    assert re.search(r"^s0b0_2 +conv +24×24×32 +9\.25k +5\.31M ", text, flags=re.MULTILINE)
    assert re.search(r"^MACs +56,955,776 +10,776,256 +0\.189$", text, flags=re.MULTILINE)
    assert re.search(rf"^µs; ratio: alternating .* {report.time_ratio:.3f}$", text, flags=re.MULTILINE)
    assert "peak of activations: 73,728 bytes, at s0b0_2" in text
    assert "% of this core's measured int8 peak" in text
    assert "5 rounds of truncated models, paired differences (LiteRT's wheel has no op profiler)" in text
    picture = cv2.imread(str(tmp_path / "out" / "profile.png"))
    assert picture is not None and picture.shape[1] > 1000 and picture.std() > 10


@pytest.mark.slow
def test_a_run_is_profiled_by_its_layers_and_as_float32(mini_run: MiniRun, tmp_path: Path) -> None:
    result = fer_edge("profile", mini_run.run, "--rounds", 2, "--json", "-", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    jsonschema.validate(json.loads(result.stdout), json.loads(SCHEMA.read_bytes()))
    (model,) = msgspec.json.decode(result.stdout, type=ProfileReport).models
    assert model.variant == "float32"
    layers = {layer.layer: layer for layer in model.keras_layers}
    assert (layers["stem"].kind, layers["stem"].parameters, layers["stem"].macs) == ("Conv2D", 144, 144 * 48 * 48)
    assert layers["stem"].weight_bytes == 4 * 144
    assert sum(layer.macs for layer in model.keras_layers) == model.macs
    assert {"stem", "s1b0_add", "logits"} <= {layer.layer for layer in model.layers} <= set(layers)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, ("give one MODEL", "--compare A B")),
        ((SMALL, "--compare", SMALL, LARGE), 2, ("give one MODEL", "--compare A B")),
        (("nowhere",), 2, ("nowhere: no such model",)),
        ((MODELS,), 2, ("neither a bundle", "nor a finished run")),
        ((LARGE, "--variant", "onnx_int8"), 4, ("onnx_int8", ".tflite")),
        ((LARGE, "--variant", "int4"), 4, ("no variant 'int4'", "float16")),
        ((LARGE / "int8.tflite", "--variant", "int8"), 2, ("--variant is for bundles",)),
        ((MODELS / "README.md",), 4, ("README.md", "fer-edge convert")),
        (("short.tflite",), 4, ("short.tflite", "damaged or truncated")),
        ((SMALL, "--json", "missing/out.json"), 6, ("missing/out.json", "cannot write there")),
    ],
    ids=lambda value: "-".join(str(part).rpartition("/")[2] for part in value) if isinstance(value, tuple) else "",
)
def test_bad_input_gets_one_line(
    arguments: tuple[str | Path, ...], code: int, said: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "short.tflite").write_bytes((SMALL / "int8.tflite").read_bytes()[:5000])
    result = fer_edge("profile", *arguments, cwd=tmp_path)
    assert_one_line(result, code, *said)
    assert result.stdout == ""
