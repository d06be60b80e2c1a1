"""Keras model to model bundle: export each variant, check it, fit the temperature, measure, and only then keep it.

Everything happens in a folder beside the target, which takes the target's place in one rename at the end.
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
from fer_convert.atomic_bundle import check_target, staged_bundle
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
from fer_train.dataset import PUBLIC_TEST, Dataset, Split

log = logging.getLogger(__name__)

UNKNOWN = "unknown"
"""The licence of weights that no one has named one for: it goes by what they were trained on and begun with."""
FIRST_VERSION = "1.0.0"


@dataclass(frozen=True, slots=True)
class BundleOptions:
    """What a bundle is to hold; ``name`` None takes the recipe's or the file's, ``license`` None says unknown.

    ``recall_floors`` maps labels to the recall (0..1) that each is to have on PublicTest: see ``recall_floor``. What
    ``gate`` refuses is not written.
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
    """Make the bundle ``out`` from ``source``; ``dataset`` gives calibration (Training) and checks (PublicTest).

    Raises InputError for an unknown variant or an existing target, ModelError when a file fails a check,
    CheckFailedError when the gate refuses it; then nothing is left behind and an existing bundle stays as it was.
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
    with staged_bundle(out, force) as stage:
        manifest = _manifest(source, _export_all(source, options.variants, calibration, stage), options)
        if offsets.any():
            told = zip(dataset.labels, offsets.tolist(), strict=True)
            manifest["training"]["logit_offsets"] = {label: round(offset, 4) for label, offset in told if offset}
        manifest["training"]["calibration"] = {"images": len(calibration), "dataset": dataset.rows_sha256}
        write_manifest(stage, manifest)
        logits = _measure(stage, manifest, dataset, reference)
        write_manifest(stage, manifest)
        if options.gate is not None:
            with load_bundle(stage) as bundle:
                gate.check(options.gate, gate.Exported(bundle, logits, reference, split.labels))
        write_text_atomically(stage / CARD, model_card(manifest))
    return out


def check_data(source: SourceModel, dataset: Dataset) -> Split:
    """PublicTest of ``dataset``. Raises InputError when it is empty, or has other labels or sizes than the model.

    A model that was not trained here may take other sizes, to which the device's resampling brings the images, and
    have its labels in another order.
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
    """The Keras model's logits on PublicTest [N, labels], columns in the data set's order of labels."""
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
    source: SourceModel, variants: Sequence[str], calibration: UInt8Array, stage: Path
) -> dict[str, dict[str, Any]]:
    """Write the files of ``variants`` into ``stage``, each checked. Returns the manifest's entries."""

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
        path = stage / spec.file
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
    stage: Path, manifest: dict[str, Any], dataset: Dataset, reference: Float32Array
) -> dict[str, Float32Array]:
    """Run each file through the bench's own runner: agreement with Keras, PublicTest accuracy, the temperature.

    Returns the logits [N, labels] of each.
    """
    truth = dataset.splits[PUBLIC_TEST].labels
    logits = {}
    for variant, entry in manifest["variants"].items():
        with open_runner(stage, variant) as runner:
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
    with load_bundle(stage) as bundle:
        fitted_on = default_variant(bundle)
    manifest["temperature"] = round(fit_temperature(logits[fitted_on], truth), 4)
    return logits
