"""``fer-edge convert``: make a bundle from a model, or copy variants of a bundle."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence

from fer_convert.atomic_bundle import check_target
from fer_convert.convert import FIRST_VERSION, BundleOptions, convert_model
from fer_convert.copy_variants import copy_variants
from fer_convert.export.onnx_translation import check_packages
from fer_convert.export.variants import DEFAULT_VARIANTS, VARIANTS, check_variants
from fer_convert.foreign.onnx_file import import_before_tensorflow
from fer_convert.foreign.open_foreign import ForeignOptions
from fer_convert.gate_rules import read_gate
from fer_convert.model_card import CARD
from fer_convert.source_model import locate_model, open_any_model
from fer_edge.errors import InputError
from fer_edge.model.bundle import load_bundle
from fer_edge.model.manifest import MANIFEST_NAME
from fer_edge.system.messages import print_text
from fer_train.backend import load_keras
from fer_train.data.dataset import load_dataset
from fer_train.training.tracking import record_card

log = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> int:
    """Write the bundle and print its path."""
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
    foreign = ("input_range", "input_size", "labels", "license")
    for option in ("min_recall", "model_version", "name", "gate", *foreign):
        if getattr(arguments, option):
            flag = "--" + option.replace("_", "-")
            raise InputError(f"{arguments.model}: {flag} is for a Keras model; a bundle's files are copied as they are")
    with load_bundle(arguments.model) as bundle:
        variants = _names(arguments.variants, bundle.manifest.variants)
    copy_variants(arguments.model, arguments.out, variants, force=arguments.force)


def _convert(arguments: argparse.Namespace) -> None:
    # The fastest checks first: TensorFlow takes seconds to load.
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
    import_before_tensorflow(arguments.model.suffix)
    # Only TensorFlow has the converter. It also loads models that were trained on another backend.
    load_keras("tensorflow", extra="convert")
    source = open_any_model(
        arguments.model, ForeignOptions(arguments.input_range, arguments.labels, arguments.input_size)
    )
    for line in source.notes:
        log.info("%s: %s", source.path.name, line)
    convert_model(source, arguments.out, dataset, options, force=arguments.force)
    record_card(arguments.model, arguments.out / CARD)


def _names(given: Sequence[str] | None, every: Iterable[str]) -> list[str]:
    """Return the variants of a list separated by spaces or commas; "all", or no list, means ``every`` one.

    Raises InputError if the list contains no name.
    """
    if given is None:
        return list(every)
    names = dict.fromkeys(name for part in given for name in part.split(",") if name)
    if not names:
        raise InputError("--variants: names none; give some, or all")
    return list(every) if "all" in names else list(names)
