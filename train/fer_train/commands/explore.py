"""``fer-edge data explore``."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

from fer_edge.errors import InputError, OutputError
from fer_edge.system.files import write_bytes_atomically, write_text_atomically
from fer_edge.system.messages import printable
from fer_train.data.dataset import TRAINING, Dataset, load_data, load_dataset
from fer_train.exploring import page
from fer_train.exploring.augmented import draw_augmentation
from fer_train.exploring.extras import require
from fer_train.exploring.pictures import FIXED, draw_survey
from fer_train.exploring.survey import Survey, survey
from fer_train.recipe.recipe import Recipe, load_recipe

PAGE, NEAR_DUPLICATES = "explore.html", "near-duplicates.csv"

_OURS = (PAGE, NEAR_DUPLICATES, "samples-*-*.png", "augment-*.png", *(f"{name}.png" for name in FIXED))
"""Files of an earlier exploration; a new one does not always write all of them."""


def explore(arguments: argparse.Namespace) -> int:
    """Measure and draw the data set; print the findings and the path of the page."""
    out: Path = arguments.out
    _check_folder(out, force=arguments.force)
    shown = None if arguments.augment is None else load_recipe(arguments.augment)
    for module in ("pandas", "seaborn", "imagehash"):
        require(module)
    dataset = _dataset(arguments, shown)
    _check_not_empty(dataset)
    found = survey(dataset)
    pictures = list(draw_survey(found)) + ([] if shown is None else list(draw_augmentation(shown, dataset)))
    drawn = [(picture.name, picture.heading, picture.text, _png(picture.figure)) for picture in pictures]
    _write(out, {f"{name}.png": png for name, _, _, png in drawn}, _near_csv(found), page.to_html(found, drawn))
    sys.stdout.write("".join(f"{printable(line)}\n" for line in (*page.findings(found), str(out / PAGE))))
    return 0


def _write(out: Path, pngs: dict[str, bytes], near: str, html: str) -> None:
    """Write all files, then remove those of an earlier exploration: nothing is lost if the disk is full."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, png in pngs.items():
            write_bytes_atomically(out / name, png)
        write_text_atomically(out / NEAR_DUPLICATES, near)
        write_text_atomically(out / PAGE, html)
        for old in {path for pattern in _OURS for path in out.glob(pattern)}:
            if old.name not in {*pngs, NEAR_DUPLICATES, PAGE}:
                old.unlink()
    except OutputError:
        raise  # names its file
    except OSError as error:
        raise OutputError(f"{out}: cannot write there: {error.strerror}") from error


def _dataset(arguments: argparse.Namespace, shown: Recipe | None) -> Dataset:
    """Return the data of --recipe, or at PATH; without both, the data of the recipe in --augment."""
    recipe = shown if arguments.config is None else load_recipe(arguments.config)
    if recipe is None or (arguments.config is None and arguments.path is not None):
        return load_dataset(arguments.path, skip_bad_rows=arguments.skip_bad_rows)
    return load_data(recipe.data, arguments.path, skip_bad=arguments.skip_bad_rows)


def _check_not_empty(dataset: Dataset) -> None:
    if not len(dataset.splits[TRAINING]):
        raise InputError(f"{dataset.name}: has no {dataset.shown(TRAINING)} images to show")


def _check_folder(out: Path, *, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder")
    if not force and out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; choose another folder, or --force to replace the pictures in it")


def _png(figure: Any) -> bytes:
    content = io.BytesIO()
    # Without a version, so that equal pictures are equal files.
    figure.savefig(content, format="png", dpi=figure.dpi, metadata={"Software": None})
    return content.getvalue()


def _near_csv(found: Survey) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("group", "split", "row", "label"))
    for number, group in enumerate(found.near):
        for index, line in found.table.iloc[list(group)].iterrows():
            del index
            writer.writerow((number, line["split"], line["row"], line["label"]))
    return text.getvalue()
