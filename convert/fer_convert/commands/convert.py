"""The work of ``fer-edge convert``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence

from fer_convert.atomic_bundle import check_target
from fer_convert.convert import FIRST_VERSION, BundleOptions, convert_model
from fer_convert.copy_variants import copy_variants
from fer_convert.export.onnx_translation import check_packages
from fer_convert.export.variants import DEFAULT_VARIANTS, VARIANTS, check_variants
from fer_convert.foreign.open_foreign import BroughtOptions
from fer_convert.gate_rules import read_gate
from fer_convert.source_model import locate_model, open_any_model
from fer_edge.errors import InputError
from fer_edge.model.bundle import load_bundle
from fer_edge.model.manifest import MANIFEST_NAME
from fer_edge.system.messages import print_text
from fer_train.backend import load_keras
from fer_train.dataset import load_dataset

log = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> int:
    """Convert and print the bundle's path."""
    if not arguments.model.exists():
        raise InputError(
            f"{arguments.model}: no such model; give a .keras, .h5, .onnx or .pt2 file, a SavedModel, a run or a bundle"
        )
    check_target(arguments.out, arguments.force)
    logging.getLogger("fer_convert").setLevel(logging.INFO)
    if (arguments.model / MANIFEST_NAME).is_file() or arguments.model.suffix == ".zip":
        _copy(arguments)
    else:
        _convert(arguments)
    print_text(f"{arguments.out}\n")
    return 0


def _copy(arguments: argparse.Namespace) -> None:
    brought = ("input_range", "input_size", "labels", "license")
    for option in ("min_recall", "model_version", "name", "gate", *brought):
        if getattr(arguments, option):
            told = "--" + option.replace("_", "-")
            raise InputError(f"{arguments.model}: {told} is for a Keras model; a bundle's files are copied as they are")
    with load_bundle(arguments.model) as bundle:
        variants = _names(arguments.variants, bundle.manifest.variants)
    copy_variants(arguments.model, arguments.out, variants, force=arguments.force)


def _convert(arguments: argparse.Namespace) -> None:
    # What fails comes in the order of how fast it does: TensorFlow takes seconds to load.
    options = BundleOptions(
        variants=_names(arguments.variants or DEFAULT_VARIANTS, VARIANTS),
        name=arguments.name,
        version=arguments.model_version or FIRST_VERSION,
        license=arguments.license,
        recall_floors=dict(arguments.min_recall),
        gate=read_gate(arguments.gate) if arguments.gate else None,
    )
    check_variants(options.variants)
    if any(VARIANTS[name].onnx_of for name in options.variants):
        check_packages()
    if options.gate is not None:
        options.gate.judged(options.variants)
    locate_model(arguments.model)
    dataset = load_dataset(arguments.data)
    # Only TensorFlow has the converter; a model trained on another backend loads under it all the same.
    load_keras("tensorflow", extra="convert")
    source = open_any_model(
        arguments.model, BroughtOptions(arguments.input_range, arguments.labels, arguments.input_size)
    )
    for line in source.told:
        log.info("%s: %s", source.path.name, line)
    convert_model(source, arguments.out, dataset, options, force=arguments.force)


def _names(given: Sequence[str] | None, every: Iterable[str]) -> list[str]:
    """The variants of a list parted by spaces or commas, each once; "all", or no list, means ``every`` one.

    Raises InputError for a list without a name.
    """
    if given is None:
        return list(every)
    names = dict.fromkeys(name for part in given for name in part.split(",") if name)
    if not names:
        raise InputError("--variants: names none; give some, or all")
    return list(every) if "all" in names else list(names)
