"""The optional dependencies (extras) of the runtime."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from fer_edge.errors import MissingExtraError

Extra = Literal["mqtt", "web", "video", "update"]

_PACKAGES = {
    "mqtt": {"paho": "paho-mqtt"},
    "web": {"waitress": "waitress", "prometheus_client": "prometheus-client"},
    "video": {"av": "av"},
    "update": {"tuf": "tuf"},
}
"""The packages of each extra that the runtime imports: module name, package name."""


def missing_packages(extra: Extra) -> list[str]:
    """Return the packages of ``extra`` that are not installed, without importing any."""
    return [package for module, package in _PACKAGES[extra].items() if find_spec(module) is None]


def require_extra(extra: Extra) -> None:
    """Check that the packages of ``extra`` are installed.

    Raises:
        MissingExtraError: if one is not.
    """
    for package in missing_packages(extra):
        raise MissingExtraError(package, extra)
