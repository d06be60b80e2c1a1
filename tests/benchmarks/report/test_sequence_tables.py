"""The tables of moving faces, with known numbers."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import structs

from fer_bench.report.sequence_tables import notes, tables
from fer_bench.results.sequence import FER_EDGE, SequenceSection
from fer_bench.sequence.scenes import KINDS
from fer_bench.tables import Table
from support.results.reports import sequence_section


def goals(section: SequenceSection) -> dict[str, tuple[str, str]]:
    """Return the measured value of each goal, and whether it is met."""
    table = next(table for table in tables(section) if table.header[0] == "goal")
    return {row[0]: (row[2], row[3]) for row in table.rows}


def column(table: Table, name: str) -> dict[tuple[str, str], str]:
    at = list(table.header).index(name)
    return {(row[0], row[1]): row[at] for row in table.rows}


def changed(**changes: object) -> SequenceSection:
    """Return a section with other counts for FER-Edge."""
    section = sequence_section()
    results = [
        structs.replace(result, score=structs.replace(result.score, **changes)) if result.system == FER_EDGE else result
        for result in section.results
    ]
    return structs.replace(section, results=tuple(results))


def test_the_goals_are_met_where_they_are():
    assert goals(sequence_section()) == {
        "easy: CPU of full (1.1, 5) over ours": ("60.0", "yes"),
        "easy: CPU of full (1.3, 5) over ours": ("22.0", "yes"),
        "recall minus that of full (1.1, 5), points": ("+0.0", "yes"),
        "frames with a false face minus those of full (1.1, 5), points": ("+0.0", "yes"),
        "CPU of full (1.1, 5) over ours, mean of the kinds": ("60.0", "yes"),
        "kinds with recall below that of full (1.1, 5)": ("0", "yes"),
        "kinds with ghosts in more than 2 % of the frames": ("0", "yes"),
        "kinds with false faces in more than 2 % of the frames": ("0", "yes"),
        "leaving: time until a new face is reported, p95 s": ("0.40", "yes"),
        "false changes of full (1.1, 5) over ours": ("30.0", "yes"),
        "true changes reported, %": ("100.0", "yes"),
        "their delay, p95 s": ("1.00", "yes"),
    }


def test_the_goals_are_missed_where_they_are():
    ours = sequence_section().results[0].score
    fewer = structs.replace(ours.shared, matched=78, false_frames=3)
    late = structs.replace(ours.by_answer, shown=20, delays_s=(1.0,) * 18 + (2.0,), false=4)
    haunted = structs.replace(ours.faces, ghost_frames=3, false_frames=4)
    found = goals(changed(cpu_s=0.25, shared=fewer, faces=haunted, by_answer=late, acquired_s=(0.2,) * 4 + (1.6,)))
    assert {name: answer for name, answer in found.items() if answer[1] == "yes"} == {
        "true changes reported, %": ("95.0", "yes"),
        "their delay, p95 s": ("1.15", "yes"),
    }
    assert found["recall minus that of full (1.1, 5), points"] == ("-2.0", "NO")
    assert found["frames with a false face minus those of full (1.1, 5), points"] == ("+2.0", "NO")
    assert found["easy: CPU of full (1.1, 5) over ours"] == ("48.0", "NO")
    assert found["CPU of full (1.1, 5) over ours, mean of the kinds"] == ("48.0", "NO")
    assert found["kinds with recall below that of full (1.1, 5)"][1] == "NO"
    assert found["kinds with ghosts in more than 2 % of the frames"][1] == "NO"
    assert found["kinds with false faces in more than 2 % of the frames"][1] == "NO"
    unseen = goals(changed(visits=3))
    assert unseen["leaving: time until a new face is reported, p95 s"] == ("never", "NO")


def test_every_kind_stands_in_the_readme():
    readme = (Path(__file__).parents[3] / "docs" / "explanation" / "evidence.md").read_text(encoding="utf-8")
    rows = readme.partition("| kind | what is difficult |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z ]+)` \|", rows, flags=re.MULTILINE) == [kind.name for kind in KINDS]


def test_rates_are_a_minute_of_a_face_in_sight():
    found, told = tables(sequence_section())[:2]
    assert column(told, "ids/min")["easy", FER_EDGE] == "1.0"
    assert column(told, "p95 s")["all", FER_EDGE] == "0.40"
    assert column(found, "recall %")["all", "full (1.1, 5)"] == "80.0"
    assert column(found, "× ours")["easy", "full (1.3, 5)"] == "22.0"


def test_nothing_to_divide_by_is_a_dash():
    empty = structs.replace(sequence_section().results[0].score, sight_s=0.0)
    told = tables(changed(**{name: getattr(empty, name) for name in ("sight_s",)}))[1]
    assert column(told, "ids/min")["easy", FER_EDGE] == "-"


def test_it_is_said_whose_faces_these_are_and_how_many_can_be_found():
    text = "\n".join(notes(sequence_section()))
    assert "30 of 1580 images of fer2013 PublicTest" in text
    assert "Haar finds 24 of them" in text
