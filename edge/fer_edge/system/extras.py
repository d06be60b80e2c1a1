"""The optional dependencies, as ``pip install 'fer-edge[…]'`` names them, and which of them are here."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from fer_edge.errors import MissingExtraError

Extra = Literal["mqtt", "web"]

_PACKAGES = {
    "mqtt": {"paho": "paho-mqtt"},
    "web": {"waitress": "waitress", "prometheus_client": "prometheus-client"},
}
"""What each extra brings that the runtime imports: module, package."""


def missing_packages(extra: Extra) -> list[str]:
    """Those packages of ``extra`` that are not installed. Nothing is imported for the answer."""
    return [package for module, package in _PACKAGES[extra].items() if find_spec(module) is None]


def demand(extra: Extra) -> None:
    """Raise MissingExtraError where a package of ``extra`` is not installed."""
    for package in missing_packages(extra):
        raise MissingExtraError(package, extra)
