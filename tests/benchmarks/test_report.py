"""Reports: JSON that can be read back, tables that say '-' for what was not measured, and a host without a name."""

from __future__ import annotations

import dataclasses
import getpass
import json
import platform
from pathlib import Path

from fer_bench.host import cpu_model, describe_host
from fer_bench.report import to_json, to_markdown, to_text
from fer_bench.results import (
    AccuracyResult,
    BenchmarkReport,
    BundleInfo,
    ClassRecall,
    DatasetInfo,
    HostInfo,
    LatencyResult,
    LatencySettings,
    LatencyStats,
    MemoryResult,
    ShareResult,
    VariantResult,
)
from fer_bench.tables import markdown_table, text_table

HOST = HostInfo("Linux", "aarch64", "Raspberry Pi 4", "3.11.2", "ai-edge-litert 2.3.0", "1.26.4")
BUNDLE = BundleInfo("fer", "1.0.0", ("sad", "happy"), 48, 48, 1.25)


def accuracy(split: str, share: float, agreement: float | None = None, p: float | None = None) -> AccuracyResult:
    right = round(share * 1000)
    changed = agreement is not None
    return AccuracyResult(
        split,
        n=1000,
        correct=right,
        accuracy=share,
        low=share - 0.03,
        high=share + 0.03,
        balanced_accuracy=share - 0.1,
        ece=0.02,
        temperature=1.25,
        agreement=agreement,
        mcnemar_p=p,
        leak_free=ShareResult(900, right - 110, (right - 110) / 900, 0.5, 0.7),
        ferplus=ShareResult(950, right + 20, (right + 20) / 950, 0.6, 0.8),
        classes=(
            ClassRecall("sad", 600, right - 300, (right - 300) / 600, -2 / 600 if changed else None),
            ClassRecall("happy", 400, 300, 0.75, 0.0 if changed else None),
        ),
    )


def report() -> BenchmarkReport:
    memory = MemoryResult(13.0, 30.0, 43.5, 80.0, 12.0)
    return BenchmarkReport(
        HOST,
        BUNDLE,
        (
            VariantResult(
                "float32",
                2048,
                "a" * 64,
                (accuracy("PublicTest", 0.65),),
                LatencyResult(LatencyStats(1.0, 2.0, 3.0, 60), 1.0),
                memory,
            ),
            VariantResult(
                "int8",
                1024,
                "b" * 64,
                (accuracy("PublicTest", 0.648, 0.981, 0.0004),),
                LatencyResult(LatencyStats(0.5, 0.75, 0.9, 60), 0.5),
                memory,
            ),
        ),
        DatasetInfo("fer2013", "c" * 64),
        LatencySettings(3, 20, 1),
    )


def test_json_holds_every_value():
    table = json.loads(to_json(report()))
    assert table["format"] == 2
    assert table["bundle"]["labels"] == ["sad", "happy"]
    assert [row["variant"] for row in table["results"]] == ["float32", "int8"]
    assert table["results"][1]["latency"] == {
        "stats": {"p50_ms": 0.5, "p95_ms": 0.75, "p99_ms": 0.9, "runs": 60},
        "ratio": 0.5,
    }
    found = table["results"][1]["accuracy"][0]
    assert found["mcnemar_p"] == 0.0004
    assert found["leak_free"] == {"n": 900, "correct": 538, "accuracy": 538 / 900, "low": 0.5, "high": 0.7}
    assert found["ferplus"]["n"] == 950
    assert found["classes"][1] == {"label": "happy", "support": 400, "correct": 300, "recall": 0.75, "change": 0.0}
    assert table["results"][0]["accuracy"][0]["classes"][0]["change"] is None
    assert table["dataset"]["rows_sha256"] == "c" * 64


def rows_of(markdown: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if "|" in line]


def test_markdown_rows():
    rows = rows_of(to_markdown(report()))
    names = ["split", "variant", "top-1 % (95 %)", "leak-free", "FER+", "balanced", "ECE", "agrees", "McNemar p"]
    assert rows[0] == names
    assert rows[1] == [*["---"] * 2, *["---:"] * 7]
    assert rows[2:4] == [
        ["PublicTest", "float32", "65.00 (62.0–68.0)", "60.00", "70.53", "55.00", "2.00", "-", "-"],
        ["PublicTest", "int8", "64.80 (61.8–67.8)", "59.78", "70.32", "54.80", "2.00", "98.10", "< 0.001"],
    ]
    assert rows[4] == ["split", "recall % of", "images", "float32", "int8"]
    assert rows[6:8] == [
        ["PublicTest", "sad", "600", "58.3", "58.0 (-0.3)"],
        ["PublicTest", "happy", "400", "75.0", "75.0 (+0.0)"],
    ]
    for row in (["file KiB", "2.0", "1.0"], ["time over float32's", "1.00", "0.50"]):
        assert row in rows[8:]
    assert ["RSS after load MiB", "43.5", "43.5"] in rows[8:]


def test_a_terminal_of_100_columns_takes_it():
    variants = [
        VariantResult(name, 2048, "a" * 64, (accuracy("PublicTest", 0.65, *told), accuracy("PrivateTest", 0.66, *told)))
        for name, told in (("float32", ()), ("float16", (1.0, 1.0)), ("int16x8", (0.99, 0.0001)), ("int8", (0.98, 0.5)))
    ]
    text = to_text(BenchmarkReport(HOST, BUNDLE, tuple(variants), DatasetInfo("fer2013", "c" * 64)))
    assert "PrivateTest of fer2013: 1000 images, 900 leak-free, 950 with a FER+ majority" in text
    assert max(map(len, text.splitlines())) <= 100


def test_what_no_image_was_there_for_is_a_dash_or_left_out():
    measured = accuracy("PublicTest", 0.65)
    empty = ClassRecall("happy", 0, 0, None, None)
    bare = dataclasses.replace(measured, leak_free=None, ferplus=None, classes=(measured.classes[0], empty))
    found = BenchmarkReport(HOST, BUNDLE, (VariantResult("int8", 9, "d" * 64, (bare,)),), DatasetInfo("x", "c" * 64))
    rows = rows_of(to_markdown(found))
    assert rows[0] == ["split", "variant", "top-1 % (95 %)", "balanced", "ECE"]
    assert ["PublicTest", "happy", "0", "-"] in rows
    text = to_text(found)
    assert "PublicTest of x: 1000 images, 0 leak-free\n" in text
    for absent in ("FER+", "McNemar", "None"):
        assert absent not in text


def test_what_was_not_measured_has_no_row():
    only_size = BenchmarkReport(HOST, BUNDLE, (VariantResult("int8", 512, "d" * 64),))
    text = to_text(only_size)
    assert "file KiB" in text
    for absent in ("top-1", "recall", "latency", "RSS", "None"):
        assert absent not in text


def test_text_table_is_aligned():
    text = text_table(["", "a", "bcd"], [["first", "1", "2"], ["x", "345", "-"]])
    assert text.splitlines() == ["         a  bcd", "-----  ---  ---", "first    1    2", "x      345    -"]


def test_the_columns_that_name_a_row_stand_to_the_left():
    text = text_table(["a", "b", "c"], [["1", "2", "3"], ["long", "long", "long"]], names=2)
    assert text.splitlines()[2] == "1     2        3"


def test_markdown_cells_cannot_break_the_table():
    assert markdown_table(["a|b", "c"], [["x", "y|z"]]).splitlines()[0] == "| a\\|b | c |"


def test_the_host_is_described_without_naming_it():
    text = json.dumps(to_json(BenchmarkReport(describe_host(), BUNDLE, ())))
    assert platform.python_version() in text
    assert platform.machine() in text
    # Short names such as "a" would be found anywhere.
    for secret in (platform.node(), getpass.getuser()):
        assert len(secret) < 5 or secret not in text


def test_cpu_model_of_a_pi_and_of_a_pc(tmp_path: Path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nSerial\t\t: 10000000abcdef\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n")
    assert cpu_model(path) == "Raspberry Pi 4 Model B Rev 1.4"
    path.write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2 GHz\n"
    )
    assert cpu_model(path) == "Some CPU @ 2 GHz"
    assert cpu_model(tmp_path / "none")
