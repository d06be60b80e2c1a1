"""The page of Raspberry Pi boards: its numbers follow from the sources, and measured reports keep to the schema."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import boards
import jsonschema
import pytest
import write_boards
from msgspec import structs

import fer_bench
from fer_bench.results import load_report, report_to_json
from fer_edge.errors import InputError
from fer_edge.settings.runtime import RuntimeSettings

CHECKOUT = Path(__file__).parents[2]
RESULTS = CHECKOUT / "benchmarks" / "results"
SCHEMA = json.loads((Path(fer_bench.__path__[0]) / "schema" / "report.schema.json").read_text())


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A folder with a report that has the parts of `fer-edge bench device`, from the committed ones of this project."""
    report = load_report(RESULTS / "fer-edge-s-x86_64.json")
    frames = load_report(RESULTS / "pipeline-x86_64.json").pipeline
    results = tuple(structs.replace(each, accuracy=()) for each in report.results)
    measured = structs.replace(report, results=results, dataset=None, pipeline=frames)
    (tmp_path / "a-board.json").write_text(report_to_json(measured))
    return tmp_path


def test_the_page_is_that_of_the_results() -> None:
    for path, text in write_boards.pages().items():
        assert path.read_text(encoding="utf-8") == text, "run: make boards"


def test_each_measured_report_keeps_to_the_schema_and_has_a_row(device: Path) -> None:
    for folder in (write_boards.DEVICES, device):
        text, reports = write_boards.measured(folder), sorted(folder.glob("*.json"))
        for path in reports:
            jsonschema.validate(json.loads(path.read_text()), SCHEMA)
            assert f"/{path.name})" in text
        assert text.count("\n| ") == (len(reports) + 2 if reports else 0)


def test_a_row_has_the_numbers_of_the_report(device: Path) -> None:
    row = write_boards.measured(device).splitlines()[-1]
    table = json.loads((device / "a-board.json").read_text())
    (face,) = (x for x in table["latency"] if (x["variant"], x["engine"], x["threads"]) == ("int8", "litert", 1))
    cells = {
        (cell["width"], cell["faces"]): cell["cpu_ms"]
        for cell in table["pipeline"]["results"]
        if cell["candidate"] == "fer-edge"
    }
    numbers = [f"{face['p50_ms']:.2f}", f"{face['ratio']:.2f}", f"{cells[320, 1]:.1f}", f"{cells[640, 1]:.1f}"]
    assert " | ".join(numbers) in row
    assert table["host"]["cpu"] in row and "fer-edge-s " in row and face["runtime"] in row


def test_a_file_that_is_not_of_a_device_is_refused(device: Path) -> None:
    text = (device / "a-board.json").read_text()
    for name, content, said in (
        ("frames", json.dumps({**json.loads(text), "pipeline": None}), "has no whole frames of 320×240"),
        ("latency", json.dumps({**json.loads(text), "latency": []}), "has no int8 model on one core"),
        ("broken", text[:-20], "not JSON"),
        ("key", json.dumps({**json.loads(text), "host_name": "mine"}), "host_name"),
    ):
        folder = device / name
        folder.mkdir()
        (folder / "x.json").write_text(content)
        with pytest.raises(InputError, match=rf"x\.json: .*{said}"):
            write_boards.measured(folder)


def test_the_estimates_are_those_of_the_formulas() -> None:
    # Computed by hand from the sources, for the board and the frame that most people have.
    one_core = 300e6 / 0.017 * 78.0089 / 197.751
    assert boards.macs_per_s(boards.PI_4) == pytest.approx(one_core)
    assert boards.macs_per_s(boards.PI_5) == pytest.approx(one_core * 197.751 / 44.1976)
    assert boards.macs_per_s(boards.ZERO_2) == pytest.approx(300e6 / 0.030 * 277.76 / 624.07 / 1.4)
    assert boards.face_ms(boards.PI_4, 56_955_776) == pytest.approx(8.18, abs=0.01)
    assert boards.search_ms(boards.PI_4, 640, 480) == pytest.approx(6.23 * 16 * 328.651 / 175.845)
    assert boards.search_ms(boards.ZERO_2, 320, 240) == pytest.approx(6.23 * 4 * 720.83 / 193.39 * 1.4)
    assert RuntimeSettings().schedule.budget_share == boards.SEARCH_SHARE
    assert (RuntimeSettings().model.threads, RuntimeSettings().detector.threads) == (1, 1)


def test_each_published_time_names_a_source_of_a_fixed_revision() -> None:
    assert {each.source for each in boards.PUBLISHED} == boards.SOURCES.keys()
    assert all(re.search(r"/blob/[0-9a-f]{40}/", url) for url in boards.SOURCES.values())


def test_the_tutorial_says_what_the_published_times_say() -> None:
    tutorial = (CHECKOUT / "docs" / "tutorials" / "choose-a-variant.md").read_text()
    assert "other networks are also two to three times as fast there as in `float32`" in tutorial
    assert all(2 < 1 / boards.int8_over_float32(board) < 3 for board in (boards.PI_3, boards.PI_4))


@pytest.mark.slow
def test_the_multiply_accumulates_of_the_papers_are_those_of_the_networks() -> None:
    code = (
        "import keras; from fer_train.networks.layers import count_layer_macs, every_layer\n"
        "for make in (keras.applications.MobileNet, keras.applications.MobileNetV2):\n"
        "    print(sum(map(count_layer_macs, every_layer(make(weights=None)))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    counted = [int(line) for line in done.stdout.split()]
    assert counted == pytest.approx([boards.MACS[boards.V1], boards.MACS[boards.V2]], rel=0.01)
