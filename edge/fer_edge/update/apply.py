"""Take a new version: check, download and verify, self-check, then use it or leave it to the daemon's shadow."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from fer_edge.errors import CheckFailedError, FerEdgeError, InputError, ModelError, OutputError, reason_of
from fer_edge.model.archive import unpack_bundle
from fer_edge.model.bundle import load_bundle
from fer_edge.model.manifest import read_manifest
from fer_edge.model.trial import TrialTimeoutError
from fer_edge.system.clock import clock_synced
from fer_edge.system.version import __version__
from fer_edge.update import golden, speed
from fer_edge.update.client import Client, read_root
from fer_edge.update.device import Device
from fer_edge.update.format import GOLDEN_NAME, Release, version_key
from fer_edge.update.state import Comparison, State

_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
"""Exists once systemd-timesyncd has set the clock since the system was started."""


def takes(device: str, release: Release) -> bool:
    """Return whether ``device`` is in the share of devices that take ``release``; each release has other ones first.

    >>> takes("door", Release("1.2.0", "bundle-1.2.0.zip", 100)), takes("door", Release("1.2.0", "bundle-1.2.0.zip", 0))
    (True, False)
    """
    digest = hashlib.sha256(f"{release.version} {device}".encode()).digest()
    return int.from_bytes(digest[:8]) % 100 < release.rollout_percent


def check(device: Device) -> Release | None:
    """Ask the repository, record the result, and return the newest version that is to be taken, None if there is none.

    Raises:
        FerEdgeError: If the clock is not synchronized, the server cannot be reached, or the repository is refused.
    """
    with device.store.working():
        return _check(device)[1]


def apply(device: Device, *, now: bool, report: Callable[[str], None]) -> State:
    """Take the newest version if there is one, and return the state.

    Args:
        device: The device.
        now: Use it at once: without a shadow, and also while another version is on probation.
        report: Called with a line for each step.

    Raises:
        ModelError: If the repository or the version is refused.
        FerEdgeError: As ``check``.
    """
    store = device.store
    with store.working():
        state = store.reconcile()
        client, release = _check(device)
        if release is None:
            return store.state()
        version = release.version
        if state.probation is not None and not now:
            report(f"{version} waits until {state.probation} has passed its probation; --now does not wait")
            return store.state()
        if store.state().candidate != version or not store.has(version):
            _download(device, client, release)
        if store.state().stage == "verified":
            report(f"{version}: downloaded and verified")
            _self_check(device, version)
            report(f"{version}: the self-check passed")
        if now or device.update.shadow_s == 0:
            store.switch(version)
            report(f"{version} is in use, on probation")
        return store.state()


def rollback(device: Device) -> str:
    """Return to the previous version, refuse the one in use, and return its number. Raises CheckFailedError."""
    store = device.store
    with store.working():
        state = store.reconcile()
        version = store.version or state.candidate
        if version is None:
            raise CheckFailedError(f"{store.folder}: the model of the settings is in use; there is nothing to undo")
        store.refuse(version, "rolled back by `fer-edge update rollback`")
        return version


def _check(device: Device) -> tuple[Client, Release | None]:
    settings, store = device.update, device.store
    assert settings.url is not None
    try:
        if not (settings.trust_clock or clock_synced() or _TIMESYNCD.exists()):
            raise CheckFailedError(
                "the clock is not synchronized, so that outdated signatures cannot be detected: sudo timedatectl"
                " set-ntp true, or set update.trust_clock"
            )
        client = Client(settings.url, _root(device), store.metadata, store.incoming)
        releases = client.releases(settings.channel)
    except FerEdgeError as error:
        store.update(problem=str(error))
        raise
    state, installed = store.state(), _installed(device)
    possible = [
        release
        for release in releases
        if takes(device.name, release)
        and (installed is None or version_key(release.version) > installed)
        and not state.refusal(release.version)
    ]
    best = max(possible, key=lambda release: version_key(release.version), default=None)
    store.update(offered=best.version if best else None, checked_at=time.time(), problem=None)
    return client, best


def _root(device: Device) -> bytes:
    if not device.root_file.exists():
        raise InputError(
            f"{device.root_file}: no root of trust: copy 1.root.json of the repository here with `fer-edge"
            " update trust`, or set update.root"
        )
    return read_root(device.root_file)


def _installed(device: Device) -> tuple[int, ...] | None:
    """Return the version in use as a key; None if it is not three numbers, so that any release is newer."""
    with load_bundle(device.bundle) as bundle:
        try:
            return version_key(bundle.manifest.version)
        except ValueError:
            return None


def _download(device: Device, client: Client, release: Release) -> None:
    store, version = device.store, release.version
    archive, unpacked = store.incoming / "bundle.zip", store.incoming / version
    try:
        client.download(release.target, archive)
    except FerEdgeError as error:
        store.update(problem=str(error))
        raise
    try:
        unpacked.mkdir()
        unpack_bundle(archive, unpacked)
        archive.unlink()
        manifest = read_manifest(unpacked)
        if manifest.version != version:
            raise ModelError(f"{version}: refused: its manifest has the version {manifest.version}")
        with load_bundle(unpacked) as bundle:
            for name in manifest.variants:
                bundle.variant(name)
        if not (unpacked / GOLDEN_NAME).is_file():
            raise ModelError(f"{version}: refused: it has no {GOLDEN_NAME}")
    except ModelError as error:  # a later program may be able to read it
        store.refuse(version, str(error), program=__version__)
        raise
    except OutputError as error:
        store.update(problem=str(error))
        raise
    except OSError as error:
        store.update(problem=reason_of(error))
        raise OutputError(f"{store.incoming}: cannot be written: {reason_of(error)}") from None
    store.add(unpacked, version)


def _self_check(device: Device, version: str) -> None:
    store, model = device.store, device.model
    try:
        golden.check(store.path(version), model.variant, model.interpreter)
        old_ms, new_ms = speed.measure(device.bundle, store.path(version), model.variant, model.interpreter)
    except TrialTimeoutError as error:  # the machine may have been too busy: the next check tries it again
        store.update(problem=str(error))
        raise
    except ModelError as error:
        store.refuse(version, str(error))
        raise
    store.update(stage="checked", compared=Comparison(old_ms=old_ms, new_ms=new_ms), problem=None)
