"""A bundle of some variants of another: a device needs int8 alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_convert.atomic_bundle import check_target, staged_bundle
from fer_edge.errors import ModelError
from fer_edge.model.bundle import load_bundle
from fer_edge.model.manifest import MANIFEST_NAME, write_manifest


def copy_variants(bundle: Path, out: Path, variants: Sequence[str], *, force: bool = False) -> Path:
    """Make the bundle ``out`` of ``variants`` of ``bundle``, their files byte for byte.

    Raises InputError for an existing target, ModelError for a variant that is not there or a file that is damaged.
    """
    check_target(out, force)
    with load_bundle(bundle) as source, staged_bundle(out, force) as stage:
        table = _read_table(source.folder / MANIFEST_NAME)
        kept = {variant: source.variant(variant).path for variant in variants}
        for path in kept.values():
            shutil.copyfile(path, stage / path.name)
        table["variants"] = {variant: table["variants"][variant] for variant in kept}
        write_manifest(stage, table)
    return out


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # the bundle was just read: it changed in between
        raise ModelError(f"{path}: cannot read it: {error}") from None
    return table
