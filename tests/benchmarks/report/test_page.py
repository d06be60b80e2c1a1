"""``fer-edge bench report``: a self-contained page, and Markdown with its pictures."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import pytest
from msgspec import structs

from fer_bench.commands.report import joined
from fer_bench.report.page import CHARTS, to_html
from fer_bench.results import BenchmarkReport, report_to_json
from support.results.reports import report, sequence_section
from support.training.mini_run import assert_refused, fer_edge

VOID = {"meta", "br", "img", "hr", "link", "input"}


class Checker(HTMLParser):
    """Check the order of tags, and collect what the page would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.seen: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and not (value or "").startswith(("#", "data:")):
                self.loaded.append(f"{tag} {name}={value}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.slow
def test_the_page_is_whole_and_loads_nothing() -> None:
    whole = structs.replace(report(), sequence=sequence_section())
    page = to_html([whole])
    found = Checker(page)
    assert found.open == []
    assert found.loaded == []
    assert "script" not in found.seen
    assert found.seen.count("svg") == len(CHARTS)
    for words in (
        "fer 1.0.0",
        "Raspberry Pi 4",
        "tflite-runtime 2.14.0",
        "64.80 (61.8–67.8)",
        "McNemar",
        "full (1.1, 5)",
    ):
        assert words in page
    assert to_html([whole]) == page  # the same numbers give the same page


def test_verdict_tables_and_plots_are_in_this_order() -> None:
    page = to_html([report()])
    cost, gain = re.findall(r'<p class="verdict">(.*?)</p>', page)
    assert cost.startswith(
        "int8 cost: top-1 on PublicTest fell from 65.00 to 64.80 % (2 of 1,000 images), not significant"
    )
    assert gain == "int8 bought: a file of 1 instead of 2 KiB; time and memory were not measured."
    assert page.index("int8 bought") < page.index("<table>") < page.index("<svg")


def test_names_from_a_file_are_text_and_not_markup() -> None:
    named = structs.replace(report(), bundle=structs.replace(report().bundle, name="<script>alert(1)</script>"))
    page = to_html([named])
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    dollars = [structs.replace(row, variant="a$x^{$b") for row in report().latency]
    assert "a$x^{$b" in to_html([structs.replace(report(), latency=tuple(dollars))])


def test_each_chart_is_left_out_where_there_is_nothing_to_draw() -> None:
    nothing = BenchmarkReport(report().host, report().bundle, report().results[:0])
    assert "<svg" not in to_html([nothing])
    latency = structs.replace(nothing, latency=report().latency)
    assert to_html([latency]).count("<svg") == 1
    sequence = structs.replace(sequence_section(), costs=())
    assert to_html([structs.replace(nothing, sequence=sequence)]).count("<svg") == 1
    one = structs.replace(nothing, results=report().results[1:], dataset=report().dataset)
    assert "int8 minus" not in to_html([one])


def test_two_machines_have_a_table_and_a_section_each() -> None:
    other = structs.replace(report(), host=structs.replace(report().host, cpu="Raspberry Pi 5"))
    page = to_html([report(), other])
    assert page.count("<h2>") == 2
    assert page.index("<th>architecture</th>") < page.index("<h2>")


def test_parts_of_one_machine_are_joined_and_doubles_stay_apart() -> None:
    whole = report()
    accuracy = structs.replace(whole, latency=(), latency_settings=None, machine=None)
    bare = tuple(structs.replace(row, accuracy=()) for row in whole.results)
    latency = structs.replace(whole, results=bare, dataset=None)
    for parts in ((accuracy, latency), (latency, accuracy)):
        assert joined(parts) == [whole]
    moving = BenchmarkReport(whole.host, whole.bundle, bare, sequence=sequence_section())
    assert joined([whole, moving]) == [structs.replace(whole, sequence=sequence_section())]
    assert joined([moving, moving]) == [moving, moving]
    # Two boards of one model; the same bundle on other data; other files under one name.
    assert joined([whole, latency]) == [whole, latency]
    assert joined([whole, accuracy]) == [whole, accuracy]
    changed = structs.replace(latency, results=(structs.replace(bare[0], sha256="f" * 64),))
    assert joined([accuracy, changed]) == [accuracy, changed]


@pytest.mark.slow
def test_the_command_writes_a_folder_that_can_be_passed_on(tmp_path: Path) -> None:
    source, out = tmp_path / "a.json", tmp_path / "out"
    source.write_text(report_to_json(structs.replace(report(), sequence=sequence_section())))
    done = fer_edge("bench", "report", source, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(out / "report.html"), str(out / "report.md")]
    text = (out / "report.md").read_text()
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert sorted(pictures) == sorted(path.name for path in out.glob("*.png"))
    assert len(pictures) == len(CHARTS)
    for name in pictures:
        picture = cv2.imread(str(out / name))
        assert picture is not None
        assert picture.std() > 5  # something is drawn on it
    assert_refused(fer_edge("bench", "report", tmp_path / "none.json", "--out", out), 2, "none.json")
    assert_refused(fer_edge("bench", "report", source, "--out", source), 6, "a.json")
    source.write_text(source.read_text()[:900])
    assert_refused(fer_edge("bench", "report", source, "--out", out), 2, "not JSON")
