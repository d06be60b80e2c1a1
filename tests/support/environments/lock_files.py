"""Parts of the lock files, as requirements for pip with their hashes."""

from __future__ import annotations

import re
from collections.abc import Set

from support.environments.fresh_install import lock_path

TEST_TOOLS = frozenset(
    {
        *("pytest", "iniconfig", "packaging", "pluggy", "pygments", "hypothesis", "sortedcontainers"),
        *("jsonschema", "jsonschema-specifications", "referencing", "rpds-py", "attrs"),
    }
)
"""Packages that tests/edge imports and their dependencies: pytest, hypothesis and jsonschema."""


def requirements(lock: str, *, only: Set[str] | None = None, without: Set[str] = frozenset()) -> dict[str, str]:
    """Return name and text, with hashes, of each requirement of the lock file ``lock``, or of those in ``only``.

    With the file as a constraint, pip would check all of it. Raises KeyError if a name is missing.
    """
    text = lock_path(lock).read_text()
    blocks = re.findall(r"^[a-z0-9].*(?:\n    .*)*", text, flags=re.MULTILINE)
    found = {block.partition("==")[0]: block for block in blocks}
    chosen = found.keys() if only is None else only
    return {name: found[name] for name in sorted(chosen) if name not in without}
