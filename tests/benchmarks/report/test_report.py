"""Reports: JSON that can be read again, tables with '-' for missing values, and a host without a name."""

from __future__ import annotations

import copy
import getpass
import json
import platform
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from msgspec import structs

import fer_bench
from fer_bench.host import cpu_model, describe, describe_host, int8_instructions
from fer_bench.latency.engines import ENGINES
from fer_bench.latency.machine import read_machine_state
from fer_bench.report.render import to_markdown, to_text
from fer_bench.results import (
    BenchmarkReport,
    ClassRecall,
    DatasetInfo,
    LatencySettings,
    MachineChange,
    MachineState,
    VariantResult,
    load_report,
    report_schema,
    report_to_json,
)
from fer_bench.tables import markdown_table, text_table
from fer_edge.errors import InputError
from fer_edge.measure.machine import describe_machine
from support.results.reports import BUNDLE, HOST, accuracy, latency_row, report, sequence_section

SCHEMA = Path(fer_bench.__path__[0]) / "schema" / "report.schema.json"


def test_json_holds_every_value():
    table = json.loads(report_to_json(report()))
    assert table["format"] == 3
    assert table["bundle"]["labels"] == ["sad", "happy"]
    assert [row["variant"] for row in table["results"]] == ["float32", "int8"]
    assert [(row["variant"], row["engine"], row["threads"]) for row in table["latency"]] == [
        ("float32", "litert", 1),
        ("int8", "litert", 2),
        ("int8", "tflite-runtime", 1),
    ]
    assert table["latency"][1] == {**table["latency"][0], **{
        "variant": "int8", "threads": 2, "p50_ms": 0.5, "ratio": 0.5, "delegated_nodes": 23, "size_bytes": 1024,
        "busy_rounds": 2,
    }}  # fmt: skip
    assert table["latency_settings"] == {"rounds": 3, "runs": 20, "warm_up": 5}
    assert table["machine"]["after"]["throttled"]["now"] == ["under-voltage", "throttled"]
    found = table["results"][1]["accuracy"][0]
    assert found["mcnemar_p"] == 0.0004
    assert found["leak_free"] == {"n": 900, "correct": 538, "accuracy": 538 / 900, "low": 0.5, "high": 0.7}
    assert found["ferplus"]["n"] == 950
    assert found["classes"][1] == {"label": "happy", "support": 400, "correct": 300, "recall": 0.75, "change": 0.0}
    assert table["results"][0]["accuracy"][0]["classes"][0]["change"] is None
    assert table["dataset"]["rows_sha256"] == "c" * 64


def objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each object in a JSON value."""
    if isinstance(value, dict):
        yield path
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from objects(part, (*path, key))


COMMITTED = sorted((Path(__file__).parents[3] / "benchmarks" / "results").glob("*.json"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_what_is_committed_keeps_to_the_schema(path: Path):
    jsonschema.validate(json.loads(path.read_text()), json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_what_is_committed_is_read_and_written_again_to_the_same_values(path: Path):
    assert json.loads(report_to_json(load_report(path))) == json.loads(path.read_text())


def test_the_schema_follows_from_the_structs():
    # If this fails, write ``json.dumps(report_schema(), indent=2)`` and a newline to the file.
    assert SCHEMA.read_text(encoding="utf-8") == json.dumps(report_schema(), indent=2) + "\n"


@pytest.mark.slow
def test_the_schema_takes_a_report_and_nothing_more_or_less():
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$defs"]["LatencyRow"]["properties"]["engine"]["enum"] == sorted(ENGINES)
    validator = jsonschema.Draft202012Validator(schema)
    table = json.loads(report_to_json(structs.replace(report(), sequence=sequence_section())))
    validator.validate(table)
    validator.validate(json.loads(report_to_json(BenchmarkReport(HOST, BUNDLE, report().results[:1]))))
    for path in objects(table):
        for damage in (*lookup(table, path), "something else"):
            spoilt = copy.deepcopy(table)
            place = lookup(spoilt, path)
            if damage in place:
                del place[damage]
            else:
                place[damage] = 1
            assert not validator.is_valid(spoilt), (path, damage)


def lookup(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def test_a_report_is_read_back_and_any_other_file_refused(tmp_path: Path):
    path = tmp_path / "report.json"
    whole = structs.replace(report(), sequence=sequence_section())
    path.write_text(report_to_json(whole))
    assert load_report(path) == whole
    before = json.loads(report_to_json(report()))
    del before["sequence"]  # as in older reports
    path.write_text(json.dumps(before))
    assert load_report(path) == report()
    for content, reason in (
        (report_to_json(report()).replace('"format": 3', '"format": 2'), "format 2, not 3: measure again"),
        (report_to_json(report()).replace('"format": 3', '"format": 4'), "format 4, newer than 3: update fer-edge"),
        (report_to_json(report()).replace('"format": 3', '"format": "3"'), "format '3', not 3"),
        (report_to_json(report()).replace('"n": 1000', '"n": 0', 1), r"results\[0\].accuracy\[0\].n must be .* not 0"),
        (report_to_json(report()).replace('"p50_ms": 1.0', '"p50_ms": NaN', 1), "NaN is not a JSON number"),
        (report_to_json(report()).replace('"system"', '"sistem"'), "unknown key host.sistem; did you mean system"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\udcff", "not JSON"),
        ("[1]", "not a report"),
        ('{"format": 3}', "not a report"),
    ):
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        with pytest.raises(InputError, match=reason):
            load_report(path)
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "none.json", "No such file")):
        with pytest.raises(InputError, match=reason):
            load_report(path)


def rows_of(markdown: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if "|" in line]


def test_markdown_rows():
    rows = rows_of(to_markdown(report()))
    names = ["split", "variant", "top-1 % (95 %)", "leak-free", "distinct", "FER+", "balanced", "macro-F1", "ECE"]
    assert rows[0] == names
    assert rows[1] == [*["---"] * 2, *["---:"] * 7]
    assert rows[2:4] == [
        ["PublicTest", "float32", "65.00 (62.0–68.0)", "60.00", "60.23", "70.53", "55.00", "64.91", "2.00"],
        ["PublicTest", "int8", "64.80 (61.8–67.8)", "59.78", "60.00", "70.32", "54.80", "64.72", "2.00"],
    ]
    assert rows[4] == ["split", "variant", "agrees", "McNemar p"]
    assert rows[6:8] == [["PublicTest", "float32", "-", "-"], ["PublicTest", "int8", "98.10", "< 0.001"]]
    del rows[4:8]
    assert rows[4] == ["split", "recall % of", "images", "float32", "int8"]
    assert rows[6:8] == [
        ["PublicTest", "sad", "600", "58.3", "58.0 (-0.3)"],
        ["PublicTest", "happy", "400", "75.0", "75.0 (+0.0)"],
    ]
    assert rows[8:13] == [
        ["variant", "engine", "threads", "p50 ms", "p95 ms", "p99 ms", "max ms", "ratio", "busy"],
        [*["---"] * 2, *["---:"] * 7],
        ["float32", "litert", "1", "1.000", "2.000", "3.000", "4.500", "1.00", "-"],
        ["int8", "litert", "2", "0.500", "2.000", "3.000", "4.500", "0.50", "2"],
        ["int8", "tflite-runtime", "1", "1.000", "2.000", "3.000", "4.500", "8.00", "-"],
    ]
    assert rows[13:] == [
        ["variant", "engine", "threads", "delegated", "GMAC/s", "load ms", "RSS MiB", "before", "file KiB"],
        [*["---"] * 2, *["---:"] * 7],
        ["float32", "litert", "1", "24/24", "57.00", "12.0", "43.5", "13.0", "2.0"],
        ["int8", "litert", "2", "23/24", "57.00", "12.0", "43.5", "13.0", "1.0"],
        ["int8", "tflite-runtime", "1", "0/24", "57.00", "12.0", "43.5", "13.0", "2.0"],
    ]


def test_the_notes_say_what_may_have_disturbed_the_latencies():
    text = to_text(report())
    for line in (
        "engines: ai-edge-litert 2.3.0, tflite-runtime 2.14.0",
        "machine before: governor ondemand, 600 MHz, of at most 1800 MHz, 51.5 °C (cpu_thermal temp1), "
        "now not throttled, since boot never throttled, load 0.25",
        "machine after: governor ondemand, 600 MHz, of at most 1800 MHz, 82.0 °C (cpu_thermal temp1), "
        "now under-voltage and throttled, since boot throttled, cores throttled 12 times since boot, load 0.25",
        "fewer than 1000 runs of each: p99 and max are not reliable",
    ):
        assert f"\n{line}\n" in text
    assert "busy: rounds" in text
    assert "throttled: rounds" not in text
    unknown = MachineState((), (), None, None, None)
    quiet = structs.replace(
        report(),
        latency=(latency_row("int8", "onnxruntime", 1, nodes=None, delegated_nodes=None, ratio=None, mac_per_s=None),),
        machine=MachineChange(unknown, unknown),
        latency_settings=LatencySettings(),
    )
    text = to_text(quiet)
    assert "machine after: no information\n" in text
    for absent in ("busy", "ratio:", " ratio ", "delegated", "GMAC", "fewer", "None"):
        assert absent not in text


def test_a_terminal_of_100_columns_takes_it():
    variants = [
        VariantResult(name, 2048, "a" * 64, (accuracy("PublicTest", 0.65, *told), accuracy("PrivateTest", 0.66, *told)))
        for name, told in (("float32", ()), ("float16", (1.0, 1.0)), ("int16x8", (0.99, 0.0001)), ("int8", (0.98, 0.5)))
    ]
    text = to_text(BenchmarkReport(HOST, BUNDLE, tuple(variants), DatasetInfo("fer2013", "c" * 64)))
    assert "PrivateTest of fer2013: 1000 images, 900 leak-free, 880 distinct, 950 with a FER+ majority" in text
    assert max(map(len, text.splitlines())) <= 100


def test_what_no_image_was_there_for_is_a_dash_or_left_out():
    measured = accuracy("PublicTest", 0.65)
    empty = ClassRecall("happy", 0, 0, None, None)
    bare = structs.replace(measured, leak_free=None, distinct=None, ferplus=None, classes=(measured.classes[0], empty))
    found = BenchmarkReport(HOST, BUNDLE, (VariantResult("int8", 9, "d" * 64, (bare,)),), DatasetInfo("x", "c" * 64))
    rows = rows_of(to_markdown(found))
    assert rows[0] == ["split", "variant", "top-1 % (95 %)", "balanced", "macro-F1", "ECE"]
    assert ["PublicTest", "happy", "0", "-"] in rows
    text = to_text(found)
    assert "PublicTest of x: 1000 images, 0 leak-free\n" in text
    for absent in ("FER+", "McNemar", "None"):
        assert absent not in text


def test_what_was_not_measured_has_no_row():
    only_size = BenchmarkReport(HOST, BUNDLE, (VariantResult("int8", 512, "d" * 64),))
    text = to_text(only_size)
    assert "file KiB" in text
    for absent in ("top-1", "recall", "latency", "p50", "RSS", "machine", "None"):
        assert absent not in text


def test_text_table_is_aligned():
    text = text_table(["", "a", "bcd"], [["first", "1", "2"], ["x", "345", "-"]])
    assert text.splitlines() == ["         a  bcd", "-----  ---  ---", "first    1    2", "x      345    -"]


def test_the_columns_that_name_a_row_stand_to_the_left():
    text = text_table(["a", "b", "c"], [["1", "2", "3"], ["long", "long", "long"]], names=2)
    assert text.splitlines()[2] == "1     2        3"


def test_markdown_cells_cannot_break_the_table():
    assert markdown_table(["a|b", "c"], [["x", "y|z"]]).splitlines()[0] == "| a\\|b | c |"


def test_the_host_is_described_without_naming_it(monkeypatch: pytest.MonkeyPatch):
    # Names that occur nowhere else, whatever the names of this machine and user are.
    machine = platform.uname()._replace(node="attic-of-ada")
    monkeypatch.setattr(platform, "uname", lambda: machine)
    monkeypatch.setattr(socket, "gethostname", platform.node)
    monkeypatch.setenv("LOGNAME", "lovelace")
    monkeypatch.setenv("HOME", "/home/lovelace")
    state = read_machine_state()
    text = report_to_json(BenchmarkReport(describe_host(), BUNDLE, (), machine=MachineChange(state, state)))
    assert platform.python_version() in text
    assert platform.machine() in text
    assert platform.node() == "attic-of-ada" and getpass.getuser() == "lovelace"
    assert "attic" not in text and "lovelace" not in text


def test_cpu_model_of_a_pi_and_of_a_pc():
    pi = "processor\t: 0\nSerial\t\t: 10000000abcdef\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n"
    assert cpu_model(pi) == "Raspberry Pi 4 Model B Rev 1.4"
    pc = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2 GHz\n"
    assert cpu_model(pc) == "Some CPU @ 2 GHz"
    assert describe(describe_machine(), "").cpu


def test_the_instructions_that_make_int8_quick_are_told():
    pi = "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp\n\nprocessor\t: 1\nFeatures\t: fp\n"
    assert int8_instructions(pi) == ("asimddp",)
    assert int8_instructions("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni avx_vnni\n") == (
        "avx_vnni",
        "avx512_vnni",
    )
    assert int8_instructions("processor\t: 0\nflags\t\t: fpu avx2\n") == int8_instructions("") == ()
    assert structs.replace(HOST, int8_instructions=("asimddp",)).chip == "Raspberry Pi 4 (aarch64, asimddp)"
