"""``fer-edge bench compare`` distinguishes changes from noise, and compares only what is comparable."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from fer_bench.report.compare import Change, compare_reports
from fer_bench.results import AccuracyResult, BenchmarkReport, VariantResult, load_report, report_to_json
from fer_bench.results.hex_bits import from_hex, to_hex
from fer_edge.errors import InputError
from support.results.reports import accuracy, latency_row, report, sequence_section
from support.training.mini_run import assert_refused, fer_edge

ROUNDS = tuple(float(value) for value in np.random.default_rng(0).normal(1.0, 0.01, 20))


def of(found: AccuracyResult) -> BenchmarkReport:
    return structs.replace(report(), results=(VariantResult("int8", 1024, "b" * 64, (found,)),), latency=())


def timed(factor: float, **changes: object) -> BenchmarkReport:
    row = latency_row("int8", "litert", 1, round_p50_ms=tuple(factor * value for value in ROUNDS), p50_ms=factor)
    return structs.replace(report(), latency=(structs.replace(row, **changes),))


def with_others(found: BenchmarkReport, share: float) -> BenchmarkReport:
    assert found.machine is not None
    return structs.replace(found, machine=structs.replace(found.machine, others_share=share))


def change(before: BenchmarkReport, after: BenchmarkReport, what: str) -> Change:
    (found,) = [change for change in compare_reports(before, after).changes if what in change.what]
    return found


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_bits_come_back(flags: list[bool]) -> None:
    assert from_hex(to_hex(np.array(flags)), len(flags)).tolist() == flags


def test_a_report_is_the_same_as_itself() -> None:
    found = compare_reports(report(), report())
    assert {change.verdict for change in found.changes} == {"same"}
    assert not found.worse


def test_accuracy_is_compared_image_by_image() -> None:
    """Twelve lost images are significant if no other changed, and noise if hundreds changed both ways."""
    before = accuracy("PublicTest", 0.650)
    right = from_hex(before.right, before.n)
    fewer = right.copy()
    fewer[:12] = False
    lost = structs.replace(before, correct=638, accuracy=0.638, right=to_hex(fewer))
    found = change(of(before), of(lost), "top-1 % on PublicTest")
    assert (found.verdict, found.change) == ("worse", "-1.20")
    assert "McNemar p 0.000488" in found.evidence
    mixed = right.copy()
    mixed[:112] = False
    mixed[-100:] = True
    shuffled = structs.replace(lost, right=to_hex(mixed))
    assert change(of(before), of(shuffled), "top-1 % on PublicTest").verdict == "noise"
    assert change(of(lost), of(before), "top-1 % on PublicTest").verdict == "better"


def test_a_class_that_is_found_less_often_is_named() -> None:
    before = accuracy("PublicTest", 0.650)
    sad, happy = before.classes
    forgotten = structs.replace(sad, correct=sad.correct - 100, recall=(sad.correct - 100) / sad.support)
    after = structs.replace(before, classes=(forgotten, happy))
    assert change(of(before), of(after), "recall % of sad").verdict == "worse"
    nearly = structs.replace(sad, correct=sad.correct - 5, recall=(sad.correct - 5) / sad.support)
    calm = compare_reports(of(before), of(structs.replace(before, classes=(nearly, happy))))
    assert not [change for change in calm.changes if "recall" in change.what]


@pytest.mark.parametrize(("factor", "verdict"), [(1.2, "worse"), (0.8, "better"), (1.03, "noise"), (1.0, "same")])
def test_latency_must_leave_both_the_rounds_and_the_drift(factor: float, verdict: str) -> None:
    assert change(timed(1.0), timed(factor), "p50").verdict == verdict


def test_rounds_that_scatter_are_inconclusive() -> None:
    wide = tuple(float(value) for value in np.random.default_rng(1).lognormal(0, 1, 20))
    found = change(timed(1.0), timed(1.2, round_p50_ms=wide), "p50")
    assert (found.verdict, "the rounds scatter too much" in found.evidence) == ("inconclusive", True)


@pytest.mark.parametrize(
    ("disturbed", "reason"),
    [
        (timed(4.48, busy_rounds=10), "waited for a core in 10 rounds"),
        (timed(4.48, throttled_rounds=10), "throttled in 10 rounds"),
        (timed(4.48, busy_rounds=5, throttled_rounds=5), "waited for a core in 5 rounds; throttled in 5 rounds"),
        (with_others(timed(4.48), 0.25), "other processes used 25% of the processor"),
        (with_others(timed(4.48, busy_rounds=1), 0.25), "waited for a core in 1 round"),
        # Beyond the drift, but not if two rounds that support it are left out.
        (timed(1.055, busy_rounds=2), "waited for a core in 2 rounds"),
    ],
)
def test_a_busy_machine_is_inconclusive(disturbed: BenchmarkReport, reason: str) -> None:
    for found in (change(timed(1.0), disturbed, "p50"), change(disturbed, timed(1.0), "p50")):
        assert found.verdict == "inconclusive"
        assert reason in found.evidence


@pytest.mark.parametrize(
    ("disturbed", "reason"),
    [
        ({"busy_rounds": 1}, "waited for a core in 1 round"),
        ({"busy_rounds": 9}, "waited for a core in 9 rounds"),
        ({"throttled_rounds": 3}, "throttled in 3 rounds"),
    ],
)
def test_disturbed_rounds_are_tolerated_if_the_others_show_the_change(disturbed: dict[str, int], reason: str) -> None:
    slow = timed(4.48, **disturbed)
    for before, after, verdict, end in (
        (timed(1.0), slow, "worse", "at least 4.4"),
        (slow, timed(1.0), "better", "at most 0.2"),
    ):
        found = change(before, after, "p50")
        assert (found.verdict, f"{reason}; without disturbed rounds {end}" in found.evidence) == (verdict, True)


def test_slow_rounds_that_were_disturbed_do_not_make_it_worse() -> None:
    """Eight of 20 rounds waited for a core and took ten times as long; the others did not change."""
    rounds = tuple(value * (10 if index < 8 else 1) for index, value in enumerate(ROUNDS))
    found = change(timed(1.0), timed(1.3, round_p50_ms=rounds, busy_rounds=8), "p50")
    assert found.verdict == "inconclusive"


def test_little_load_changes_no_verdict() -> None:
    assert change(timed(1.0), with_others(timed(1.5), 0.04), "p50").verdict == "worse"
    # A change within the drift is noise, on a busy machine too.
    assert change(timed(1.0), with_others(timed(1.03), 0.5), "p50").verdict == "noise"


def test_an_unknown_load_is_a_note() -> None:
    quiet = with_others(timed(1.0), 0.0)
    for before, after, notes in ((quiet, quiet, 0), (timed(1.0), quiet, 1), (quiet, timed(1.0), 1)):
        found = compare_reports(before, after)
        assert (
            sum(
                "the processor time that other processes used is unknown for at least one report" in note
                for note in found.notes
            )
            == notes
        )


def test_memory_and_size() -> None:
    assert change(timed(1.0), timed(1.0, rss_loaded_mib=44.0), "RSS").verdict == "noise"
    assert change(timed(1.0), timed(1.0, rss_loaded_mib=60.0), "RSS").verdict == "worse"
    smaller = structs.replace(report(), results=(VariantResult("int8", 1000, "c" * 64),))
    assert change(report(), smaller, "int8: bytes").verdict == "better"
    other = structs.replace(report(), results=(VariantResult("int8", 1025, "c" * 64),))
    assert change(report(), other, "int8: bytes").verdict == "same"


def test_what_cannot_be_compared_is_told() -> None:
    elsewhere = structs.replace(report(), host=structs.replace(report().host, cpu="Raspberry Pi 5"))
    found = compare_reports(report(), elsewhere)
    assert not [change for change in found.changes if "p50" in change.what]
    assert any("machines: Raspberry Pi 4 (aarch64) and Raspberry Pi 5 (aarch64)" in note for note in found.notes)
    faster = structs.replace(report(), host=structs.replace(report().host, int8_instructions=("asimddp",)))
    assert not [change for change in compare_reports(report(), faster).changes if "p50" in change.what]
    other = structs.replace(report(), dataset=structs.replace(report().dataset, rows_sha256="d" * 64))  # type: ignore[type-var]
    assert any("different data" in note for note in compare_reports(report(), other).notes)
    foreign = structs.replace(elsewhere, results=(VariantResult("int4", 1, "e" * 64),), dataset=None)
    with pytest.raises(InputError, match="nothing in common"):
        compare_reports(report(), foreign)


def test_moving_faces_are_not_compared_and_that_is_told() -> None:
    moving = structs.replace(report(), sequence=sequence_section())
    assert any("moving faces are not compared" in note for note in compare_reports(moving, moving).notes)
    alone = structs.replace(moving, results=(), latency=())
    with pytest.raises(InputError, match="nothing in common to compare: moving faces are not compared"):
        compare_reports(alone, alone)


def test_a_mask_of_the_wrong_length_is_refused() -> None:
    before = accuracy("PublicTest", 0.650)
    for right in ("ff", "zz"):
        with pytest.raises(InputError, match="changed by hand"):
            compare_reports(of(before), of(structs.replace(before, right=right)))


@pytest.mark.slow
def test_the_command_ends_with_1_when_something_got_worse(tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(report_to_json(timed(1.0)))
    after.write_text(report_to_json(timed(1.5)))
    worse = fer_edge("bench", "compare", before, after)
    assert_refused(worse, 1, "after.json", "p50", "+50.0 %")
    assert "worse" in worse.stdout
    better = fer_edge("bench", "compare", after, before, "--json")
    assert better.returncode == 0, better.stderr
    assert {"better", "same"} == {change["verdict"] for change in json.loads(better.stdout)["changes"]}
    assert_refused(fer_edge("bench", "compare", before, tmp_path / "none.json"), 2, "none.json")
    assert_refused(fer_edge("bench", "compare", before, tmp_path), 2, str(tmp_path))


def test_the_text_fits_100_columns_and_the_page_has_the_evidence(tmp_path: Path) -> None:
    results = Path(__file__).parents[3] / "benchmarks" / "results"
    page = tmp_path / "changes.html"
    found = fer_edge(
        "bench", "compare", results / "fer-edge-xs-x86_64.json", results / "fer-edge-s-x86_64.json", "--html", page
    )
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    table = lines[lines.index("") + 1 :]
    rows = [row for row in table[2 : table.index("")] if row]
    verdicts = {kind: sum(f" {kind} " in row for row in rows) for kind in ("better", "worse", "inconclusive")}
    assert lines[0] == ", ".join(f"{count} {kind}" for kind, count in verdicts.items())
    assert all(verdicts.values())  # the committed reports show each
    assert lines[-1] == "Inconclusive: measure both again while nothing else runs on the machine."
    shown = page.read_text()
    assert shown.count("<td>inconclusive</td>") == verdicts["inconclusive"]
    evidence = " ".join(line.strip() for line in lines)
    before, after = (
        next(row for row in load_report(results / f"{name}-x86_64.json").latency if row.variant == "float32")
        for name in ("fer-edge-xs", "fer-edge-s")
    )
    (row,) = [row for row in rows if row.startswith("float32 on litert, 1 thread: p50 ms ")]
    change = 100 * (after.p50_ms / before.p50_ms - 1)
    assert row.split()[-5:] == ["worse", f"{before.p50_ms:.3f}", f"{after.p50_ms:.3f}", f"{change:+.1f}", "%"]
    assert "waited for a core in 6 rounds<" in shown
    waited = re.findall(r"waited for a core in \d+ rounds?; without disturbed rounds at least \d\.\d+", evidence)
    assert waited and all(f"{one}<" in shown for one in waited)
    assert_refused(fer_edge("bench", "compare", page, page, "--html", tmp_path), 6, "not a regular file")


def test_names_in_a_report_cannot_reach_the_terminal_raw(tmp_path: Path) -> None:
    found = timed(1.0)
    named = structs.replace(found, latency=(structs.replace(found.latency[0], variant="int8\x1b[2J\nworse"),))
    path = tmp_path / "a\x1b[2J.json"
    path.write_text(report_to_json(named))
    shown = fer_edge("bench", "compare", path, path)
    assert shown.returncode == 0, shown.stderr
    assert "\x1b" not in shown.stdout + shown.stderr
    assert "int8\\x1b[2J\\nworse" in shown.stdout
