"""``fer-edge bundle make``: make a bundle from a ``.tflite`` file."""

from __future__ import annotations

import argparse
import logging

from fer_convert.atomic_bundle import check_target
from fer_convert.convert import FIRST_VERSION, UNKNOWN
from fer_convert.foreign.tflite_bundle import WrapOptions, wrap_tflite
from fer_edge.errors import InputError, ModelError
from fer_edge.system.messages import print_text
from fer_train.data.dataset import load_dataset


def run(arguments: argparse.Namespace) -> int:
    """Write the bundle and print its path."""
    path = arguments.model
    if not path.exists():
        raise InputError(f"{path}: no such file; give a .tflite file")
    if path.suffix != ".tflite" or not path.is_file():
        raise ModelError(f"{path}: is not a .tflite file; `fer-edge convert` makes a bundle of other models")
    check_target(arguments.out, arguments.force)
    logging.getLogger("fer_convert").setLevel(logging.INFO)
    options = WrapOptions(
        arguments.labels,
        arguments.input_range,
        arguments.name,
        arguments.model_version or FIRST_VERSION,
        arguments.license or UNKNOWN,
    )
    dataset = None if arguments.data is None else load_dataset(arguments.data)
    wrap_tflite(path, arguments.out, options, dataset, force=arguments.force)
    print_text(f"{arguments.out}\n")
    return 0
