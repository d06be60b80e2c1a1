"""Write a bundle's int8 variant as C++ sources for TFLM."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
import numpy.typing as npt

from fer_bench.profile.graph import Graph, read_graph
from fer_convert.mcu.arena import activation_bytes, arena_bytes
from fer_convert.mcu.golden import data_faces, drawn_faces, reference_outputs
from fer_convert.mcu.operators import resolver_calls
from fer_edge.errors import InputError, ModelError, OutputError
from fer_edge.model.bundle import ModelBundle
from fer_edge.model.manifest import VariantIO
from fer_edge.system.files import create_folder
from fer_edge.types import CropSpec, UInt8Array

FILES = ("model.h", "model.cc", "golden.h", "golden.cc", "main.cc", "CMakeLists.txt", "README.md")
"""The files of an export; those in ``templates/``."""
_CODE_BYTES, _OPERATOR_BYTES = 50_000, 7_000
"""Flash for the interpreter with the C library's printf, and for each operator: gcc 12 for a Cortex-M3 with -Os."""
_PER_LINE = 20


@dataclass(frozen=True, slots=True)
class Needs:
    """Memory that a model needs on a microcontroller, in bytes: ``model`` and ``code`` in flash, ``arena`` in RAM."""

    model: int
    code: int
    arena: int

    @property
    def flash(self) -> int:
        """Flash for the model and the code, without the golden images."""
        return self.model + self.code


@dataclass(frozen=True, slots=True)
class Limits:
    """The microcontroller's memory for the model, in bytes; None: not limited."""

    max_flash: int | None = None
    max_arena: int | None = None

    def check(self, name: str, needs: Needs) -> None:
        """Raise ModelError if ``needs`` exceed a limit; the message names sufficient limits."""
        over = [
            f"{needed:,} bytes of {what}, and {flag} is {limit:,}"
            for what, flag, needed, limit in (
                ("flash", "--max-flash", needs.flash, self.max_flash),
                ("RAM for the arena", "--max-arena", needs.arena, self.max_arena),
            )
            if limit is not None and needed > limit
        ]
        if over:
            raise ModelError(
                f"{name} needs {'; it needs '.join(over)}. It fits --max-flash {_rounded_up(needs.flash)} --max-arena"
                f" {_rounded_up(needs.arena)}; a network with fewer channels needs less"
            )


@dataclass(frozen=True, slots=True)
class Exported:
    """The result: the folder, and the model's needs."""

    folder: Path
    needs: Needs
    golden: int


def needs_of(graph: Graph, model_bytes: int) -> Needs:
    """Return the needs of a model of ``model_bytes``."""
    operators = len({operator.name for operator in graph.operators})
    return Needs(model_bytes, _CODE_BYTES + _OPERATOR_BYTES * operators, arena_bytes(graph))


def export(
    bundle: ModelBundle, variant_name: str, out: Path, *, limits: Limits, golden: int, data: Path | None, force: bool
) -> Exported:
    """Write the sources of a variant to the folder ``out``.

    Args:
        bundle: The bundle.
        variant_name: Name of a variant whose input has 8 bits and whose output is int8.
        out: The folder, which is made; with ``force``, the files of an earlier export are replaced.
        limits: Those of the microcontroller.
        golden: Number of golden inputs.
        data: Where to take them from: FER2013's PublicTest; None for the drawn face of the demo.
        force: Replace the files of an earlier export.

    Raises:
        InputError: If there is something else at ``out``, or the data cannot be read.
        ModelError: If the variant cannot run on TFLM, or exceeds a limit.
        OutputError: If the files cannot be written.
    """
    _check_target(out, force)
    variant, manifest = bundle.variant(variant_name), bundle.manifest
    codec = variant.io
    if codec.input_dtype not in ("uint8", "int8") or codec.output_dtype != "int8" or variant.suffix != ".tflite":
        raise ModelError(
            f"{variant.path}: has {codec.input_dtype} input and {codec.output_dtype} output; only a .tflite with 8 bits"
            " in and out can be exported: choose --variant int8"
        )
    graph = read_graph(variant.path)
    needs = needs_of(graph, variant.size_bytes)
    calls = resolver_calls(graph)
    title = f"{manifest.name} {manifest.version} {variant.name}"
    limits.check(title, needs)
    size = CropSpec(manifest.input.height, manifest.input.width)
    pixels = drawn_faces(golden, size) if data is None else data_faces(data, golden, size)
    stored = _stored(pixels, codec)
    outputs = reference_outputs(variant.path, stored)
    values = {
        "title": title,
        "model_bytes": variant.size_bytes,
        "code_bytes": needs.code,
        "arena_bytes": needs.arena,
        "activation_bytes": activation_bytes(graph),
        "input_dtype": codec.input_dtype,
        "input_formula": _input_formula(codec),
        "height": size.height,
        "width": size.width,
        "margin": size.margin,
        "output_scale": repr(codec.output_scale),
        "output_zero_point": codec.output_zero_point,
        "temperature": repr(float(manifest.temperature)),
        "label_count": len(manifest.labels),
        "labels": ", ".join(f'"{c_string(label)}"' for label in manifest.labels),
        "operator_count": len(calls),
        "register_calls": "\n".join(f"  TF_LITE_ENSURE_STATUS(resolver.{call}());" for call in calls),
        "sha256": variant.sha256,
        "bytes": _c_array(np.frombuffer(variant.path.read_bytes(), np.uint8)),
        "golden_count": len(stored),
        "inputs": _c_rows(stored.reshape(len(stored), -1)),
        "outputs": _c_rows(outputs),
        "golden_source": _SOURCES[data is None],
    }
    _write(out, values)
    return Exported(out, needs, len(stored))


_SOURCES = {
    True: "The images in `golden.cc` show the drawn face of `fer-edge demo`, whose portrait is in the public domain.",
    False: "The images in `golden.cc` are from the data that was given with `--data`: mind its terms before you share"
    " them.",
}


def _stored(pixels: UInt8Array, codec: VariantIO) -> UInt8Array:
    """Return ``pixels`` as the model's input stores them, as bytes."""
    low, high = codec.input_range
    if (codec.input_dtype, codec.input_scale, codec.input_zero_point, low, high) == ("uint8", 1.0, 0, 0.0, 255.0):
        return pixels
    table: npt.NDArray[np.generic] = codec.input.quantize(np.linspace(low, high, 256))
    return table[pixels].view(np.uint8)


def _input_formula(codec: VariantIO) -> str:
    low, high = codec.input_range
    if (codec.input_scale, codec.input_zero_point, low, high) == (1.0, 0, 0.0, 255.0):
        return ""
    scale = (high - low) / 255 / codec.input_scale
    return f" * {scale:.9g} + {low / codec.input_scale + codec.input_zero_point:.9g}, rounded,"


def c_string(text: str) -> str:
    """Return ``text`` for a C string literal: other characters than printable ASCII as octal escapes of UTF-8."""
    return "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in text.encode()
    )


def _c_array(values: npt.NDArray[np.generic]) -> str:
    numbers = [str(value) for value in values.tolist()]
    return "\n".join(", ".join(numbers[at : at + _PER_LINE]) + "," for at in range(0, len(numbers), _PER_LINE))


def _c_rows(rows: npt.NDArray[np.generic]) -> str:
    return "\n".join(f"{{\n{_c_array(row)}\n}}," for row in rows)


def _check_target(out: Path, force: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: is a file; give the folder to make")
    foreign = sorted(path.name for path in out.iterdir() if path.name not in FILES)
    if foreign:
        raise InputError(f"{out}: contains {foreign[0]}, which is not part of an export; choose another --out")
    if not force and any(out.iterdir()):
        raise InputError(f"{out}: contains an export already; replace it with --force, or choose another --out")


def _write(out: Path, values: dict[str, object]) -> None:
    templates = files("fer_convert") / "mcu" / "templates"
    texts = {name: Template((templates / name).read_text(encoding="utf-8")).substitute(values) for name in FILES}
    create_folder(out.parent)
    staged = out.with_name(f".{out.name}.tmp")
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        for name, text in texts.items():
            (staged / name).write_text(text, encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        staged.rename(out)
    except OSError as error:
        raise OutputError(f"{out}: cannot write it: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _rounded_up(count: int) -> str:
    return f"{-(-count // 1024)}k"
