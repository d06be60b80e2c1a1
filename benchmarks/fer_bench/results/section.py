"""The base of everything in a report: frozen values that are decoded strictly."""

from __future__ import annotations

import msgspec


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a report."""
