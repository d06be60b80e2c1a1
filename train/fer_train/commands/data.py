"""``fer-edge data audit``, ``export`` and ``soft-labels``."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import sys
from pathlib import Path

from fer_edge.errors import ConfigError, InputError, OutputError
from fer_edge.system.files import write_text_atomically
from fer_edge.system.messages import printable
from fer_train.data.audit import Audit, AuditReport, Finding
from fer_train.data.dataset import load_dataset
from fer_train.data.export import check_export_target, export_class_folders
from fer_train.splits import SPLIT_NAMES, TRAINING
from fer_train.training.run_folder.files import model_file


def audit(arguments: argparse.Namespace) -> int:
    """Print the audit as tables or JSON, and write the list of findings if requested; return 0 even with faults."""
    if arguments.path is not None and arguments.data is not None:
        raise ConfigError("--data: PATH already names the data; give only one of them")
    path = arguments.data if arguments.path is None else arguments.path
    dataset = load_dataset(path, skip_bad_rows=arguments.skip_bad_rows)
    result = Audit(dataset)
    report = result.report()
    if arguments.list is not None:
        write_text_atomically(arguments.list, _findings_csv(result))
    if arguments.json:
        sys.stdout.write(json.dumps(dataclasses.asdict(report), indent=2) + "\n")
    else:
        sys.stdout.write(_as_text(report, arguments.list))
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write the data set as class folders; print their path."""
    check_export_target(arguments.out, force=arguments.force)
    dataset = load_dataset(arguments.path, skip_bad_rows=arguments.skip_bad_rows)
    count = export_class_folders(
        dataset,
        arguments.out,
        image_format=arguments.format,
        splits=list(dict.fromkeys(map(dataset.find_split, arguments.splits or SPLIT_NAMES))),
        force=arguments.force,
    )
    sys.stdout.write(f"{count} images written to {printable(str(arguments.out))}\n")
    return 0


def soft_labels(arguments: argparse.Namespace) -> int:
    """Write the teachers' soft labels; print how often they agree with the label."""
    from fer_train.training.inputs.soft_labels import is_bundle, predict_soft_labels, write_soft_labels

    if arguments.out.exists() and not arguments.force:
        raise InputError(f"{arguments.out}: already exists; choose another --out, or replace it with --force")
    if not arguments.out.parent.is_dir():
        raise OutputError(f"{arguments.out.parent}: this folder does not exist; make it, or choose another --out")
    models = [path if is_bundle(path) else model_file(path) for path in arguments.teachers]
    dataset = load_dataset(arguments.data)
    probabilities = predict_soft_labels(models, dataset, arguments.temperature)
    write_soft_labels(arguments.out, probabilities, dataset)
    right = (probabilities.argmax(axis=1) == dataset.splits[TRAINING].labels).mean()
    sys.stdout.write(
        f"{printable(str(arguments.out))}: {len(probabilities)} soft labels, {right:.1%} of them agree with the label\n"
    )
    return 0


def _findings_csv(result: Audit) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in dataclasses.fields(Finding))
    writer.writerows(dataclasses.astuple(finding) for finding in result.findings())
    return text.getvalue()


def _as_text(report: AuditReport, listed: Path | None) -> str:
    height, width = report.image_size
    lines = [
        f"{report.name}: {report.rows} rows of {width} x {height} pixels"
        + (f", {report.skipped_rows} malformed rows left out" if report.skipped_rows else ""),
        f"rows_sha256 {report.rows_sha256}: {report.identity}",
        *(f"note: {note}" for note in report.notes),
        "",
        *_class_table(report),
        "",
        *_fault_lines(report),
    ]
    if listed is not None:
        lines.append(f"every finding is listed in {listed}")
    return "".join(f"{printable(line)}\n" for line in lines)


def _class_table(report: AuditReport) -> list[str]:
    splits = list(report.classes)
    labels = list(next(iter(report.classes.values())))
    lines = [f"{'':22}" + "".join(f"{split:>13}" for split in splits) + f"{'all':>10}{'share':>9}"]
    for label in labels:
        counts = [report.classes[split][label] for split in splits]
        share = sum(counts) / report.rows
        lines.append(
            f"{printable(label):22}" + "".join(f"{count:>13}" for count in counts) + f"{sum(counts):>10}{share:>9.1%}"
        )
    totals = [sum(report.classes[split].values()) for split in splits]
    lines.append(f"{'all':22}" + "".join(f"{count:>13}" for count in totals) + f"{report.rows:>10}")
    ratios = [report.largest_to_smallest[split] for split in splits]
    shown = ["-" if ratio is None else f"{ratio:.1f} : 1" for ratio in ratios]
    lines.append(f"{'largest : smallest':22}" + "".join(f"{ratio:>13}" for ratio in shown))
    return lines


def _fault_lines(report: AuditReport) -> list[str]:
    training, public, private = report.classes
    kept = sum(report.classes[training].values()) - report.training_rows_dropped
    return [
        f"duplicates   {report.duplicates:>6} of {report.rows} rows repeat another's image "
        f"({report.distinct} distinct, {report.duplicate_groups} groups)",
        f"leaks        {report.cross_split_groups:>6} groups of equal images cross splits: "
        f"{report.public_in_training} {public} and {report.private_in_training} {private} images "
        f"are also in {training}",
        f"             {report.training_rows_dropped:>6} {training} rows are left out of training for it, {kept} kept",
        f"conflicts    {report.conflicting_groups:>6} groups of equal images carry different labels",
        f"blank        {report.blank:>6} images are blank",
    ]
