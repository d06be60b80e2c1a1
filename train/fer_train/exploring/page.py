"""Write a survey as one self-contained HTML page with tables and pictures."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape
from typing import Any

from fer_train.exploring.survey import Survey
from fer_train.splits import TRAINING

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 82rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; font-size: .9rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #8884; text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0 2rem; background: white; border-radius: 4px; overflow-x: auto; padding: .5rem; }
figure img { display: block; max-width: 100%; height: auto; }
nav { font-size: .9rem; }
p, ul { max-width: 60rem; }
"""


def to_html(survey: Survey, pictures: Sequence[tuple[str, str, str, bytes]]) -> str:
    """Return the page; ``pictures`` are name, heading, text and PNG of each."""
    name = escape(survey.report.name)
    links = " · ".join(f'<a href="#{escape(key)}">{escape(heading)}</a>' for key, heading, _, _ in pictures)
    figures = "".join(_figure(*picture) for picture in pictures)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{name}: the data</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{name}: the data</h1>\n{_summary(survey)}"
        f"<nav>{links}</nav>\n{_classes(survey)}{figures}</body>\n</html>\n"
    )


def findings(survey: Survey) -> list[str]:
    """Return the findings, a line each."""
    report = survey.report
    height, width = report.image_size
    kept = len(survey.dataset.splits[TRAINING]) - report.training_rows_dropped
    lines = [
        f"{report.rows:,} images of {width} × {height} pixels, {report.distinct:,} of them distinct; {report.identity}",
        f"{report.training_rows_dropped:,} {survey.dataset.shown(TRAINING)} images are in another split too and are "
        "not trained on; "
        f"{kept:,} are",
        f"{len(survey.near):,} groups of different images look the same: {survey.spread(survey.near):,} cross splits, "
        f"{survey.disputed(survey.near):,} carry different labels",
        f"{report.conflicting_groups:,} groups of equal images carry different labels",
        f"{report.blank:,} images are blank",
    ]
    if report.skipped_rows:
        lines.append(f"{report.skipped_rows:,} rows or images were left out")
    return [*lines, *report.notes]


def _summary(survey: Survey) -> str:
    lines = "".join(f"<li>{escape(line)}</li>\n" for line in findings(survey))
    return (
        f"<ul>\n{lines}</ul>\n<p>This page and the PNGs next to it contain images of the data set: its terms apply to "
        "them too.</p>\n"
    )


def _classes(survey: Survey) -> str:
    report, table = survey.report, survey.table
    by_label = table.groupby("label", observed=False)[["brightness", "contrast"]].mean()
    head = ["class", *report.classes, "all", "share", "brightness", "contrast"]
    rows = []
    for label in survey.dataset.labels:
        counts = [counts[label] for counts in report.classes.values()]
        means = [_number(by_label.loc[label, value]) for value in ("brightness", "contrast")]
        shown = [f"{count:,}" for count in (*counts, sum(counts))]
        rows.append([label, *shown, f"{sum(counts) / report.rows:.1%}", *means])
    totals = [sum(counts.values()) for counts in report.classes.values()]
    overall = [_number(table[value].mean()) for value in ("brightness", "contrast")]
    rows.append(["all", *(f"{count:,}" for count in (*totals, report.rows)), "100.0%", *overall])
    header = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>\n" for row in rows)
    return f"<table>\n<tr>{header}</tr>\n{body}</table>\n"


def _number(value: Any) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"  # a class without images has no mean


def _figure(name: str, heading: str, text: str, png: bytes) -> str:
    data = base64.b64encode(png).decode()
    return (
        f'<h2 id="{escape(name)}">{escape(heading)}</h2>\n<p>{escape(text)}</p>\n'
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(heading)}"></figure>\n'
    )
