"""The model that the daemon runs: the version in use if it can be, or else the one before it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge.errors import FerEdgeError, reason_of
from fer_edge.model.bundle import ModelBundle, load_bundle
from fer_edge.model.trial import try_variant
from fer_edge.pipeline import reported_labels
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.system.messages import print_message

if TYPE_CHECKING:
    from fer_edge.update.store import Store

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def open_model(settings: RuntimeSettings, stop: threading.Event | None = None) -> Iterator[ModelBundle | None]:
    """Return the bundle of ``settings``, or the version of it that is in use, after a trial; None without a classifier.

    A version that cannot be used is skipped, and the device continues with the previous one; on probation it is refused
    permanently. ``stop`` ends the trial early, since the program then ends.

    Raises:
        InputError: If the bundle does not exist.
        ModelError: If the bundle of ``settings`` or its variant is refused as well.
    """
    if not settings.emotion.enabled:
        yield None
        return
    with _usable_bundle(settings, stop) as bundle:
        yield bundle


def _usable_bundle(settings: RuntimeSettings, stop: threading.Event | None) -> ModelBundle:
    for store, version in _versions(settings):
        try:
            return _opened(store.path(version), settings, stop)
        except FerEdgeError as error:
            print_message(f"update: {version} is not used: {error}")
            if store.state().probation == version:
                with failures_printed():
                    store.refuse(version, str(error))
    return _opened(Path(settings.model.bundle) if settings.model.bundle else None, settings, stop)


def recover(settings: RuntimeSettings) -> None:
    """Deal with what happened before this process: an interrupted change, or a crash with a version on probation.

    A crash is a process that ended without recording that, while the system kept running. A power failure says nothing
    about the model.
    """
    from fer_edge.update.store import Store

    store = Store(Path(settings.update.folder))
    with failures_printed():
        store.prepare()
        state, claim = store.reconcile(), store.claim()
        if claim is None:  # another daemon with these settings, which has not crashed
            return
        try:
            if state.probation is not None and state.running == boot_id():
                print_message(f"update: the program crashed with {state.probation}, which is not used any more")
                store.refuse(state.probation, "the program crashed while it was on probation")
        finally:
            os.close(claim)


def _versions(settings: RuntimeSettings) -> list[tuple[Store, str]]:
    """Return the version in use and the one before it, in the order in which they are tried."""
    if settings.update.url is None:
        return []
    from fer_edge.update.state import State
    from fer_edge.update.store import Store

    store = Store(Path(settings.update.folder))
    try:
        state = store.state()
    except FerEdgeError as error:
        print_message(f"update: {error}")
        state = State()
    found = [store.version, state.previous]
    return [(store, version) for version in found if version is not None and store.has(version)]


def _opened(path: Path | None, settings: RuntimeSettings, stop: threading.Event | None) -> ModelBundle:
    with ExitStack() as cleanup:
        bundle = cleanup.enter_context(load_bundle(path))
        try_variant(bundle.variant(settings.model.variant), settings.model.interpreter, stop)
        if path is not None and settings.update.url is not None:
            reported_labels(bundle.manifest.labels, settings.emotion)
        cleanup.pop_all()
        return bundle


def boot_id() -> str:
    """Return the id of the system since its start, ``unknown`` where there is none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"


@contextmanager
def failures_printed() -> Iterator[None]:
    """Print a failure of the block, a change of the folder of updates: the device continues with its current model."""
    try:
        yield
    except (FerEdgeError, OSError) as error:
        print_message(f"update: {reason_of(error)}")
