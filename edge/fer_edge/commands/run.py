"""``fer-edge run``: process sources and write events, trace, statistics and annotated video."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from concurrent.futures import Future, wait
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import UNSET, structs

from fer_edge.commands.cli import EXIT_INTERRUPTED
from fer_edge.daemon.current_model import open_model
from fer_edge.daemon.session import Outcome, Session
from fer_edge.daemon.signals import StopRequest
from fer_edge.errors import ConfigError, FerEdgeError, InputError, OutputError, SourceLostError
from fer_edge.frames import Limits
from fer_edge.images.files import IMAGE_SUFFIXES
from fer_edge.model.bundle import DEFAULT_BUNDLE
from fer_edge.pipeline import reported_labels
from fer_edge.settings.base import to_table
from fer_edge.settings.redaction import redacted_table
from fer_edge.settings.runtime import RuntimeSettings, load_settings
from fer_edge.settings.schema import settings_schema
from fer_edge.settings.source import split_name
from fer_edge.settings.toml_files import dump_toml
from fer_edge.settings.update import UpdateSettings
from fer_edge.sinks.line_file import STANDARD_OUTPUT
from fer_edge.sources import KNOWN_SOURCES, named_sources
from fer_edge.sources.demo.source import DEMO_URIS
from fer_edge.stages.detection.choice import make_detector
from fer_edge.system.driver_threads import DriverThread
from fer_edge.system.extras import require_extra
from fer_edge.system.files import file_identity
from fer_edge.system.messages import print_message
from fer_edge.system.notify import Notifier
from fer_edge.system.opencv_setup import set_up_opencv


def run(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge run`` and return the exit code. Raises FerEdgeError."""
    if arguments.print_schema:
        sys.stdout.write(json.dumps(settings_schema(), indent=2, ensure_ascii=False) + "\n")
        return 0
    settings = _load(arguments)
    if arguments.print_config:
        sys.stdout.write(dump_toml(redacted_table(to_table(settings))).lstrip("\n"))
        return 0
    _check(settings, arguments)
    notifier = Notifier()
    # In a terminal SIGHUP means that the terminal was closed, and ends the program as usual.
    reloads = arguments.config is not None and not (sys.stdin and sys.stdin.isatty())
    with StopRequest(reloads=reloads) as stop, closing(Reload(arguments, stop, notifier)) as reload:
        outcome = _run_sessions(arguments, settings, stop, reload)
        notifier.stopping()
    if outcome.failure is not None:
        if not outcome.reported:
            raise outcome.failure
        return getattr(outcome.failure, "exit_code", FerEdgeError.exit_code)
    frames = sum(status.frames for status in outcome.statuses)
    return EXIT_INTERRUPTED if stop.interrupted and frames == 0 else 0


_OUTPUTS = ("events", "trace", "stats", "annotate")
"""Settings of files to write, which are options of the command too."""
_MAX_CLOSE_S = 1.0
"""Seconds to wait for a check of new settings at the end; one that hangs in native code is left behind."""


class Reload:
    """Reloads the settings on SIGHUP; if they are invalid, prints why and keeps the current ones.

    The settings are checked in a thread, because trying a model can take half a minute, during which the main
    thread must continue. Called by the main thread only.
    """

    def __init__(self, arguments: argparse.Namespace, stop: StopRequest, notifier: Notifier) -> None:
        self._arguments, self._stop, self.notifier = arguments, stop, notifier
        self._check: Future[RuntimeSettings] | None = None
        self.settings: RuntimeSettings | None = None
        """The new settings, after they passed all checks; then the session is asked to end."""

    def __call__(self) -> None:
        """Start a check of the settings if SIGHUP was received; act on its result when it has ended."""
        if self._check is not None and self._check.done():
            self._finish(self._check)
            self._check = None
        if self._check is None and self._stop.reload_asked and self.settings is None:
            self._stop.reload_asked = False
            self.notifier.reloading()
            self._check = Future()
            # Ending the program must not wait for it: a file system or native code may hang.
            DriverThread(partial(self._run, self._check), "reload").start()

    def close(self) -> None:
        """End a check that still runs, so that its process and temporary files do not stay. Idempotent."""
        self._stop.asked.set()
        if self._check is not None:
            wait([self._check], _MAX_CLOSE_S)

    def _run(self, check: Future[RuntimeSettings]) -> None:
        try:
            check.set_result(_accepted(self._arguments, self._stop.asked))
        except BaseException as error:  # noqa: BLE001 - no error in the new settings may end the service
            check.set_exception(error)

    def _finish(self, check: Future[RuntimeSettings]) -> None:
        error = check.exception()
        if error is None:
            self.settings = check.result()
            self._stop.asked.set()
        else:
            print_message(f"not reloaded, the current settings stay in use: {error}")
            self.notifier.ready()


def _run_sessions(
    arguments: argparse.Namespace, settings: RuntimeSettings, stop: StopRequest, reload: Reload
) -> Outcome:
    """Run one session, and another after each reload. Raises FerEdgeError if the first cannot start."""
    before: RuntimeSettings | None = None
    while True:
        set_up_opencv(settings.detector.threads)
        limits = Limits(arguments.duration, arguments.max_frames, settings.source.max_fps)
        refusal: Exception | None = None
        try:
            outcome = Session(settings, limits, stop, reload.notifier, reload, show=arguments.show).run()
            refusal = None if outcome.statuses else outcome.failure  # no source could be opened
        except Exception as error:
            if before is None:
                raise
            refusal = error
        if before is not None and refusal is not None:
            print_message(f"the new settings do not work, restored the previous ones: {refusal}")
            settings, before = before, None
            continue
        # A reload continues after lost sources, but an output that failed ends the program.
        failed = outcome.failure is not None and not isinstance(outcome.failure, InputError | SourceLostError)
        if reload.settings is None or failed or not stop.restart():
            return outcome
        before, settings, reload.settings = settings, reload.settings, None
        print_message("reloaded")


def _accepted(arguments: argparse.Namespace, stop: threading.Event) -> RuntimeSettings:
    """Return the current settings. Raises FerEdgeError if they, or the model that they name, are not valid.

    ``stop`` ends the check of the model early, since the program then ends.
    """
    settings = _load(arguments)
    _check(settings, arguments)
    with open_model(settings, stop) as bundle:
        if bundle is not None:
            reported_labels(bundle.manifest.labels, settings.emotion)
    make_detector(settings.detector)
    return settings


def _load(arguments: argparse.Namespace) -> RuntimeSettings:
    """Return the settings, in which sources and ``--max-fps`` of the command line replace those of the file."""
    settings = load_settings(arguments.config, _overrides(arguments))
    if arguments.bundle is not None:  # this one, and not an update of it
        settings = structs.replace(settings, update=UpdateSettings())
    cameras = settings.cameras
    if arguments.sources:
        named = {name for name, _ in map(split_name, settings.source.uris)}
        cameras = {name: structs.replace(own, uri=UNSET) for name, own in cameras.items() if name in named}
    if arguments.max_fps is not None:
        cameras = {name: structs.replace(own, max_fps=UNSET) for name, own in cameras.items()}
    return structs.replace(settings, cameras=cameras)


def _overrides(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    return {
        "source": {
            "uris": tuple(arguments.sources) or None,
            "max_fps": arguments.max_fps,
            "realtime": arguments.realtime or None,
        },
        "model": {"bundle": arguments.bundle, "variant": arguments.variant},
        "output": {name: getattr(arguments, name) for name in _OUTPUTS},
    }


def _check(settings: RuntimeSettings, arguments: argparse.Namespace) -> None:
    if settings.update.url is not None:
        require_extra("update")
    sources = named_sources(settings)
    if not sources:
        raise ConfigError(f"no source: give one ({KNOWN_SOURCES}), or set [source] uris in the config")
    if settings.output.annotate is not None and len(sources) > 1:
        raise ConfigError("--annotate supports one source; run the others without it, or each source in a separate run")
    if settings.output.privacy == "aggregate":
        asked = {"trace": settings.output.trace, "annotate": settings.output.annotate, "show": arguments.show or None}
        for flag, given in asked.items():  # they are about individual people
            if given is not None:
                raise ConfigError(
                    f'--{flag} cannot be combined with output.privacy = "aggregate"; remove one of the two'
                )
    _check_paths(settings, arguments.config)


def _check_paths(settings: RuntimeSettings, config: Path | None) -> None:
    """Check that no output overwrites an input or another output."""
    taken = _inputs(settings, config)
    for flag in _OUTPUTS:
        target = getattr(settings.output, flag)
        if target is None or (flag == "events" and target == STANDARD_OUTPUT):
            continue
        if target == STANDARD_OUTPUT:
            raise ConfigError(f"--{flag} -: only --events can write to standard output; use a file name")
        path = Path(target)
        same = taken.get(file_identity(path))
        if same is not None:
            raise ConfigError(f"--{flag} {target}: is also {same}; use a different file name")
        try:
            only_one = path.is_file() or not path.exists()  # a device or a pipe can receive several outputs
        except (OSError, ValueError) as error:
            raise OutputError(f"--{flag} {target}: cannot be accessed: {error}") from None
        if only_one:
            taken[file_identity(path)] = f"--{flag}"


def _inputs(settings: RuntimeSettings, config: Path | None) -> dict[object, str]:
    """Return the inputs of the run by ``file_identity``, with a description of each for errors."""
    bundle = Path(settings.model.bundle) if settings.model.bundle else DEFAULT_BUNDLE
    found = [(path, "a file of the model bundle") for path in (bundle, *_files_in(bundle))]
    if settings.detector.model is not None:
        found.append((Path(settings.detector.model), "the model of the detector"))
    if config is not None:
        found.append((config, "the configuration"))
    for uri in settings.uris:
        if uri not in DEMO_URIS:
            found.append((Path(uri), "the source"))
            images = (path for path in _files_in(Path(uri)) if path.suffix.lower() in IMAGE_SUFFIXES)
            found += [(path, f"an image of the source {uri}") for path in images]
    return {file_identity(path): called for path, called in found}


def _files_in(folder: Path) -> list[Path]:
    with suppress(OSError, ValueError):  # not a readable folder: opening it reports the error
        return list(folder.iterdir())
    return []
