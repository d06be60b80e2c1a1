"""Convert a Keras model to a model bundle: export and check each variant, fit the temperature, measure.

All files are written to a temporary folder next to the target, which replaces the target if all checks pass.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from fer_bench.accuracy import run_on_split
from fer_bench.metrics import fit_temperature
from fer_bench.runners import KerasRunner, default_variant, fitted, open_runner
from fer_convert import gate
from fer_convert.atomic_bundle import atomic_bundle, check_target
from fer_convert.checks import check_file, check_logits, warn_near_chance
from fer_convert.export.onnx_translation import translate
from fer_convert.export.tflite import export
from fer_convert.export.variants import DEFAULT_VARIANTS, VARIANTS, VariantSpec, check_variants
from fer_convert.gate_rules import Gate
from fer_convert.model_card import CARD, model_card
from fer_convert.quantization.calibration import calibration_images
from fer_convert.recall_floor import apply_offsets, fit_offsets
from fer_convert.source_model import SourceModel
from fer_edge.errors import InputError
from fer_edge.model.bundle import file_sha256, load_bundle
from fer_edge.model.manifest import FORMAT, VariantIO, write_manifest
from fer_edge.system.files import write_bytes_atomically, write_text_atomically
from fer_edge.types import Float32Array, UInt8Array
from fer_train.data.dataset import PUBLIC_TEST, Dataset, Split

log = logging.getLogger(__name__)

UNKNOWN = "unknown"
"""License of weights if the user gives none: it depends on the training data and on the initial weights."""
FIRST_VERSION = "1.0.0"


@dataclass(frozen=True, slots=True)
class BundleOptions:
    """Contents of a bundle.

    Attributes:
        variants: Names in ``VARIANTS``.
        name: None takes the name of the recipe, or of the file.
        version: Three numbers, such as "1.2.0".
        license: License of the weights; None means unknown.
        recall_floors: Minimum recall (0..1) on PublicTest by label; see ``recall_floor``.
        gate: Rules that the bundle must keep to be written.
    """

    variants: Sequence[str] = DEFAULT_VARIANTS
    name: str | None = None
    version: str = FIRST_VERSION
    license: str | None = None
    recall_floors: Mapping[str, float] = field(default_factory=dict)
    gate: Gate | None = None


def convert_model(
    source: SourceModel, out: Path, dataset: Dataset, options: BundleOptions, *, force: bool = False
) -> Path:
    """Write the bundle ``out``.

    Args:
        source: The model.
        out: Folder of the bundle.
        dataset: Its Training images calibrate, its PublicTest images are for checks and the temperature.
        options: Contents of the bundle.
        force: Replace an existing bundle.

    Returns:
        ``out``.

    Raises:
        InputError: If a variant is unknown, or ``out`` exists.
        ModelError: If a file fails a check.
        CheckFailedError: If the gate refuses the bundle. After an error, no file is left, and an existing bundle is
            unchanged.
    """
    check_variants(options.variants)
    if options.gate is not None:
        options.gate.judged(options.variants)
    check_target(out, force)
    split = check_data(source, dataset)
    calibration = fitted(calibration_images(dataset), source.size)
    reference = _reference(source, dataset)
    offsets = fit_offsets(reference, split.labels, dataset.labels, options.recall_floors)
    if options.recall_floors:
        apply_offsets(source.keras, offsets[[dataset.labels.index(label) for label in source.labels]])
        reference = reference + offsets
    with atomic_bundle(out, force) as folder:
        manifest = _manifest(source, _export_all(source, options.variants, calibration, folder), options)
        if offsets.any():
            named = zip(dataset.labels, offsets.tolist(), strict=True)
            manifest["training"]["logit_offsets"] = {label: round(offset, 4) for label, offset in named if offset}
        manifest["training"]["calibration"] = {"images": len(calibration), "dataset": dataset.rows_sha256}
        write_manifest(folder, manifest)
        logits = _measure(folder, manifest, dataset, reference)
        write_manifest(folder, manifest)
        if options.gate is not None:
            with load_bundle(folder) as bundle:
                gate.check(options.gate, gate.Exported(bundle, logits, reference, split.labels))
        write_text_atomically(folder / CARD, model_card(manifest))
    return out


def check_data(source: SourceModel, dataset: Dataset) -> Split:
    """Return PublicTest of ``dataset``. Raises InputError if it is empty, or if its labels or size are not the model's.

    A foreign model may have another input size, to which images are resampled as on the device, and its labels in
    another order.
    """
    split = dataset.splits[PUBLIC_TEST]
    if not len(split):
        raise InputError(f"{dataset.name}: has no {dataset.shown(PUBLIC_TEST)} images to check the conversion on")
    if source.is_ours and split.images.shape[1:] != source.size:
        raise InputError(f"{dataset.name}: its images are {split.images.shape[1:]}, the model takes {source.size}")
    if set(source.labels) != set(dataset.labels) or (source.is_ours and source.labels != dataset.labels):
        raise InputError(
            f"{source.path}: its labels are {', '.join(source.labels)}, the data set's {', '.join(dataset.labels)}"
        )
    return split


def _reference(source: SourceModel, dataset: Dataset) -> Float32Array:
    """Return the Keras model's logits on PublicTest, [N, labels], in the data set's order of labels."""
    split = dataset.splits[PUBLIC_TEST]
    with KerasRunner(source.path, source.keras) as runner:
        logits = runner.logits(split.images)
    logits = logits[:, [source.labels.index(label) for label in dataset.labels]]
    if not source.is_ours:
        accuracy = float((logits.argmax(axis=1) == split.labels).mean())
        where = dataset.shown(PUBLIC_TEST)
        log.info("%s: %.2f %% on %s's %s", source.path.name, 100 * accuracy, dataset.name, where)
        warn_near_chance(source.path.name, accuracy, split.labels, len(dataset.labels))
    return logits


def _export_all(
    source: SourceModel, variants: Sequence[str], calibration: UInt8Array, folder: Path
) -> dict[str, dict[str, Any]]:
    """Write and check the files of ``variants`` in ``folder``. Returns the manifest's entries."""

    @functools.cache
    def file_of(name: str) -> bytes:
        spec = VARIANTS[name]
        if spec.onnx_of is None:
            return export(source.keras, spec, calibration)
        return translate(file_of(spec.onnx_of), spec, calibration)

    entries = {}
    for name in variants:
        spec = VARIANTS[name]
        log.info("exporting %s: %s", name, spec.summary)
        path = folder / spec.file
        write_bytes_atomically(path, file_of(name))
        io = check_file(path, spec, source.size, len(source.labels), source.params)
        entries[name] = _entry(path, spec, io)
    return entries


def _entry(path: Path, spec: VariantSpec, io: VariantIO) -> dict[str, Any]:
    return {
        "summary": spec.summary,
        "file": path.name,
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        "io": msgspec.structs.asdict(io),
        "accuracy": {},
    }


def _manifest(source: SourceModel, files: dict[str, Any], options: BundleOptions) -> dict[str, Any]:
    height, width = source.size
    return {
        "format": FORMAT,
        "name": options.name or source.name,
        "version": options.version,
        "license": options.license or UNKNOWN,
        "labels": list(source.labels),
        "input": {"height": height, "width": width, "channels": 1},
        "output": "logits",
        "temperature": 1.0,
        "variants": files,
        "training": dict(source.training),
    }


def _measure(
    folder: Path, manifest: dict[str, Any], dataset: Dataset, reference: Float32Array
) -> dict[str, Float32Array]:
    """Run each file by the runner of ``fer_bench``; put accuracy and temperature into ``manifest``.

    Returns the logits [N, labels] of each variant.
    """
    truth = dataset.splits[PUBLIC_TEST].labels
    logits = {}
    for variant, entry in manifest["variants"].items():
        with open_runner(folder, variant) as runner:
            logits[variant] = run_on_split(runner, dataset, PUBLIC_TEST)
        agreement = check_logits(VARIANTS[variant], logits[variant], reference)
        accuracy = float((logits[variant].argmax(axis=1) == truth).mean())
        entry["accuracy"][f"{dataset.name}_{dataset.key(PUBLIC_TEST)}"] = round(accuracy, 6)
        log.info(
            "%s: %.2f %% on %s, agrees with Keras on %.2f %%",
            variant,
            100 * accuracy,
            dataset.shown(PUBLIC_TEST),
            100 * agreement,
        )
    with load_bundle(folder) as bundle:
        fitted_on = default_variant(bundle)
    manifest["temperature"] = round(fit_temperature(logits[fitted_on], truth), 4)
    return logits
