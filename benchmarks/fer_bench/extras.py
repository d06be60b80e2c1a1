"""Import the optional packages of the bench where they are used."""

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
    """Import ``module``. Raises MissingExtraError, which names the package to install."""
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Not always `module` itself: it may be a package that it needs, such as SciPy for scikit-learn.
        missing = (error.name or package).partition(".")[0]
        raise MissingExtraError(_DISTRIBUTIONS.get(missing, missing), "bench") from error


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items``, with a progress bar if stderr is a terminal and tqdm is installed."""
    if sys.stderr.isatty() and importlib.util.find_spec("tqdm"):
        tqdm = require("tqdm")
        items = tqdm.tqdm(items, desc=description, total=total, leave=False, file=sys.stderr)
    yield from items
