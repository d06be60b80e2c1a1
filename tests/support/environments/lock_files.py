"""Parts of the lock files, as requirements that pip takes with their hashes."""

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
    """Name and text, with hashes, of each requirement of the lock file ``lock``; of those in ``only`` if given.

    pip would take all of a file that is named as a constraint, hence this. Raises KeyError where one is not there.
    """
    text = lock_path(lock).read_text()
    blocks = re.findall(r"^[a-z0-9].*(?:\n    .*)*", text, flags=re.MULTILINE)
    found = {block.partition("==")[0]: block for block in blocks}
    chosen = found.keys() if only is None else only
    return {name: found[name] for name in sorted(chosen) if name not in without}
