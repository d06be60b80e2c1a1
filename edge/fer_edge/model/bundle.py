"""Model bundles: a folder, or a zip of it, with ``manifest.json`` and one file per variant.

The manifest defines the labels, the input size, the temperature and the quantization of each variant, for conversion,
benchmarks and runtime alike. Files are compared with their SHA-256 before use.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import msgspec

from fer_edge.errors import InputError, ModelError, OutputError
from fer_edge.model.archive import unpack_bundle
from fer_edge.model.manifest import MANIFEST_NAME, ModelManifest, VariantEntry, read_manifest
from fer_edge.system.closing import Closing
from fer_edge.system.files import open_regular

# Python's own implementation, as its module random takes it: hashlib loads OpenSSL, 3.4 MiB that a run does not need.
try:
    from _sha2 import sha256  # since Python 3.12
except ImportError:
    try:
        from _sha256 import sha256
    except ImportError:  # a Python that was built without them
        from hashlib import sha256

DEFAULT_BUNDLE = Path(__file__).parent / "default_bundle"
_BLOCK_BYTES = 1 << 18


class ModelVariant(VariantEntry, frozen=True, kw_only=True):
    """One model file of an opened bundle: its entry in the manifest, with its name and path."""

    name: str
    path: Path


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
        self._verified: dict[str, ModelVariant] = {}

    def variant(self, name: str) -> ModelVariant:
        """Return the variant ``name`` after comparing its file with the size and SHA-256 in the manifest.

        Raises:
            ModelError: If the bundle does not have the variant, or if its file is missing or different.
        """
        variants = self.manifest.variants
        if name not in variants:
            raise ModelError(f"{self.folder}: no variant {name!r} in this bundle; it has {', '.join(variants)}")
        if name not in self._verified:
            entry = variants[name]
            variant = ModelVariant(**msgspec.structs.asdict(entry), name=name, path=self.folder / entry.file)
            _verify(variant)
            self._verified[name] = variant
        return self._verified[name]

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
    with contextlib.ExitStack() as cleanup:
        try:
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="fer-edge-bundle-")))
        except OSError as error:
            reason = f"cannot create a temporary folder: {error.strerror}"
            raise OutputError(f"cannot unpack the bundle's zip: {reason}") from None
        unpack_bundle(path, folder)
        return ModelBundle(folder, read_manifest(folder), cleanup.pop_all())


def bytes_sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as lower-case hexadecimal."""
    return str(sha256(data).hexdigest())


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as lower-case hexadecimal."""
    digest = sha256()
    with open_regular(path) as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return str(digest.hexdigest())


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
