"""The optional packages of the bench, imported where they are used and named clearly where they are missing."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from fer_edge.errors import MissingExtraError

T = TypeVar("T")
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def require(module: str) -> Any:
    """Import ``module``; raises MissingExtraError, which says what to install, when its package is absent."""
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Not always `module` itself: scikit-learn is installed, say, but its scipy is gone.
        missing = (error.name or package).partition(".")[0]
        raise MissingExtraError(_DISTRIBUTIONS.get(missing, missing), "bench") from error


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """``items``, with a bar on stderr while they pass; none where stderr is no terminal or tqdm is missing."""
    if sys.stderr.isatty() and importlib.util.find_spec("tqdm"):
        tqdm = require("tqdm")
        items = tqdm.tqdm(items, desc=description, total=total, leave=False, file=sys.stderr)
    yield from items
