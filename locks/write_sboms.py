"""Write a software bill of materials (CycloneDX 1.6, JSON) for each lock file: what an installation consists of.

    python locks/write_sboms.py dist

``make build`` calls it. The same lock files give the same bytes: the serial number follows from the content, and the
time is that of SOURCE_DATE_EPOCH, else of the last commit.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]
LOCKS = (
    *(ROOT / "locks" / f"{name}.txt" for name in ("edge", "pi-bookworm-legacy")),
    *(ROOT / "edge" / "fer_flash" / "locks" / f"{name}.txt" for name in ("pi-bookworm", "pi-trixie")),
)
"""What is installed to run FER-Edge; development has more."""
_PINNED = re.compile(r"^([a-zA-Z0-9._-]+)==([^\s;\\]+)(.*(?:\n    .*)*)", re.MULTILINE)


def packages(lock: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield name, version and the SHA-256 of each file of the packages in the text of a lock file."""
    for name, version, rest in _PINNED.findall(lock):
        yield name, version, re.findall(r"--hash=sha256:([0-9a-f]{64})", rest)


def bill_of(lock: Path, made_at: datetime) -> str:
    """Return the bill of materials of an installation of FER-Edge with ``lock``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    whole = _component(project["name"], project["version"], [], ComponentType.APPLICATION)
    whole.licenses.add(DisjunctiveLicense(id=project["license"]))
    text = lock.read_text(encoding="utf-8")
    parts = [_component(name, number, hashes) for name, number, hashes in packages(text)]
    bill = Bom(components=parts, serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{lock.name}\n{text}"))
    bill.metadata.component, bill.metadata.timestamp = whole, made_at
    bill.register_dependency(whole, parts)
    return JsonV1Dot6(bill).output_as_string(indent=2) + "\n"


def _component(name: str, version: str, hashes: list[str], kind: ComponentType = ComponentType.LIBRARY) -> Component:
    url = PackageURL("pypi", name=name, version=version)
    found = [HashType(alg=HashAlgorithm.SHA_256, content=each) for each in hashes]
    return Component(name=name, version=version, type=kind, purl=url, bom_ref=str(url), hashes=found)


def _made_at() -> datetime:
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    if seconds is None:
        command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
        seconds = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return datetime.fromtimestamp(int(seconds), UTC)


def main() -> int:
    """Write ``sbom-<lock>.cdx.json`` for each lock file to the folder that is named on the command line."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for lock in LOCKS:
        (out / f"sbom-{lock.stem}.cdx.json").write_text(bill_of(lock, _made_at()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
