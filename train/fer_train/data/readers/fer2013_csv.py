"""Read FER2013 from its CSV, row by row, with either spelling of the columns.

A table look-up for each pixel is fast enough in Python, and also refuses everything except integers of 0..255.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import InputError
from fer_edge.model.labels import FER2013_LABELS
from fer_train.data.readers.containers import DAMAGE_ERRORS, CsvStream, open_csv
from fer_train.data.samples import Dataset, RowCollector
from fer_train.progress import progress
from fer_train.splits import SPLIT_NAMES

_LOG = logging.getLogger(__name__)

_MAX_LINE_BYTES = 1 << 20
"""A 48 x 48 row is less than 10 kB; a file with a longer line has another format, and is not read into memory."""

_PROGRESS_EVERY = 256
_SHOWN_CHARACTERS = 20
_BYTE_VALUES = {str(value).encode(): value for value in range(256)}
_LABEL_VALUES = {str(value).encode(): value for value in range(len(FER2013_LABELS))}
_SPLITS = {split.encode(): split for split in SPLIT_NAMES}


class _BadRowError(Exception):
    """A malformed row; the caller adds file and line."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """The index of each column, and the number of columns."""

    emotion: int
    pixels: int
    usage: int
    count: int


def read_csv(path: Path, *, skip_bad_rows: bool = False) -> Dataset:
    """Decode the CSV at ``path`` (plain, .xz, .gz, .zip or .tar.gz).

    With ``skip_bad_rows``, malformed rows are left out and counted in ``Dataset.skipped_rows``, and of a truncated file
    the rows before the damage are returned.

    Raises:
        InputError: for the first malformed row, with file and line, unless rows are skipped.
    """
    rows = RowCollector()
    skipped = 0
    pixel_count = 0
    with open_csv(path) as stream, progress(f"reading {path.name}", path.stat().st_size, "B") as show:
        lines = _numbered_lines(stream)
        columns = _read_header(lines, path)
        for number, line in lines:
            try:
                split, label, pixels = _parse_row(line, columns, pixel_count)
            except _BadRowError as error:
                if not skip_bad_rows:
                    raise InputError(f"{path}, line {number}: {error} (--skip-bad-rows leaves it out)") from error
                _LOG.info("%s, line %d skipped: %s", path, number, error)
                skipped += 1
                continue
            rows.add(split, label, pixels)
            pixel_count = len(pixels)
            if number % _PROGRESS_EVERY == 0:
                show(stream.position())
    if not len(rows):
        raise InputError(f"{path}: no usable row ({skipped} malformed); is this FER2013?")
    side = math.isqrt(pixel_count)
    return rows.build(path.name, (side, side), skipped_rows=skipped)


def _numbered_lines(stream: CsvStream) -> Iterator[tuple[int, bytes | Exception]]:
    """Yield number (from 1) and bytes of each line that is not blank; for damage, the exception as the last line."""
    number = 0
    while True:
        number += 1
        try:
            line = stream.lines.readline(_MAX_LINE_BYTES)
        except DAMAGE_ERRORS as error:
            yield number, error
            return
        if not line:
            return
        if line.strip():
            yield number, line


def _read_header(lines: Iterator[tuple[int, bytes | Exception]], path: Path) -> _Columns:
    try:
        _, line = next(lines)
    except StopIteration:
        raise InputError(f"{path}: is empty") from None
    if isinstance(line, Exception):
        raise InputError(f"{path}, line 1: damaged or truncated here ({line}); download it again")
    # icml_face_data.csv has a blank before "Usage" and "pixels"; some tools put a byte-order mark in front.
    names = [_field(name).lower() for name in line.removeprefix(b"\xef\xbb\xbf").split(b",")]
    missing = [name.decode() for name in (b"emotion", b"pixels", b"usage") if name not in names]
    if missing:
        hint = "Kaggle's train.csv and test.csv lack it, " if missing == ["usage"] else ""
        raise InputError(
            f"{path}, line 1: no column {', '.join(missing)}; {hint}"
            "the whole data set is fer2013.csv or icml_face_data.csv (emotion, pixels, Usage)"
        )
    return _Columns(names.index(b"emotion"), names.index(b"pixels"), names.index(b"usage"), len(names))


def _parse_row(line: bytes | Exception, columns: _Columns, pixel_count: int) -> tuple[str, int, bytes]:
    """Return split, label and pixel bytes of a line. ``pixel_count`` is that of earlier rows; 0: this is the first."""
    if isinstance(line, Exception):
        raise _BadRowError(f"damaged or truncated here ({line})")
    fields = line.split(b",")
    if len(fields) != columns.count:
        raise _BadRowError(f"{len(fields)} columns instead of {columns.count}; truncated?")
    label = _LABEL_VALUES.get(_field(fields[columns.emotion]))
    if label is None:
        raise _BadRowError(f"label {_shown(fields[columns.emotion])} is not an integer of 0..{len(FER2013_LABELS) - 1}")
    split = _SPLITS.get(_field(fields[columns.usage]))
    if split is None:
        raise _BadRowError(f"Usage {_shown(fields[columns.usage])} is none of {', '.join(SPLIT_NAMES)}")
    pixels = _parse_pixels(_field(fields[columns.pixels]))
    if pixel_count and len(pixels) != pixel_count:
        raise _BadRowError(f"{len(pixels)} pixels instead of {pixel_count}")
    if not pixels or math.isqrt(len(pixels)) ** 2 != len(pixels):
        raise _BadRowError(f"{len(pixels)} pixels are not a square image")
    return split, label, pixels


def _parse_pixels(text: bytes) -> bytes:
    values = text.split()
    try:
        return bytes(map(_BYTE_VALUES.__getitem__, values))
    except KeyError:
        position, value = next((i, value) for i, value in enumerate(values) if value not in _BYTE_VALUES)
        raise _BadRowError(f"pixel {position + 1} is {_shown(value)}, not an integer of 0..255") from None


def _field(raw: bytes) -> bytes:
    return raw.strip().strip(b'"').strip()


def _shown(raw: bytes) -> str:
    text = ascii(_field(raw).decode("latin-1"))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
