"""A bundle is built beside its target and takes its place in one rename, or leaves no trace."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_convert.model_card import CARD
from fer_edge.errors import InputError, ModelError, OutputError
from fer_edge.model.manifest import MANIFEST_NAME, read_manifest


def check_target(out: Path, force: bool) -> None:
    """Refuse a target that would lose something: a bundle without ``force``, anything else always."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise InputError(f"{out}: is a file; give the folder to make")
    foreign = _foreign_files(out)
    if foreign:
        raise InputError(f"{out}: holds {', '.join(foreign[:3])}, which is no part of a bundle; choose another --out")
    if not force:
        raise InputError(f"{out}: a bundle is already there; replace it with --force, or choose another --out")


def _foreign_files(out: Path) -> list[str]:
    """Names in ``out`` that are not the manifest's, the card's or those the manifest gives: they would be lost."""
    ours = {MANIFEST_NAME, CARD}
    with contextlib.suppress(ModelError):
        ours |= {variant.file for variant in read_manifest(out).variants.values()}
    return sorted(path.name for path in out.iterdir() if path.name not in ours or not path.is_file())


@contextmanager
def staged_bundle(out: Path, force: bool) -> Iterator[Path]:
    """An empty folder beside ``out`` that replaces it when the block ends well. Raises InputError, OutputError."""
    check_target(out, force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    except OSError as error:
        raise OutputError(f"{out}: cannot write there: {error.strerror}") from error
    try:
        yield stage
        stage.chmod(0o755)
        _replace(out, stage)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{out}: cannot write it: {error.strerror or error}") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _replace(out: Path, stage: Path) -> None:
    """Put ``stage`` at ``out``; what stood there is put back when that fails."""
    if not out.exists():
        stage.rename(out)
        return
    old = stage.with_suffix(".old")
    out.rename(old)
    try:
        stage.rename(out)
    except OSError:
        with contextlib.suppress(OSError):
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
