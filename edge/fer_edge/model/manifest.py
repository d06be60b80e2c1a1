"""The manifest of a model bundle: ``manifest.json``, format 1.

The structs define the format; the decoder and ``schema/manifest.schema.json`` follow from them. Unknown keys are
ignored.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta

from fer_edge.errors import ModelError, reason_of
from fer_edge.model.quantization import Quantization
from fer_edge.settings.explain import explain, shown
from fer_edge.settings.strict_json import decode_json
from fer_edge.system.files import read_regular, write_text_atomically

T = TypeVar("T", bound=msgspec.Struct)

MANIFEST_NAME = "manifest.json"
FORMAT = 1
_MAX_MANIFEST_BYTES = 1 << 20

_PRINTABLE = "a non-empty string of printable characters"
_Text = Annotated[str, Meta(min_length=1, extra={"allowed": _PRINTABLE})]
"""Text that is printed. JSON allows half of a surrogate pair, which can be neither printed nor used in a file name."""
_BareName = Annotated[str, Meta(pattern=r"^(?!\.{1,2}$)[^/\\:]+$", extra={"allowed": "a bare file name"})]
"""Cannot refer to a file outside the bundle's folder, on any operating system."""
_Sha256 = Annotated[
    str,
    Meta(pattern="^[0-9A-Fa-f]{64}$", min_length=64, max_length=64, extra={"allowed": "64 hexadecimal digits"}),
]
_Side = Annotated[int, Meta(ge=1, le=4096)]
Dtype = Literal["float32", "uint8", "int8", "int16"]
_Scale = Annotated[float, Meta(ge=1e-30, le=1e30)]
"""Within the range of float32, which the conversion uses."""
_ZeroPoint = Annotated[int, Meta(ge=-(2**15), le=2**15 - 1)]
_Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max, extra={"allowed": "a finite number"})]


class BundleInput(msgspec.Struct, frozen=True):
    """Size of the classifier's input in pixels."""

    height: _Side
    width: _Side
    channels: Annotated[Literal[1], Meta(description="1: grey.")]


class VariantIO(msgspec.Struct, frozen=True):
    """Quantization of input and output, real = scale * (stored - zero point); scale 1 and zero point 0 for float32.

    ``input_range`` is the pair of real values to which the pixels 0 and 255 are scaled before they are quantized.
    """

    input_dtype: Dtype
    input_scale: _Scale
    input_zero_point: _ZeroPoint
    output_dtype: Dtype
    output_scale: _Scale
    output_zero_point: _ZeroPoint
    input_range: Annotated[
        tuple[_Finite, _Finite],
        Meta(description="Input values for black and white. 0 and 255, unless the model was made elsewhere."),
    ] = (0.0, 255.0)

    def __post_init__(self) -> None:
        low, high = self.input_range
        # Wider than any model's. Products with a scale of the manifest stay within float32.
        if not -1e6 <= low < high <= 1e6:
            raise ValueError(
                f"input_range must be two numbers from -1e+06 to 1e+06, lower first, not [{low:g}, {high:g}]"
            )

    @property
    def input(self) -> Quantization:
        """Quantization of the input."""
        return Quantization(self.input_dtype, self.input_scale, self.input_zero_point)

    @property
    def output(self) -> Quantization:
        """Quantization of the output."""
        return Quantization(self.output_dtype, self.output_scale, self.output_zero_point)


class VariantEntry(msgspec.Struct, frozen=True):
    """One model file of a bundle."""

    file: Annotated[_BareName, Meta(description="Name of a file in the manifest's folder.")]
    sha256: Annotated[_Sha256, Meta(description="SHA-256 of the file, compared before the file is used.")]
    size_bytes: Annotated[int, Meta(ge=0, description="Size of the file.")] = msgspec.field(name="bytes")
    io: VariantIO
    accuracy: Annotated[
        dict[str, _Finite], Meta(description="Top-1 accuracy, 0..1, by data set, as measured at conversion.")
    ] = {}

    @property
    def suffix(self) -> str:
        """The file's extension, such as ``.tflite``."""
        return Path(self.file).suffix

    def __post_init__(self) -> None:
        _check_printable("file", self.file)
        msgspec.structs.force_setattr(self, "sha256", self.sha256.lower())


class ModelManifest(msgspec.Struct, frozen=True):
    """The manifest of a model bundle of FER-Edge."""

    format: Annotated[Literal[1], Meta(description="Version of this format; a newer one is refused.")]
    name: Annotated[_Text, Meta(description="Name of the model.")]
    version: Annotated[_Text, Meta(description="Version of the model.")]
    license: Annotated[_Text, Meta(description="License of the weights.")]
    labels: Annotated[
        tuple[_Text, ...],
        Meta(
            min_length=2,
            description="Labels in the order of the logits.",
            extra_json_schema={"uniqueItems": True},
            extra={"allowed": "a list of at least two non-empty strings of printable characters"},
        ),
    ]
    input: BundleInput
    output: Annotated[Literal["logits"], Meta(description="The runtime computes the softmax.")]
    temperature: Annotated[
        # Much wider than calibration produces, and safe to divide by in float32.
        Annotated[float, Meta(ge=0.01, le=100)],
        Meta(description="Divides the logits before the softmax; fitted on a validation set."),
    ]
    variants: Annotated[
        dict[_Text, VariantEntry],
        Meta(min_length=1, description="Model files by name.", extra={"allowed": "a table of one or more variants"}),
    ]
    training: Annotated[
        dict[str, Any], Meta(description="How the model was made. Informative; the keys are not fixed.")
    ] = {}

    def __post_init__(self) -> None:
        _check_printable("name", self.name)
        _check_printable("version", self.version)
        _check_printable("license", self.license)
        for index, label in enumerate(self.labels):
            _check_printable(f"labels[{index}]", label)
        for name in self.variants:
            _check_printable("variants: a key", name)
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels contains a label twice")


def read_manifest(folder: Path) -> ModelManifest:
    """Read and check ``folder/manifest.json``.

    Raises:
        ModelError: If it is missing, unreadable or invalid; the message names the key.
    """
    path = folder / MANIFEST_NAME
    try:
        raw = read_regular(path, _MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        raise ModelError(f"{folder}: not a model bundle: it does not contain {MANIFEST_NAME}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read the manifest: {reason_of(error)}") from None
    if not raw.strip():
        raise ModelError(f"{path}: the manifest is empty")
    return decode_format(raw, str(path), ModelManifest)


def parse_manifest(table: Any, folder: Path) -> ModelManifest:
    """Return the manifest for ``table``, the decoded JSON of ``folder/manifest.json``.

    Raises:
        ModelError: If the manifest is invalid; the message names the key.
    """
    return _convert(table, str(folder / MANIFEST_NAME), ModelManifest)


def decode_format(data: bytes, where: str, kind: type[T]) -> T:
    """Return the struct ``kind``, whose field ``format`` has one allowed value, in the JSON text ``data``.

    Raises:
        ModelError: If the format is newer, or the content is invalid; the message begins with ``where``.
    """
    try:
        table = decode_json(data)
    except ValueError as error:
        raise ModelError(f"{where}: not valid JSON: {error}") from None
    return _convert(table, where, kind)


def _convert(table: Any, where: str, kind: type[T]) -> T:
    if not isinstance(table, dict):
        raise ModelError(f"{where}: must be an object, not {shown(table)}")
    found, (newest,) = table.get("format"), get_args(get_type_hints(kind)["format"])
    if isinstance(found, int) and found > newest:  # checked first: a newer format may have other keys
        raise ModelError(f"{where}: format {shown(found)} is newer than {newest}: update fer-edge")
    try:
        return msgspec.convert(table, kind)
    except ValueError as error:
        raise ModelError(f"{where}: {explain(error, table, kind)}") from None


def write_manifest(folder: Path, table: Mapping[str, Any]) -> None:
    """Check ``table`` with ``parse_manifest``, then write it to ``folder/manifest.json`` atomically.

    Raises:
        ModelError: If the manifest is invalid, too large, or cannot be encoded as JSON.
        OutputError: If the file cannot be written.
    """
    parse_manifest(table, folder)
    path = folder / MANIFEST_NAME
    try:
        text = json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        size = len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: contains a value that cannot be encoded as JSON in UTF-8: {error}") from None
    if size > _MAX_MANIFEST_BYTES:
        raise ModelError(f"{path}: larger than {_MAX_MANIFEST_BYTES} bytes; shorten the entries under training")
    write_text_atomically(path, text)


def _check_printable(key: str, text: str) -> None:
    if not text.isprintable():
        raise ValueError(f"{key} must be {_PRINTABLE}, not {shown(text)}")
