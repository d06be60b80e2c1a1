"""A progress bar, only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(description: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the current position, 0..``total``; ``unit`` "B" is shown as kB, MB.

    tqdm is optional, since reading data needs no extra: without it, nothing is shown.
    """

    def ignore(position: int) -> None:
        del position

    if not sys.stderr.isatty():
        yield ignore
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield ignore
        return
    with tqdm(total=total, desc=description, unit=unit, unit_scale=unit == "B", leave=False) as bar:

        def show(position: int) -> None:
            bar.update(min(position, total) - bar.n)

        yield show
