"""Read dpkg's status file, the list of installed packages (deb822 stanzas, as in dpkg-query(1))."""

from __future__ import annotations

import re
from dataclasses import dataclass

STATUS = "var/lib/dpkg/status"
"""Path of the file on a Debian system."""

_FIELD = re.compile(r"^(Package|Status|Architecture|Version):[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """An installed package; ``architecture`` is ``all`` for one that runs on any."""

    name: str
    architecture: str
    version: str


def installed_packages(status: str) -> dict[str, InstalledPackage]:
    """Return the installed packages of a status file, by name.

    A package that is installed for two architectures is listed once, with the first one.
    """
    found: dict[str, InstalledPackage] = {}
    for stanza in re.split(r"\n\s*\n", status):
        fields: dict[str, str] = dict(_FIELD.findall(stanza))
        # "hold ok installed" is also installed.
        if fields.get("Status", "").endswith(" ok installed") and "Package" in fields:
            name = fields["Package"]
            package = InstalledPackage(name, fields.get("Architecture", ""), fields.get("Version", ""))
            found.setdefault(name, package)
    return found
