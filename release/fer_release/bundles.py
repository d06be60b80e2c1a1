"""What a release contains: the archive of a bundle with recorded logits, and the list of a channel's releases.

The archive is a zip of the bundle and ``golden.json``. A device runs its crops through the model, and refuses the
release if a logit differs from the recorded one by more than one step of the output.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fer_edge.errors import InputError, ModelError, reason_of
from fer_edge.model.bundle import ModelBundle
from fer_edge.model.manifest import MANIFEST_NAME, decode_format
from fer_edge.update.format import (
    FORMAT,
    GOLDEN_NAME,
    MAX_ARCHIVE_BYTES,
    Channel,
    Release,
    channel_target,
    version_key,
)
from fer_edge.update.golden import record

if TYPE_CHECKING:
    from fer_release.repository import KeyStore, Repository


def check_bundle(bundle: ModelBundle, gate: Path | None, data: Path | None) -> None:
    """Check every file of ``bundle`` as ``fer-edge convert`` does, then judge it by the rules in ``gate``.

    The gate compares the variants with the bundle's float32 variant on PublicTest of ``data``, because a bundle does
    not contain the Keras model. This is the only function of this package that needs TensorFlow.

    Raises:
        CheckFailedError: If the gate refuses it.
        InputError: If the bundle has no float32 variant to compare with, the data cannot be read, or TensorFlow is not
            installed.
        ModelError: If a file fails a check.
    """
    from fer_convert.checks import check_file
    from fer_convert.export.variants import VARIANTS
    from fer_train.backend import load_keras

    load_keras("tensorflow", extra="convert")  # without its startup messages: the checks read files with TensorFlow
    manifest = bundle.manifest
    size = (manifest.input.height, manifest.input.width)
    for name in manifest.variants:
        path = bundle.variant(name).path
        if name in VARIANTS:
            check_file(path, VARIANTS[name], size, len(manifest.labels), 0)
    if gate is None:
        return
    from fer_convert.bundle_gate import judge_bundle

    judge_bundle(bundle, gate, data)


def pack(bundle: ModelBundle) -> bytes:
    """Return the archive of ``bundle``: the same bytes for the same files.

    Raises:
        InputError: If a file cannot be read, or the archive is larger than a device accepts.
        ModelError: If a model cannot run.
    """
    files = {MANIFEST_NAME: _read(bundle.folder / MANIFEST_NAME)}
    for name in bundle.manifest.variants:
        variant = bundle.variant(name)
        files[variant.file] = _read(variant.path)
    if GOLDEN_NAME in files:
        raise ModelError(f"{bundle.folder}: a model file has the name {GOLDEN_NAME}, which releases use; rename it")
    files[GOLDEN_NAME] = record(bundle)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # ZipInfo: a fixed date
    if buffer.tell() > MAX_ARCHIVE_BYTES:
        raise InputError(
            f"{bundle.folder}: {buffer.tell()} bytes, and devices accept at most {MAX_ARCHIVE_BYTES}; remove variants"
        )
    return buffer.getvalue()


def publish(repository: Repository, bundle: ModelBundle, channel: str, rollout: int, keys: KeyStore) -> Release:
    """Add ``bundle`` to ``channel`` for ``rollout`` percent of the devices; of a version that is there, change that.

    Raises:
        InputError: If the version is not X.Y.Z, is taken by another bundle, or a key is missing.
        ModelError: If a model cannot run.
        OutputError: If a file cannot be written.
    """
    manifest = bundle.manifest
    if not re.fullmatch(r"\d{1,4}\.\d{1,4}\.\d{1,4}", manifest.version, flags=re.ASCII):
        raise InputError(
            f"{bundle.folder}: its version must be three numbers such as 1.2.0, not {manifest.version!r};"
            " set it with `fer-edge convert --model-version`"
        )
    data, target = pack(bundle), f"bundle-{manifest.version}.zip"
    there = repository.read_target(target)
    if there is not None and there != data:
        raise InputError(f"{manifest.version}: another bundle was released with this version; choose a new version")
    release = Release(manifest.version, target, rollout)
    others = [known for known in releases(repository, channel) if known.version != release.version]
    listed = Channel(FORMAT, sorted([*others, release], key=lambda known: version_key(known.version)))
    # TUF's canonical JSON has no floats: an accuracy is a string.
    accuracy = {
        f"{name} {dataset}": f"{value:.4f}"
        for name, entry in manifest.variants.items()
        for dataset, value in entry.accuracy.items()
    }
    custom = {target: {"name": manifest.name, "version": manifest.version, "accuracy": accuracy}}
    files = {target: data, channel_target(channel): msgspec.json.encode(listed)}
    repository.publish(files, custom, keys)
    return release


def releases(repository: Repository, channel: str) -> list[Release]:
    """Return the releases in ``channel``, oldest first. Raises InputError if the list is damaged."""
    name = channel_target(channel)
    data = repository.read_target(name)
    try:
        return [] if data is None else decode_format(data, name, Channel).releases
    except ModelError as error:
        raise InputError(str(error)) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {reason_of(error)}") from None
