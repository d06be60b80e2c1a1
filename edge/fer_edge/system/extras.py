"""The optional dependencies (extras) of the runtime."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Literal

from fer_edge.errors import MissingExtraError

Extra = Literal["mqtt", "web", "video", "update"]

_MODULES = {
    "mqtt": ("paho",),
    "web": ("waitress", "prometheus_client"),
    "video": ("av",),
    "update": ("tuf",),
}
"""The modules of each extra that the runtime imports."""
_PACKAGES = {"paho": "paho-mqtt", "prometheus_client": "prometheus-client"}
"""Names of packages that differ from their module's."""


def missing_packages(extra: Extra) -> list[str]:
    """Return the packages of ``extra`` that are not installed, without importing any."""
    return _missing(_MODULES[extra])


def require_extra(extra: Extra) -> None:
    """Check that the packages of ``extra`` are installed.

    Raises:
        MissingExtraError: if one is not.
    """
    require_modules(_MODULES[extra], extra)


def require_modules(modules: Iterable[str], extra: str) -> None:
    """Check that ``modules``, which ``extra`` contains, are installed, without importing any.

    Raises:
        MissingExtraError: if one is not; it names the package.
    """
    for package in _missing(modules):
        raise MissingExtraError(package, extra)


def _missing(modules: Iterable[str]) -> list[str]:
    return [_PACKAGES.get(module, module) for module in modules if importlib.util.find_spec(module) is None]
