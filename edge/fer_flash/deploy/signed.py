"""Payloads from a signed repository, verified by The Update Framework before any device is contacted.

The root of trust, and the metadata that was verified so far, are kept in the user's state folder: the repository cannot
go back to an older state, or to other keys, between two deployments.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

from fer_edge.errors import CheckFailedError, InputError
from fer_edge.settings.redaction import redacted
from fer_edge.system.extras import require_extra
from fer_edge.system.files import create_folder, write_bytes_atomically
from fer_edge.system.user_folders import cache_folder, state_folder
from fer_edge.update.format import version_key
from fer_edge.update.store import Store
from fer_flash.deploy.plan import DeviceState
from fer_flash.payload.signed import LIST_TARGET, file_target, parse_payloads


def fetch_payloads(
    location: str, trust: Path | None, cache: Path | None, folder: Path, report: Callable[[str], object]
) -> None:
    """Verify the repository and put its newest payload for each system into ``folder``, as ``payload_for`` finds it.

    Args:
        location: URL or folder of the repository.
        trust: File with its root of trust; None for that of the last time.
        cache: Folder of downloaded files (default: the user's).
        folder: An empty folder.
        report: Called with one line for each payload.

    Raises:
        InputError: If there is no root of trust, or the repository contains no payload.
        ModelError: If the repository is refused.
        OutputError: If a file cannot be written.
        SourceLostError: If the server cannot be reached, or is too slow.
    """
    require_extra("update")
    if sys.platform == "win32":
        raise InputError("--from-release needs Linux or macOS; here, use --payload with a folder by `flash payload`")
    from fer_edge.update.client import Client, read_root

    url = _url(location)
    store = Store(state_folder() / "releases" / hashlib.sha256(url.encode()).hexdigest()[:16])
    pinned = store.folder / "root.json"
    if trust is None and not pinned.is_file():
        raise InputError(
            f"{redacted(location)}: no root of trust yet: pass its 1.root.json once with --trust, from where it was"
            " created and not from the web server"
        )
    root = read_root(trust or pinned)
    with store.working():
        client = Client(url, root, store.metadata, store.incoming, reader="this computer")
        lists = client.documents([LIST_TARGET])
        if trust is not None:  # only one that fits the repository replaces the last one
            write_bytes_atomically(pinned, root)
        if LIST_TARGET not in lists:
            raise InputError(
                f"{redacted(location)}: contains no payload: `fer-edge release publish --payload` adds one"
            )
        files = (cache or cache_folder()) / "payload-files"
        create_folder(files)
        for payload in parse_payloads(lists[LIST_TARGET], redacted(location)).newest().values():
            for path, sha256 in payload.files.items():
                client.download(file_target(sha256), files / sha256)
                link = folder / payload.system / path
                create_folder(link.parent)
                link.symlink_to((files / sha256).absolute())
            report(f"{payload.system}: {payload.version}, verified")


def payload_for(state: DeviceState, folder: Path, host: str) -> Path:
    """Return the folder of the payload for a device, of those that ``fetch_payloads`` has put into ``folder``.

    Raises:
        InputError: If there is none for its system.
    """
    found = folder / f"{state.release.name}-{state.machine}"
    if not found.is_dir():
        there = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise InputError(f"{host}: has {found.name}, and the repository contains payloads for {there}")
    return found


def refuse_older(state: DeviceState, version: str, host: str) -> None:
    """Raise CheckFailedError if the device has a newer program than ``version``."""
    installed = state.current.rpartition("-")[0]
    try:
        newer = version_key(installed) > version_key(version)
    except ValueError:  # none, or a version that is not three numbers
        return
    if newer:
        raise CheckFailedError(
            f"{host}: has {installed}, and the repository offers {version}: refused, because it is older; to go back,"
            " deploy the older payload with --payload"
        )


def _url(location: str) -> str:
    if "://" in location:
        if not location.startswith(("http://", "https://")):
            raise InputError(f"{redacted(location)}: must be a folder, or a URL that begins with http:// or https://")
        return location.rstrip("/")
    folder = Path(location)
    if not (folder / "metadata").is_dir():
        raise InputError(f"{location}: not a release repository: it has no folder metadata")
    return folder.resolve().as_uri()
