"""Copy variants of a bundle to a new one: a device needs only int8."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_convert.atomic_bundle import atomic_bundle, check_target
from fer_edge.errors import ModelError
from fer_edge.model.bundle import load_bundle
from fer_edge.model.manifest import MANIFEST_NAME, write_manifest


def copy_variants(bundle: Path, out: Path, variants: Sequence[str], *, force: bool = False) -> Path:
    """Write the bundle ``out`` with byte-for-byte copies of ``variants`` of ``bundle``.

    Raises:
        InputError: If ``out`` exists.
        ModelError: If ``bundle`` lacks a variant, or a file is damaged.
    """
    check_target(out, force)
    with load_bundle(bundle) as source, atomic_bundle(out, force) as folder:
        table = _read_table(source.folder / MANIFEST_NAME)
        kept = {variant: source.variant(variant).path for variant in variants}
        for path in kept.values():
            shutil.copyfile(path, folder / path.name)
        table["variants"] = {variant: table["variants"][variant] for variant in kept}
        write_manifest(folder, table)
    return out


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # the bundle was read before, so it has changed
        raise ModelError(f"{path}: cannot read it: {error}") from None
    return table
