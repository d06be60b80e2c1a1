"""Hashes of what a step depends on: files, folders and the code of the packages that it runs."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fer_edge.errors import InputError, reason_of
from fer_edge.model.bundle import file_sha256

_LIBRARIES = ("keras", "tensorflow-cpu", "tensorflow", "torch", "jax", "ai-edge-litert", "onnxruntime", "numpy")
"""Packages whose version can change a result."""


def hash_of(path: Path) -> str | None:
    """Return the SHA-256 of a file's content, or of the names and contents in a folder; None if there is neither.

    Raises:
        InputError: if something cannot be read.
    """
    try:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            return _digest(f"{file.relative_to(path).as_posix()}\0{_hash_of_file(file)}" for file in files)
        return _hash_of_file(path) if path.exists() else None
    except OSError as error:
        raise InputError(f"{error.filename or path}: cannot be read: {reason_of(error)}") from None


@functools.cache
def code_version(packages: tuple[str, ...]) -> str:
    """Return a hash of the source files of ``packages`` and of the versions of the libraries that they compute with."""
    parts = []
    for name in packages:
        spec = importlib.util.find_spec(name)
        for folder in spec.submodule_search_locations or () if spec else ():
            files = sorted(Path(folder).rglob("*.py"))
            parts += [f"{name}/{file.relative_to(folder).as_posix()}\0{_hash_of_file(file)}" for file in files]
    for library in _LIBRARIES:
        try:
            parts.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    return _digest(parts)


def _hash_of_file(path: Path) -> str:
    status = path.stat()
    return _hash_once(os.path.realpath(path), status.st_size, status.st_mtime_ns)


@functools.cache
def _hash_once(path: str, size: int, modified: int) -> str:
    # Several steps of one chain depend on the same data. The cache ends with the process.
    del size, modified
    return file_sha256(Path(path))


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()
