"""``fer-edge bench study``: measure, and print the points so far if it is stopped."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import msgspec

from fer_bench import output
from fer_bench.extras import progress, require
from fer_bench.tables import percent, text_table
from fer_convert.analysis.calibration_study import Study, StudyPlan, StudyPoint, measure_points
from fer_convert.analysis.calibration_study_plot import draw_study
from fer_convert.analysis.experiment import Experiment, open_experiment
from fer_convert.commands.bench_options import check_outputs, given
from fer_edge.system.messages import print_text
from fer_train.data.dataset import PUBLIC_TEST

FORMAT = 1


def run(arguments: argparse.Namespace) -> int:
    """Measure all points. Write JSON after each, and table and plot at the end, also if the study is stopped."""
    rules, per_class = tuple(dict.fromkeys(arguments.rules)), tuple(sorted(set(arguments.per_class)))
    plan = StudyPlan(rules, per_class, arguments.seeds)
    json_path, folder = given(arguments, "json"), given(arguments, "out")
    require("statsmodels")
    check_outputs(json_path, folder)
    files = [] if json_path in (None, output.STDOUT) else [json_path]
    if folder is not None:
        files.append(folder / "study.json")
    experiment = open_experiment(arguments.model, given(arguments, "data"), arguments.images)
    points: list[StudyPoint] = []
    try:
        for point in progress(measure_points(experiment, plan), "exports", len(plan)):
            points.append(point)
            _write(_study(experiment, points, len(plan)), files)
    finally:
        if points:
            _deliver(_study(experiment, points, len(plan)), to_stdout=json_path == output.STDOUT, folder=folder)
    return 0


def to_json(study: Study) -> str:
    """Return the study as JSON text; shares are 0..1."""
    return json.dumps({"format": FORMAT, **msgspec.to_builtins(study)}, indent=2) + "\n"


def to_text(study: Study) -> str:
    """Return the study as a text table with a row for each rule and size, over all seeds."""
    reference = study.reference
    so_far = "so far: the study was stopped\n" if study.partial else ""
    rows = []
    by_rule = sorted(study.points, key=lambda point: point.rule)
    ordered = sorted(by_rule, key=lambda point: point.size)
    for (size, rule), group in itertools.groupby(ordered, key=lambda point: (point.size, point.rule)):
        points = list(group)
        tops, agreements = [point.accuracy.accuracy for point in points], [point.agreement for point in points]
        mark = "*" if any(point.shipped for point in points) else ""
        rows.append([rule, f"{mark}{size}", str(len(points)), *_spread(tops), *_spread(agreements)])
    header = ["chosen", "images", "seeds", "top-1 %", "lowest–highest", "agrees %", "lowest–highest"]
    return (
        f"{study.model}: int8 on {reference.n} images of {study.split} by its calibration images\n{so_far}"
        f"Keras  {percent(reference.accuracy, 2)} %"
        f"  (95 % interval {percent(reference.low)}–{percent(reference.high)})\n\n"
        + text_table(header, rows)
        + ("\n* contains the choice of fer-edge convert\n" if any(row[1][0] == "*" for row in rows) else "")
    )


def _spread(shares: list[float]) -> tuple[str, str]:
    return percent(sum(shares) / len(shares), 2), f"{percent(min(shares), 2)}–{percent(max(shares), 2)}"


def _study(experiment: Experiment, points: list[StudyPoint], planned: int) -> Study:
    return Study(
        model=experiment.source.name,
        dataset=experiment.describe_data(),
        split=experiment.dataset.shown(PUBLIC_TEST),
        reference=experiment.accuracy(experiment.reference),
        partial=len(points) < planned,
        points=tuple(points),
    )


def _write(study: Study, files: list[Path]) -> None:
    for path in files:
        output.write(path, to_json(study))


def _deliver(study: Study, *, to_stdout: bool, folder: Path | None) -> None:
    print_text(to_json(study) if to_stdout else to_text(study))
    if folder is not None:
        draw_study(study, folder / "study.png")
