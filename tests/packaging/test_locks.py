"""The lock files: every file is pinned by hash, no index is named, and they agree with pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fer_flash.payload.releases import UPDATE_PACKAGES
from support.environments.fresh_install import CHECKOUT, lock_path, locked

LOCKS = ("edge", "dev", "pi-bookworm", "pi-bookworm-legacy", "pi-trixie")
HOST_ONLY = {
    "tensorflow", "tensorflow-cpu", "keras", "scipy", "pandas", "matplotlib", "scikit-learn", "statsmodels",
    "onnx", "onnxruntime", "tf2onnx", "seaborn", "imagehash", "optuna", "sqlalchemy",
}  # fmt: skip


def required(extra: str | None = None) -> set[str]:
    """Return the names of the requirements in pyproject.toml, for the base install or for ``extra``."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    items = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    return {re.split(r"[\[<>=; ]", item)[0] for item in items} - {"fer-edge"}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_has_a_hash_and_no_address(lock: str) -> None:
    text = lock_path(lock).read_text()
    for requirement in re.split(r"\n(?=[a-z])", text)[1:]:
        assert "--hash=sha256:" in requirement, requirement.splitlines()[0]
    assert not re.search(r"://|--(extra-)?index-url|--find-links| @ ", text)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_the_project_asks_for(lock: str) -> None:
    assert required() <= locked(lock).keys()
    if lock == "dev":
        for extra in ("train", "explore", "tune", "convert", "bench", "dev"):
            assert required(extra) <= locked(lock).keys(), extra
    else:
        assert not HOST_ONLY & locked(lock).keys()


def needed(*extras: str) -> set[str]:
    """Return the packages that the installed metadata requires on a Pi, for the base install and ``extras``."""
    found: set[str] = set()
    todo = [Requirement(f"fer-edge[{','.join(extras)}]")]
    while todo:
        asked = todo.pop()
        for text in metadata.requires(asked.name) or ():
            one = Requirement(text)
            wanted = one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *asked.extras))
            if wanted and canonicalize_name(one.name) not in found:
                found.add(canonicalize_name(one.name))
                todo.append(one)
    return found


def test_the_packages_that_only_updates_need_are_known() -> None:
    assert needed("mqtt", "web", "update") - needed("mqtt", "web") == UPDATE_PACKAGES


def test_the_tests_run_on_the_versions_that_are_shipped() -> None:
    assert locked("edge").items() <= locked("dev").items()


def test_bookworm_keeps_to_what_its_camera_packages_stand() -> None:
    pins = locked("pi-bookworm")
    assert (pins["numpy"], pins["opencv-python-headless"]) == ("1.26.4", "4.11.0.86")


def test_the_other_interpreter_comes_with_the_same_versions() -> None:
    pins = locked("pi-bookworm-legacy")
    assert required("legacy") <= pins.keys()
    assert pins == {**locked("pi-bookworm"), "tflite-runtime": "2.14.0"}
