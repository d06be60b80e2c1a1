"""The JSON Schema of the settings, by which editors complete and check a config."""

from __future__ import annotations

from typing import Any

from fer_edge.settings.base import table_schema
from fer_edge.settings.runtime import RuntimeSettings


def settings_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``RuntimeSettings``.

    >>> settings_schema()["title"]
    'Settings of fer-edge run'
    """
    return table_schema(RuntimeSettings, "Settings of fer-edge run")
