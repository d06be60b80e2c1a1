"""Model bundles: a folder, or a zip of it, with ``manifest.json`` and one file per variant.

The manifest defines the labels, the input size, the temperature and the quantization of each variant, for conversion,
benchmarks and runtime alike. Files are compared with their SHA-256 before use.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_edge.errors import InputError, ModelError, OutputError
from fer_edge.model.archive import unpack_bundle
from fer_edge.model.quantization import Quantization
from fer_edge.system.closing import Closing
from fer_edge.system.files import write_text_atomically

MANIFEST_NAME = "manifest.json"
FORMAT = 1
DEFAULT_BUNDLE = Path(__file__).parent / "default_bundle"
_TEMPERATURES = (0.01, 100.0)
"""Range of the temperature: much wider than calibration produces, and safe to divide by in float32."""
_SCALES = (1e-30, 1e30)
"""Range of a scale: within the range of float32, which the conversion uses."""
_ZERO_POINTS = (-(2**15), 2**15 - 1)
_DTYPES = ("float32", "uint8", "int8", "int16")
_MAX_MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BundleInput:
    """Size of the classifier's input in pixels. ``channels`` is 1 (grey)."""

    height: int
    width: int
    channels: int


@dataclass(frozen=True, slots=True)
class VariantIO:
    """Quantization of a variant's input and output: scale 1 and zero point 0 for float32."""

    input_dtype: str
    input_scale: float
    input_zero_point: int
    output_dtype: str
    output_scale: float
    output_zero_point: int

    @property
    def input(self) -> Quantization:
        """Quantization of the input."""
        return Quantization(self.input_dtype, self.input_scale, self.input_zero_point)

    @property
    def output(self) -> Quantization:
        """Quantization of the output."""
        return Quantization(self.output_dtype, self.output_scale, self.output_zero_point)


@dataclass(frozen=True, slots=True)
class ModelVariant:
    """One model file of a bundle.

    Attributes:
        name: Name of the variant, such as ``int8``.
        path: The file.
        sha256: Expected SHA-256, lower-case hexadecimal.
        size_bytes: Expected size.
        io: Quantization of input and output.
        accuracy: Top-1 accuracy, 0..1, by data set, as measured at conversion.
    """

    name: str
    path: Path
    sha256: str
    size_bytes: int
    io: VariantIO
    accuracy: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """The parsed manifest. ``variants`` are in the file's order; ``training`` is informative and has no fixed keys."""

    name: str
    version: str
    license: str
    labels: tuple[str, ...]
    input: BundleInput
    output: str
    temperature: float
    variants: dict[str, ModelVariant]
    training: dict[str, Any]


class ModelBundle(Closing):
    """An opened bundle.

    A context manager: a zip is unpacked to a temporary folder, which ``close`` removes.

    >>> with load_bundle() as bundle:
    ...     print(type(bundle).__name__, bundle.manifest.output, "int8" in bundle.manifest.variants)
    ModelBundle logits True
    """

    def __init__(self, folder: Path, manifest: ModelManifest, cleanup: contextlib.ExitStack | None = None) -> None:
        self.folder = folder
        self.manifest = manifest
        self._cleanup = cleanup or contextlib.ExitStack()
        self._verified: set[str] = set()

    def variant(self, name: str) -> ModelVariant:
        """Return the variant ``name`` after comparing its file with the size and SHA-256 in the manifest.

        Raises:
            ModelError: If the bundle does not have the variant, or if its file is missing or different.
        """
        variants = self.manifest.variants
        if name not in variants:
            raise ModelError(f"{self.folder}: no variant {name!r} in this bundle; it has {', '.join(variants)}")
        variant = variants[name]
        if name not in self._verified:
            _verify(variant)
            self._verified.add(name)
        return variant

    def close(self) -> None:
        """Remove the temporary folder of an unpacked zip. Idempotent."""
        self._cleanup.close()


def load_bundle(path: str | os.PathLike[str] | None = None) -> ModelBundle:
    """Open the bundle at ``path``, a folder or zip (None: the bundle in the package).

    Raises:
        InputError: If ``path`` does not exist or cannot be read.
        ModelError: If the bundle is refused.
        OutputError: If a zip cannot be unpacked to the system's temporary folder.

    >>> load_bundle().manifest.labels
    ('angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral')
    """
    path = DEFAULT_BUNDLE if path is None else Path(path)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
        missing = not (is_folder or is_file or path.exists())
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}") from None
    if missing:
        raise InputError(f"{path}: no such bundle; pass a folder or zip that contains {MANIFEST_NAME}")
    if is_folder:
        return ModelBundle(path, read_manifest(path))
    if not is_file:  # reading a pipe could block, reading a device might never end
        raise ModelError(f"{path}: neither a bundle folder nor a zip")
    cleanup = contextlib.ExitStack()
    with contextlib.ExitStack() as guard:
        guard.enter_context(cleanup)
        folder = _temporary_folder(cleanup)
        unpack_bundle(path, folder, MANIFEST_NAME)
        bundle = ModelBundle(folder, read_manifest(folder), cleanup)
        guard.pop_all()
    return bundle


def read_manifest(folder: Path) -> ModelManifest:
    """Read and check ``folder/manifest.json``.

    Raises:
        ModelError: If it is missing, unreadable or invalid; the message names the key.
    """
    path = folder / MANIFEST_NAME
    try:
        if not path.is_file() and path.exists():
            raise ModelError(f"{path}: must be a file")
        with path.open("rb") as stream:
            raw = stream.read(_MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise ModelError(f"{folder}: not a model bundle: it does not contain {MANIFEST_NAME}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read it: {error.strerror}") from None
    if not raw.strip():
        raise ModelError(f"{path}: the manifest is empty")
    if len(raw) > _MAX_MANIFEST_BYTES:
        raise ModelError(f"{path}: larger than {_MAX_MANIFEST_BYTES} bytes, so not a manifest")
    try:
        table = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}") from None
    return parse_manifest(table, folder)


def parse_manifest(table: Any, folder: Path) -> ModelManifest:
    """Return the manifest for its decoded JSON ``table``; the variants' files are in ``folder``.

    Raises:
        ModelError: If the manifest is invalid; the message names the key.
    """
    reader = _Reader(table, str(folder / MANIFEST_NAME))
    found_format = reader.integer("format", low=1)
    if found_format > FORMAT:
        raise ModelError(f"{reader.where}: format {found_format} is newer than {FORMAT}: update fer-edge")
    labels = reader.strings("labels")
    size = reader.table("input")
    variants = reader.table("variants")
    if not variants.value or not all(_is_text(name) for name in variants.value):
        raise reader.error("variants", "must contain one or more variants, with names of printable characters")
    manifest = ModelManifest(
        name=reader.text("name"),
        version=reader.text("version"),
        license=reader.text("license"),
        labels=labels,
        input=BundleInput(*(size.integer(key, low=1, high=4096) for key in ("height", "width", "channels"))),
        output=reader.text("output"),
        temperature=reader.number("temperature", low=_TEMPERATURES[0], high=_TEMPERATURES[1]),
        variants={name: _parse_variant(variants.table(name), name, folder) for name in variants.value},
        training=dict(reader.table("training").value) if "training" in reader.value else {},
    )
    if manifest.output != "logits":
        raise reader.error("output", f"must be 'logits', not {_shown(manifest.output)!r}")
    if manifest.input.channels != 1:
        raise reader.error("input.channels", f"must be 1 (grey), not {manifest.input.channels}")
    return manifest


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


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as lower-case hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _parse_variant(reader: _Reader, name: str, folder: Path) -> ModelVariant:
    file = reader.text("file")
    # A bare name, so that a manifest cannot refer to files outside its folder, on any operating system.
    if "/" in file or "\\" in file or file in (".", "..") or ":" in file or "\0" in file:
        raise reader.error("file", f"must be a bare file name, not the path {_shown(file)!r}")
    sha256 = reader.text("sha256").lower()
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise reader.error("sha256", "must be 64 hexadecimal digits")
    io = reader.table("io")
    accuracy = reader.table("accuracy") if "accuracy" in reader.value else None
    return ModelVariant(
        name=name,
        path=folder / file,
        sha256=sha256,
        size_bytes=reader.integer("bytes", low=0),
        io=VariantIO(
            io.choice("input_dtype", _DTYPES),
            io.number("input_scale", *_SCALES),
            io.integer("input_zero_point", *_ZERO_POINTS),
            io.choice("output_dtype", _DTYPES),
            io.number("output_scale", *_SCALES),
            io.integer("output_zero_point", *_ZERO_POINTS),
        ),
        accuracy={key: accuracy.number(key) for key in accuracy.value} if accuracy else {},
    )


def _verify(variant: ModelVariant) -> None:
    path = variant.path
    try:
        if not path.is_file() and path.exists():  # reading a pipe could block
            raise ModelError(f"{path}: listed in the manifest, but not a file")
        size = path.stat().st_size
        # The size is compared first, so that a wrong file need not be read to its end.
        digest = file_sha256(path) if size == variant.size_bytes else None
    except FileNotFoundError:
        raise ModelError(f"{path}: listed in the manifest, but missing") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read it: {error.strerror}") from None
    if digest is None:
        raise ModelError(f"{path}: {size} bytes, but the manifest says {variant.size_bytes}: damaged or replaced")
    if digest != variant.sha256:
        raise ModelError(f"{path}: sha256 differs from the manifest's: damaged or replaced; download the bundle again")


def _temporary_folder(cleanup: contextlib.ExitStack) -> Path:
    try:
        return Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="fer-edge-bundle-")))
    except OSError as error:
        raise OutputError(
            f"cannot unpack the bundle's zip: cannot create a temporary folder: {error.strerror}"
        ) from None


class _Reader:
    """Typed access to one JSON object. Every error names the file and the key path."""

    def __init__(self, value: Any, where: str, path: str = "") -> None:
        self.where, self.path = where, path
        if not isinstance(value, dict):
            raise ModelError(f"{where}: {path or 'the manifest'} must be an object")
        self.value: dict[str, Any] = value

    def error(self, key: str, problem: str) -> ModelError:
        return ModelError(f"{self.where}: {self._key(key)} {problem}")

    def table(self, key: str) -> _Reader:
        return _Reader(self._get(key), self.where, self._key(key))

    def text(self, key: str) -> str:
        value = self._get(key)
        if not _is_text(value):
            raise self.error(key, "must be a non-empty string of printable characters")
        return str(value)

    def strings(self, key: str) -> tuple[str, ...]:
        value = self._get(key)
        if not isinstance(value, list) or len(value) < 2 or not all(_is_text(item) for item in value):
            raise self.error(key, "must be a list of at least two non-empty strings of printable characters")
        if len(set(value)) != len(value):
            raise self.error(key, "contains a label twice")
        return tuple(value)

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in allowed:
            raise self.error(key, f"must be one of {', '.join(allowed)}, not {_shown(value)}")
        return value

    def integer(self, key: str, low: int | None = None, high: int | None = None) -> int:
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(key, "must be an integer")
        if (low is not None and value < low) or (high is not None and value > high):
            raise self.error(key, f"is out of range: {_shown(value)}")
        return value

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        value = self._get(key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.error(key, "must be a number")
        try:
            number = float(value)
        except OverflowError:  # integers in JSON have no limit
            number = math.inf
        if not (math.isfinite(number) and low <= number <= high):
            limits = f"between {low:g} and {high:g}" if math.isfinite(low) else "a finite number"
            raise self.error(key, f"must be {limits}, not {_shown(value)}")
        return number

    def _get(self, key: str) -> Any:
        if key not in self.value:
            raise self.error(key, "is missing")
        return self.value[key]

    def _key(self, key: str) -> str:
        return f"{self.path}.{_shown(key)}" if self.path else _shown(key)


def _is_text(value: Any) -> bool:
    # JSON allows half of a surrogate pair, which can be neither printed nor used in a file name.
    return isinstance(value, str) and value != "" and value.isprintable()


def _shown(value: Any) -> str:
    try:
        text = str(value)
    except ValueError:  # Python does not convert integers of more than 4300 digits
        return "a number with more than 4300 digits"
    return text if len(text) <= 60 else text[:57] + "..."
