"""Make the wheel of an installed package: build it from its checkout, or pack its installed files.

A wheel is a zip of the installed files and a RECORD of their hashes (PyPA specifications, "Binary distribution format"
and "Recording installed projects"). Files that the installer added are left out.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import io
import json
import re
import subprocess
import tempfile
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from fer_edge.errors import CheckFailedError, InputError, OutputError
from fer_flash.payload.wheels import pip_command

_DATE = (2020, 2, 2, 0, 0, 0)
"""Date of every file in a wheel, so that equal files give equal bytes; also hatchling's default."""
_READABLE = 0o100644 << 16
_OF_THE_INSTALLER = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json")
_BUILD_SECONDS = 600.0


def make_wheel(name: str, folder: Path) -> Path:
    """Make the wheel of the installed package ``name`` in ``folder``: pure Python, and reproducible.

    An editable install is built from its checkout, which needs pip and hatchling; any other is packed from its files.

    Raises:
        InputError: if the wheel cannot be made.
        CheckFailedError: if an installed file does not match its recorded hash.
        OutputError: if ``folder`` cannot be written.
    """
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        raise InputError(f"{name} is not installed here: pip install {name}") from None
    checkout = _checkout(installed)
    try:
        return _pack(installed, folder) if checkout is None else _build(checkout, folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make the wheel of {name}: {error.strerror or error}") from None


def _checkout(installed: Distribution) -> Path | None:
    """Return the source folder of an editable install (PEP 610); None for any other."""
    table = json.loads(installed.read_text("direct_url.json") or "{}")
    if not table.get("dir_info", {}).get("editable", False):
        return None
    return Path(url2pathname(urlsplit(table["url"]).path))


def _build(checkout: Path, folder: Path) -> Path:
    command = pip_command("wheel", f"building the wheel of {checkout} needs pip")
    if importlib.util.find_spec("hatchling") is not None:
        command.append("--no-build-isolation")  # otherwise pip downloads hatchling
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as passing:
        command += ["--wheel-dir", passing, str(checkout)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
        built = list(Path(passing).glob("*.whl"))
        if done.returncode or len(built) != 1:
            said = [line for line in done.stderr.splitlines() if "error" in line.lower()] or ["pip gives no reason"]
            raise InputError(f"{checkout}: cannot build the wheel: {said[-1].strip()}")
        return built[0].replace(folder / built[0].name)


def _pack(installed: Distribution, folder: Path) -> Path:
    tags = re.findall(r"^Tag: (\S+)", installed.read_text("WHEEL") or "", flags=re.MULTILINE)
    if not tags:
        raise InputError(f"{installed.name} was not installed from a wheel: install it again with pip")
    if "py3-none-any" not in tags:
        raise InputError(f"{installed.name}: not pure Python ({tags[0]}): it would not run on another processor")
    files = _installed_files(installed)
    info = next(PurePosixPath(name).parts[0] for name in files if name.endswith(".dist-info/WHEEL"))
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    wheel = folder / f"{info.removesuffix('.dist-info')}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        # The specification requires dist-info last.
        for name in sorted(files, key=lambda name: (PurePosixPath(name).parts[0] == info, name)):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, _READABLE
            archive.writestr(entry, files[name])
    return wheel


def _installed_files(installed: Distribution) -> dict[str, bytes]:
    """Return the files of the wheel after checking their hashes. Raises CheckFailedError."""
    files = {}
    for path in installed.files or ():
        # Files that the installer added have no hash (bytecode), are elsewhere (commands), or describe the install.
        if (
            path.hash is None
            or ".." in path.parts
            or (path.parts[0].endswith(".dist-info") and path.name in _OF_THE_INSTALLER)
        ):
            continue
        data = Path(str(path.locate())).read_bytes()
        if path.hash.mode != "sha256" or _record_hash(data) != path.hash.value:
            raise CheckFailedError(f"{path.locate()}: changed since its installation; install {installed.name} again")
        files[path.as_posix()] = data
    return files


def _record(files: dict[str, bytes], own_name: str) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerows((name, f"sha256={_record_hash(data)}", len(data)) for name, data in sorted(files.items()))
    rows.writerow((own_name, "", ""))
    return text.getvalue().encode()


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
