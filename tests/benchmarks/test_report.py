"""Reports: JSON that can be read back, tables that say '-' for what was not measured, and a host without a name."""

from __future__ import annotations

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
    DatasetInfo,
    HostInfo,
    LatencyResult,
    LatencySettings,
    LatencyStats,
    MemoryResult,
    VariantResult,
)
from fer_bench.tables import markdown_table, text_table

HOST = HostInfo("Linux", "aarch64", "Raspberry Pi 4", "3.11.2", "ai-edge-litert 2.3.0", "1.26.4")
BUNDLE = BundleInfo("fer", "1.0.0", ("sad", "happy"), 48, 48, 1.25)


def accuracy(split: str, share: float, agreement: float | None, p: float | None) -> AccuracyResult:
    return AccuracyResult(
        split, 1000, round(share * 1000), share, share - 0.03, share + 0.03, share - 0.1, 0.02, 1.25, agreement, p
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
                (accuracy("PublicTest", 0.65, None, None),),
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
    assert table["format"] == 1
    assert table["bundle"]["labels"] == ["sad", "happy"]
    assert [row["variant"] for row in table["results"]] == ["float32", "int8"]
    assert table["results"][1]["latency"] == {
        "stats": {"p50_ms": 0.5, "p95_ms": 0.75, "p99_ms": 0.9, "runs": 60},
        "ratio": 0.5,
    }
    assert table["results"][1]["accuracy"][0]["mcnemar_p"] == 0.0004
    assert table["dataset"]["rows_sha256"] == "c" * 64


def rows_of(text: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    return {row[0]: row[1:] for row in rows}


def test_markdown_rows():
    rows = rows_of(to_markdown(report()))
    assert rows["file KiB"] == ["2.0", "1.0"]
    assert rows["PublicTest accuracy %"] == ["65.00", "64.80"]
    assert rows["95 % interval"] == ["62.0–68.0", "61.8–67.8"]
    assert rows["PublicTest agrees with float32 %"] == ["-", "98.10"]
    assert rows["PublicTest McNemar p against float32"] == ["-", "< 0.001"]
    assert rows["time over float32's"] == ["1.00", "0.50"]
    assert rows["RSS after load MiB"] == ["43.5", "43.5"]


def test_what_was_not_measured_has_no_row():
    only_size = BenchmarkReport(HOST, BUNDLE, (VariantResult("int8", 512, "d" * 64),))
    text = to_text(only_size)
    assert "file KiB" in text
    for absent in ("accuracy", "latency", "RSS", "None"):
        assert absent not in text


def test_text_table_is_aligned():
    text = text_table(["", "a", "bcd"], [["first", "1", "2"], ["x", "345", "-"]])
    assert text.splitlines() == ["         a  bcd", "-----  ---  ---", "first    1    2", "x      345    -"]


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
