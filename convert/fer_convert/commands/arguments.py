"""Arguments of ``fer-edge convert``, ``bundle``, ``export``, ``profile``, ``bench study`` and ``bench layers``.

Nothing heavy is imported here: the implementation of a command is imported when it runs.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from fer_convert.foreign.input_range import InputRange, parse_input_range
from fer_edge.commands.argument_types import count
from fer_edge.commands.cli import Command, add_subcommands, deferred


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="the folder of a finished run; a .keras, .h5, .onnx or .pt2 (torch.export) file or a SavedModel from "
        "elsewhere; or a bundle, whose variants are then copied",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="folder of the bundle to make")
    parser.add_argument(
        "--variants",
        nargs="+",
        metavar="V",
        help="names separated by spaces or commas, or all; an unknown name lists the known ones "
        "(default: float32 int8; of a bundle: all it has)",
    )
    parser.add_argument("--name", help="the bundle's name (default: the recipe's)")
    parser.add_argument("--model-version", type=_version, metavar="X.Y.Z", help="the bundle's version (default: 1.0.0)")
    parser.add_argument(
        "--min-recall",
        nargs="+",
        type=_floor,
        default=[],
        metavar="LABEL=SHARE",
        help="raise a rare class's logit until the Keras model has this recall on PublicTest (of other data: "
        "validation), such as disgust=0.5; rounding to int8 may cost an image of it",
    )
    parser.add_argument(
        "--gate",
        type=Path,
        metavar="TOML",
        help="rules that the bundle must keep, else nothing is written and the exit code is 1 (docs/gate.md)",
    )
    parser.add_argument("--data", type=Path, metavar="PATH", help="as for fer-edge data; for other data the recipe")
    parser.add_argument("--force", action="store_true", help="replace a bundle that is already there")
    parser.add_argument("--license", type=_text, metavar="TEXT", help="of the weights (default: unknown)")
    foreign = parser.add_argument_group("foreign models: not trained by fer-edge train")
    foreign.add_argument(
        "--input-range",
        type=_input_range,
        metavar="RANGE",
        help="input values for black and white in its training: 0..1, -1..1, 0..255 or other numbers, or caffe or "
        "torch as in keras.applications; required unless the model scales its pixels itself. Write "
        "--input-range=-1..1",
    )
    foreign.add_argument(
        "--labels",
        type=_labels,
        metavar="A,B,…",
        help="labels of its outputs, in order (default for seven outputs: FER2013's order)",
    )
    foreign.add_argument(
        "--input-size",
        type=_size,
        metavar="N|HxW",
        help="height and width in pixels, for a model that takes images of any size",
    )


def _version(text: str) -> str:
    if not re.fullmatch(r"\d{1,4}\.\d{1,4}\.\d{1,4}", text, flags=re.ASCII):
        raise argparse.ArgumentTypeError(f"must be three numbers such as 1.2.0, not {text!r}")
    return text


def _text(text: str) -> str:
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError("must be printable text")
    return text


def _input_range(text: str) -> InputRange:
    try:
        return parse_input_range(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _labels(text: str) -> tuple[str, ...]:
    labels = tuple(label.strip().lower() for label in text.split(","))
    if len(labels) < 2 or len(set(labels)) < len(labels) or not all(label and label.isprintable() for label in labels):
        raise argparse.ArgumentTypeError(f"must be names separated by commas, each once, not {text!r}")
    return labels


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4}))?", text, flags=re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"must be pixels, such as 96 or 96x128 (height x width), not {text!r}")
    return int(found[1]), int(found[2] or found[1])


def _floor(text: str) -> tuple[str, float]:
    label, _, share = text.partition("=")
    if not label or not re.fullmatch(r"0?\.\d{1,6}|0|1(\.0*)?", share, flags=re.ASCII):
        raise argparse.ArgumentTypeError(f"must be a label and a share of 0..1, such as disgust=0.5, not {text!r}")
    return label, float(share)


CONVERT = Command(
    "make a model bundle (float32, int8, ONNX …) from a Keras, ONNX or PyTorch model",
    _configure,
    deferred("fer_convert.commands.convert:run"),
)


def _configure_bundle_make(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL.tflite", help="a .tflite file, quantized or not")
    parser.add_argument(
        "--labels", type=_labels, required=True, metavar="A,B,…", help="labels of its outputs, in order"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="folder of the bundle to make")
    parser.add_argument(
        "--input-range",
        type=_input_range,
        metavar="RANGE",
        help="input values for black and white in its training: 0..1, -1..1, 0..255 or other numbers (default: from "
        "the scale and zero point of a quantized input). Write --input-range=-1..1",
    )
    parser.add_argument("--name", type=_text, help="the bundle's name (default: the file's)")
    parser.add_argument("--model-version", type=_version, metavar="X.Y.Z", help="the bundle's version (default: 1.0.0)")
    parser.add_argument("--license", type=_text, metavar="TEXT", help="of the weights (default: unknown)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="measure the accuracy on this data, as for fer-edge data, and fit the temperature (default: do neither)",
    )
    parser.add_argument("--force", action="store_true", help="replace a bundle that is already there")


def _configure_bundle_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="model bundle with float32, a folder or zip")
    parser.add_argument(
        "--gate",
        type=Path,
        required=True,
        metavar="TOML",
        help="rules that each variant must keep, compared with float32 on PublicTest (of other data: validation)",
    )
    parser.add_argument("--data", type=Path, metavar="PATH", help="as for fer-edge data; for other data the recipe")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the findings as JSON, if all rules are kept")


def _configure_bundle(parser: argparse.ArgumentParser) -> None:
    add_subcommands(
        parser,
        {
            "make": Command(
                "make a bundle of a .tflite file without converting it",
                _configure_bundle_make,
                deferred("fer_convert.commands.bundle:run"),
            ),
            "check": Command(
                "judge a bundle by the rules of a gate; exit code 1 if it breaks one",
                _configure_bundle_check,
                deferred("fer_convert.commands.check:run"),
            ),
        },
    )


BUNDLE = Command("make a bundle of a .tflite file, or judge a bundle: make, check", _configure_bundle)


def _configure_study(parser: argparse.ArgumentParser) -> None:
    _add_experiment_options(parser, "study.json and study.png")
    parser.add_argument(
        "--per-class",
        nargs="+",
        type=count,
        default=[1, 2, 4, 8, 16, 32, 64],
        metavar="N",
        help="calibration images of each class (default: 1 2 4 8 16 32 64); other rules choose the same total",
    )
    parser.add_argument(
        "--seeds", type=count, default=3, metavar="N", help="number of choices by each rule (default: 3)"
    )
    parser.add_argument(
        "--rules",
        nargs="+",
        choices=("balanced", "random", "brightness"),
        default=["balanced", "random"],
        help="how they are chosen: the same number of each class, as convert does; at random; evenly by brightness",
    )


def _configure_layers(parser: argparse.ArgumentParser) -> None:
    _add_experiment_options(parser, "layers.json and layers.png")
    parser.add_argument(
        "--keep-float",
        nargs="+",
        type=count,
        default=[],
        metavar="N",
        help="measure accuracy and time of int8 with the N worst layers in float, for each N",
    )
    parser.add_argument(
        "--float",
        type=lambda text: text.split(","),
        default=[],
        metavar="LAYER,…",
        help="the same with these layers in float",
    )


def _add_experiment_options(parser: argparse.ArgumentParser, files: str) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .keras file, or the folder of a finished run")
    parser.add_argument(
        "--images",
        type=count,
        metavar="N",
        help="measure on N images of PublicTest (of other data: validation; default: all)",
    )
    # bench has these options too: a value before the subcommand is kept.
    for flag, metavar, text in (
        ("--data", "PATH", "FER2013 (default: as for fer-edge data)"),
        ("--json", "OUT", "write the numbers as JSON; - for standard output"),
        ("--out", "DIR", f"write {files} into this folder"),
    ):
        parser.add_argument(flag, type=Path, metavar=metavar, default=argparse.SUPPRESS, help=text)


STUDY = Command(
    "accuracy of int8 by number and choice of calibration images",
    _configure_study,
    deferred("fer_convert.commands.study:run"),
)
LAYERS = Command(
    "error of int8 by layer, and accuracy and time with some layers in float",
    _configure_layers,
    deferred("fer_convert.commands.layers:run"),
)


def _configure_export(parser: argparse.ArgumentParser) -> None:
    add_subcommands(
        parser,
        {
            "mcu": Command(
                "C++ sources for TensorFlow Lite Micro, with golden inputs and outputs",
                _configure_mcu,
                deferred("fer_convert.commands.export:run"),
            )
        },
    )


def _configure_mcu(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="model bundle, a folder or zip")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the sources to make")
    parser.add_argument("--variant", default="int8", metavar="NAME", help="variant of the bundle (default: int8)")
    parser.add_argument(
        "--max-arena", type=_bytes, metavar="SIZE", help="RAM of the part for the tensor arena, such as 64k; exit 4 if"
        " the model needs more",
    )  # fmt: skip
    parser.add_argument(
        "--max-flash", type=_bytes, metavar="SIZE", help="flash of the part for the model and TensorFlow Lite Micro,"
        " such as 256k or 1M",
    )  # fmt: skip
    parser.add_argument(
        "--golden", type=count, default=8, metavar="N", help="golden inputs, 2,304 bytes of flash each (default: 8)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="FER2013, whose PublicTest images become the golden inputs (default:"
        " a drawn face)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace an export that is already there")


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d{1,9})([kM]?)", text, flags=re.ASCII)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"must be a size such as 65536, 64k or 1M, not {text!r}")
    return int(match[1]) * {"": 1, "k": 1024, "M": 1024**2}[match[2]]


EXPORT = Command("export a model for other runtimes: mcu", _configure_export)


def _configure_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        metavar="MODEL",
        help="a bundle, a .tflite or .keras file, or the folder of a run; a Keras file is timed as float32",
    )
    parser.add_argument(
        "--compare", type=Path, nargs=2, metavar=("A", "B"), help="profile two models, and print the ratios of B to A"
    )
    parser.add_argument("--variant", metavar="NAME", help="variant of a bundle (default: int8)")
    parser.add_argument(
        "--rounds", type=count, default=50, metavar="N", help="rounds over all truncated models (default: 50)"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the numbers as JSON; - for standard output")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write profile.json and profile.png into this folder")


PROFILE = Command(
    "size, memory and time of each layer of a model, and its distance from this machine's peak",
    _configure_profile,
    deferred("fer_convert.commands.profile:run"),
)
