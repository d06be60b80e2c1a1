"""Write a bundle in a temporary folder next to its target, and replace the target by a rename."""

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
    """Raise InputError if writing a bundle to ``out`` would remove files: those of a bundle need ``force``."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise InputError(f"{out}: is a file; give the folder to make")
    foreign = _foreign_files(out)
    if foreign:
        raise InputError(
            f"{out}: holds {', '.join(foreign[:3])}, which does not belong to a bundle; choose another --out"
        )
    if not force:
        raise InputError(f"{out}: a bundle is already there; replace it with --force, or choose another --out")


def _foreign_files(out: Path) -> list[str]:
    """Return the names of files in ``out`` that do not belong to its bundle and would be lost."""
    ours = {MANIFEST_NAME, CARD}
    with contextlib.suppress(ModelError):
        ours |= {variant.file for variant in read_manifest(out).variants.values()}
    return sorted(path.name for path in out.iterdir() if path.name not in ours or not path.is_file())


@contextmanager
def atomic_bundle(out: Path, force: bool) -> Iterator[Path]:
    """Yield an empty folder next to ``out``, which replaces ``out`` if the block succeeds.

    Raises:
        InputError: If ``check_target`` refuses ``out``.
        OutputError: If a file cannot be written.
    """
    check_target(out, force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    except OSError as error:
        raise OutputError(f"{out}: cannot write there: {error.strerror}") from error
    try:
        yield folder
        folder.chmod(0o755)
        _replace(out, folder)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{out}: cannot write it: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(out: Path, folder: Path) -> None:
    """Rename ``folder`` to ``out``. If this fails, the previous folder is restored."""
    if not out.exists():
        folder.rename(out)
        return
    old = folder.with_suffix(".old")
    out.rename(old)
    try:
        folder.rename(out)
    except OSError:
        with contextlib.suppress(OSError):
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
