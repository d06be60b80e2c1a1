"""Read the apt configuration of an image: package sources, keyrings, preferences and dpkg's status."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from fer_edge.errors import InputError
from fer_flash.image.stock_system import STATUS, Files

_APT = "etc/apt"
_SIGNED_BY_FIELD = re.compile(r"^(signed-by:[ \t]*)(\S[^\n]*(?:\n[ \t]+/[^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_SIGNED_BY_OPTION = re.compile(r"(\bsigned-by=)([^\s\]]+)", re.IGNORECASE)
_PATH = re.compile(r"/[^\s,]+")
_UNSIGNED = re.compile(r"\b(trusted|allow-insecure|allow-weak|allow-downgrade-to-insecure)\s*[:=]\s*yes", re.IGNORECASE)
_ARMORED = b"-----BEGIN PGP"


class Root(Files, Protocol):
    """A root file system whose folders can be listed."""

    def listdir(self, path: str) -> list[str]:
        """Return the names in a folder."""
        ...


@dataclass(frozen=True, slots=True)
class AptSources:
    """The files that apt reads, by their path in a private apt folder (see ``place_at``).

    ``status`` is dpkg's status file, which lists the installed packages. ``files`` holds ``sources.list.d/``,
    ``trusted.gpg.d/``, ``keyrings/`` and ``preferences.d/``. In the sources, ``@KEYRINGS@`` is replaced by the folder
    of the keyrings.
    """

    status: bytes
    files: tuple[tuple[str, bytes], ...]

    def place_at(self, keyrings: str) -> dict[str, bytes]:
        """Return the files with the path ``keyrings`` filled in."""
        return {
            path: data.replace(b"@KEYRINGS@", keyrings.encode()) if path.startswith("sources.list.d/") else data
            for path, data in self.files
        }


def read_apt_sources(root: Root) -> AptSources:
    """Read the apt configuration of an image.

    Raises:
        InputError: if the image has no source, names a missing keyring, or turns signature checks off.
    """
    files: dict[str, bytes] = {}
    keyrings: dict[str, str] = {}
    for name, text in _source_texts(root):
        if _UNSIGNED.search(_without_comments(text)):
            raise InputError(f"the image's /{_APT}/{name} turns signature checks off: use an unchanged stock image")
        files[f"sources.list.d/{name.rpartition('/')[2]}"] = _with_own_keyrings(root, text, keyrings).encode()
    if not files:
        raise InputError(f"the image has no package sources in /{_APT}")
    for path, own in keyrings.items():
        files[f"keyrings/{own}"] = root.read(path)
    for name, endings in (("trusted.gpg", (".gpg", ".asc")), ("preferences", ("", ".pref"))):
        files |= _plain(root, f"{name}.d", endings)
        if root.exists(f"{_APT}/{name}"):
            files[f"{name}.d/{name}"] = root.read(f"{_APT}/{name}")
    return AptSources(root.read(STATUS), tuple(sorted(files.items())))


def _source_texts(root: Root) -> Iterable[tuple[str, str]]:
    """Yield name and text of the source files that contain more than comments (sources.list(5))."""
    names = ["sources.list", *(f"sources.list.d/{name}" for name in _names(root, "sources.list.d"))]
    for name in names:
        if name.endswith((".list", ".sources")) and root.exists(f"{_APT}/{name}"):
            text = root.read(f"{_APT}/{name}").decode("utf-8", errors="replace")
            if _without_comments(text).strip():
                yield name, text


def _without_comments(text: str) -> str:
    return "\n".join(line.partition("#")[0] for line in text.splitlines())


def _with_own_keyrings(root: Root, text: str, keyrings: dict[str, str]) -> str:
    """Return the text with the paths of keyrings replaced by those in the private folder; add them to ``keyrings``.

    Keys that are embedded in the text (deb822) are not changed.
    """

    def own(match: re.Match[str]) -> str:
        path = match[0].lstrip("/")
        if not root.exists(path):
            raise InputError(f"the image's package sources name the keyring /{path}, which the image does not have")
        # By content: apt before 2.9 chooses the format by the file name's ending and does not know .pgp.
        ending = "asc" if root.read(path).lstrip().startswith(_ARMORED) else "gpg"
        return f"@KEYRINGS@/{keyrings.setdefault(path, f'{len(keyrings)}.{ending}')}"

    def rewritten(match: re.Match[str]) -> str:
        return match[1] + _PATH.sub(own, match[2])

    return _SIGNED_BY_FIELD.sub(rewritten, _SIGNED_BY_OPTION.sub(rewritten, text))


def _names(root: Root, folder: str) -> list[str]:
    return root.listdir(f"{_APT}/{folder}") if root.exists(f"{_APT}/{folder}") else []


def _plain(root: Root, folder: str, endings: tuple[str, ...]) -> dict[str, bytes]:
    """Return the files of a folder that apt reads: those with one of these endings; "" means none."""
    found = {}
    for name in _names(root, folder):
        stem, dot, ending = name.rpartition(".")
        if (f".{ending}" if dot and stem else "") in endings:
            found[f"{folder}/{name}"] = root.read(f"{_APT}/{folder}/{name}")
    return found
