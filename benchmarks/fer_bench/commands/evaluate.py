"""``fer-edge evaluate``: all statistics of one model on one split."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from fer_bench import output
from fer_bench.accuracy import Evaluation, evaluate, plots, split_of
from fer_bench.metrics import macro_f1
from fer_bench.runners import open_runner
from fer_bench.tables import percent, text_table
from fer_edge.errors import InputError
from fer_edge.system.messages import print_text
from fer_train.data.dataset import PRIVATE_TEST, Dataset, load_dataset
from fer_train.splits import OWN_SPLIT_NAMES


def run(arguments: argparse.Namespace) -> int:
    """Run ``evaluate`` and return the exit code."""
    name: str = arguments.split
    if name.lower() in (PRIVATE_TEST.lower(), OWN_SPLIT_NAMES[2]):
        # A split that choices were made on gives optimistic numbers.
        raise InputError(f"--split {name}: is kept for final numbers: fer-edge bench accuracy --final")
    folder: Path | None = arguments.out
    if folder is not None:
        output.check_folder(folder)
    # The model first, so that a bad one is refused before the data set is read.
    with open_runner(arguments.model, arguments.variant) as runner:
        dataset = load_dataset(arguments.data)
        split = dataset.find_split(name)
        split_of(dataset, split)
        evaluation = evaluate(runner, dataset, split)
    table = json.dumps(to_table(evaluation, dataset), indent=2) + "\n"
    if folder is not None:
        plots.draw_confusion(evaluation, folder / "confusion.png")
        plots.draw_reliability(evaluation, folder / "reliability.png")
        output.write(folder / "evaluation.json", table)
    print_text(table if arguments.json else to_text(evaluation))
    return 0


def to_table(evaluation: Evaluation, dataset: Dataset) -> dict[str, Any]:
    """Return the evaluation as JSON values. Shares are 0..1; the rows of the confusion matrix are true labels."""
    return {
        "format": 1,
        "model": evaluation.model,
        "dataset": {"name": dataset.name, "rows_sha256": dataset.rows_sha256},
        "split": evaluation.split,
        "n": evaluation.n,
        "correct": evaluation.correct,
        "accuracy": evaluation.accuracy,
        "interval": list(evaluation.interval),
        "balanced_accuracy": evaluation.balanced_accuracy,
        "macro_f1": macro_f1(evaluation.confusion),
        "ece": evaluation.ece,
        "temperature": evaluation.temperature,
        "classes": [
            {"label": label, **dataclasses.asdict(score)}
            for label, score in zip(evaluation.labels, evaluation.classes, strict=True)
        ],
        "confusion": evaluation.confusion.tolist(),
    }


def to_text(evaluation: Evaluation) -> str:
    """Return the evaluation as text for a terminal."""
    low, high = evaluation.interval
    scores = [
        [label, percent(score.precision), percent(score.recall), percent(score.f1), str(score.support)]
        for label, score in zip(evaluation.labels, evaluation.classes, strict=True)
    ]
    confusion = [
        [label, *map(str, row)] for label, row in zip(evaluation.labels, evaluation.confusion.tolist(), strict=True)
    ]
    return (
        f"{evaluation.model} on {evaluation.split}\n"
        f"accuracy           {percent(evaluation.accuracy, 2)} %  (95 % interval {percent(low)}–{percent(high)}; "
        f"{evaluation.correct} of {evaluation.n} images)\n"
        f"balanced accuracy  {percent(evaluation.balanced_accuracy, 2)} %\n"
        f"macro-F1           {percent(macro_f1(evaluation.confusion), 2)} %\n"
        f"calibration error  {percent(evaluation.ece, 2)} %  (ECE, at temperature {evaluation.temperature:.3f})\n\n"
        + text_table(["class", "precision %", "recall %", "F1 %", "support"], scores)
        + "\n"
        + text_table(["true \\ predicted", *evaluation.labels], confusion)
    )
