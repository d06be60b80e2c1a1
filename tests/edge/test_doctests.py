"""Every public name of ``fer_edge`` has an example in its docstring, and the examples run."""

from __future__ import annotations

import doctest
import inspect
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import fer_edge

IN_MODULE_DOCSTRING = {"UNCERTAIN", "__version__"}
"""Constants, which cannot have a docstring. The package's docstring shows them."""


def examples_of(name: str, value: Any) -> doctest.DocTest:
    """Return the examples in the docstring of ``value`` itself, not in those of its methods."""
    module = inspect.getmodule(value)
    parser = doctest.DocTestParser()
    return parser.get_doctest(inspect.getdoc(value) or "", dict(vars(module)) if module else {}, name, None, None)


def run(test: doctest.DocTest) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    with mock.patch.dict(os.environ):  # an example sets variables for OpenCV
        results = runner.run(test, out=report.append)
    assert results.failed == 0, "".join(report)


@pytest.mark.parametrize("name", sorted(set(fer_edge.__all__) - IN_MODULE_DOCSTRING))
def test_every_public_name_has_an_example_that_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    value = getattr(fer_edge, name)
    assert value.__doc__, f"{name} has no docstring"
    test = examples_of(name, value)
    assert test.examples, f"the docstring of {name} has no example"
    run(test)
    assert list(tmp_path.iterdir()) == [], f"the example of {name} leaves files behind"


def test_the_package_docstring_shows_the_constants() -> None:
    test = examples_of("fer_edge", fer_edge)
    shown = "".join(example.source for example in test.examples)
    assert all(f"fer_edge.{name}" in shown for name in IN_MODULE_DOCSTRING)
    run(test)
