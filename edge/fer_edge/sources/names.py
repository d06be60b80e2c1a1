"""The names of sources: given in the settings as ``name=URI`` or as a table, otherwise made from the URI."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from fer_edge.errors import ConfigError
from fer_edge.settings.redaction import redacted
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.source import SourceSettings, split_name
from fer_edge.sources.camera import camera_device


@dataclass(frozen=True, slots=True)
class NamedSource:
    """A source to open: its name in frames and events, its URI, and ``[source]`` with its own settings merged in."""

    name: str
    uri: str
    settings: SourceSettings


def named_sources(settings: RuntimeSettings) -> list[NamedSource]:
    """Return the sources that ``settings`` name, those of ``source.uris`` first.

    Raises:
        ConfigError: If two have the same name, if a ``[cameras.NAME]`` has no URI, or if its settings do not go with
            those of ``[source]``.
    """
    pairs = [split_name(text) for text in settings.source.uris]
    given = [name for name, _ in pairs if name is not None]
    for name, own in settings.cameras.items():
        if isinstance(own.uri, str):
            pairs.append((name, own.uri))
            given.append(name)
        elif name not in given:
            raise ConfigError(f'cameras.{name} has no uri; add uri = "…", or "{name}=…" to source.uris')
    twice = next((name for index, name in enumerate(given) if name in given[:index]), None)
    if twice is not None:
        raise ConfigError(f"two sources have the name {twice}; names of sources must differ")
    names = _names([uri for _, uri in pairs], [name for name, _ in pairs])
    return [NamedSource(name, uri, _merged(settings, name, uri)) for name, (_, uri) in zip(names, pairs, strict=True)]


def source_names(uris: Sequence[str]) -> list[str]:
    """Return a short name for each URI: the name of the file or folder, ``video0`` for a camera, the host of a stream.

    Duplicates get ``-2`` and so on. Names contain no password, because they appear in events, logs and file names.

    >>> source_names(["0", "/dev/video0", "videos/one.mp4", "rtsp://user:secret@camera.lan/live"])
    ['video0', 'video0-2', 'one.mp4', 'camera.lan']
    """
    return _names(uris, [None] * len(uris))


def _names(uris: Sequence[str], given: Sequence[str | None]) -> list[str]:
    """Return the names in ``given``, and for each that is None one that is not taken."""
    names = list(given)
    for place, uri in enumerate(uris):
        if names[place] is None:
            base = _short_name(uri)
            candidates = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
            names[place] = next(candidate for candidate in candidates if candidate not in names)
    return [name for name in names if name is not None]


def _short_name(uri: str) -> str:
    device = camera_device(uri)
    if device is not None:
        return device.name.removeprefix("usb-").removesuffix("-video-index0")  # what udev's links have in common
    shown = redacted(uri)
    if "://" in shown:
        try:
            return urlsplit(shown).hostname or "stream"
        except ValueError:
            return "stream"
    return Path(shown).absolute().name or uri


def _merged(settings: RuntimeSettings, name: str, uri: str) -> SourceSettings:
    own = settings.cameras.get(name)
    changes = {} if own is None else {key: value for key, value in msgspec.structs.asdict(own).items() if key != "uri"}
    changes = {key: value for key, value in changes.items() if value is not msgspec.UNSET}
    try:
        return msgspec.structs.replace(settings.source, uris=(uri,), **changes)
    except ConfigError as error:
        raise ConfigError(f"cameras.{name}: {error}") from None
