"""Cache decoded arrays in the user's cache folder, so that a data set is parsed only once.

A missing, stale or damaged cache is ignored; one that cannot be written is logged as a warning.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.model.labels import FER2013_LABELS
from fer_edge.system.user_folders import cache_folder
from fer_train.data.samples import Dataset, Split
from fer_train.splits import SPLIT_NAMES

_LOG = logging.getLogger(__name__)

_FORMAT = 2
"""Increase it when the readers' result or the layout of the file changes, so that older caches are ignored."""


class DecodedCache:
    """The cache of one data source: a .npz, replaced when the source's size or time changes."""

    def __init__(self, source: Path, fingerprint: str | None = None, variant: str = "") -> None:
        """``fingerprint`` is the state of a folder; None: a file's size and modification time.

        ``variant`` distinguishes several ways to read one source.
        """
        if fingerprint is None:
            status = source.stat()
            fingerprint = f"{status.st_size} {status.st_mtime_ns}"
        self._fingerprint = fingerprint
        self._name = source.name
        key = hashlib.sha256(os.fsencode(source.resolve()) + variant.encode()).hexdigest()[:16]
        self.path = cache_folder() / "decoded" / f"{source.name.split('.')[0]}-{key}.npz"

    def load(self) -> Dataset | None:
        """Return the cached data set, with the name of its source; None if there is none or it is stale."""
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                about = json.loads(str(arrays["about"]))
                if about["format"] != _FORMAT or about["fingerprint"] != self._fingerprint:
                    return None
                splits = {name: Split(arrays[f"{name}_images"], arrays[f"{name}_labels"]) for name in SPLIT_NAMES}
                return Dataset(
                    self._name,
                    tuple(
                        about.get("labels", FER2013_LABELS)
                    ),  # older caches have no labels, and contain only FER2013's
                    splits,
                    about["rows_sha256"],
                    about["skipped_rows"],
                    tuple(about["notes"]),
                )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            _LOG.warning("%s: damaged (%s); the data set is decoded again", self.path, error)
            return None

    def save(self, dataset: Dataset) -> None:
        """Write the cache atomically; log a failure."""
        about = {
            "format": _FORMAT,
            "fingerprint": self._fingerprint,
            "labels": dataset.labels,
            "rows_sha256": dataset.rows_sha256,
            "skipped_rows": dataset.skipped_rows,
            "notes": dataset.notes,
        }
        arrays: dict[str, Any] = {"about": np.array(json.dumps(about))}
        for name, split in dataset.splits.items():
            arrays[f"{name}_images"] = split.images
            arrays[f"{name}_labels"] = split.labels
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path.parent, suffix=".partial", delete=False) as temporary:
                try:
                    np.savez(temporary, **arrays)
                    temporary.close()
                    Path(temporary.name).replace(self.path)
                except BaseException:
                    Path(temporary.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            _LOG.warning("the decoded data set is not cached: %s: %s", self.path.parent, error.strerror)
