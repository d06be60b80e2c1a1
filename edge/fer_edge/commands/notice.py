"""``fer-edge notice``: print the notice that informs people in front of the camera.

Its content follows from the settings. Each language is a file of texts in ``notices/``.
"""

from __future__ import annotations

import argparse
import html
import sys
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fer_edge.model.bundle import load_bundle
from fer_edge.settings.runtime import RuntimeSettings, load_settings
from fer_edge.system.files import write_text_atomically
from fer_edge.system.messages import print_message

LANGUAGES = Path(__file__).parent / "notices"
"""Folder with one file per language, such as ``en.toml``."""
_WIDTH = 78
_HERE = {"localhost", "::1"}
_DETAILS = ("operator", "contact", "purpose")
"""What the notice says about the operator."""

_PAGE = """<!DOCTYPE html>
<html lang="{code}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
@page {{ size: A4; margin: 18mm }}
body {{ font: 12pt/1.4 sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em; color: #000; background: #fff }}
h1 {{ font-size: 20pt; line-height: 1.2 }}
h2 {{ font-size: 13pt; margin: 1em 0 .2em; break-after: avoid }}
p {{ margin: 0 0 .4em; overflow-wrap: anywhere }}
</style>
<h1>{title}</h1>
{body}</html>
"""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice in the language ``code``: its title, and sections of a heading and paragraphs."""

    code: str
    title: str
    sections: tuple[tuple[str, tuple[str, ...]], ...]

    def as_text(self) -> str:
        """Return the notice as plain text."""
        lines = [*textwrap.wrap(self.title.upper(), _WIDTH), ""]
        for heading, paragraphs in self.sections:
            lines += [heading, "-" * len(heading)]
            for paragraph in paragraphs:
                lines += textwrap.wrap(paragraph, _WIDTH, break_long_words=False)
            lines.append("")
        return "\n".join(lines)

    def as_html(self) -> str:
        """Return the notice as a self-contained page for A4 paper."""
        body = ""
        for heading, paragraphs in self.sections:
            body += f"<h2>{html.escape(heading)}</h2>\n"
            body += "".join(f"<p>{html.escape(paragraph)}</p>\n" for paragraph in paragraphs)
        return _PAGE.format(code=html.escape(self.code), title=html.escape(self.title), body=body)


def run(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge notice`` and return the exit code. Raises FerEdgeError."""
    settings = load_settings(arguments.config)
    if arguments.config is None:
        print_message(
            "no --settings: this notice describes the default settings, which store nothing; use the device's settings"
        )
    labels: Sequence[str] = ()
    if settings.emotion.enabled:
        with load_bundle(settings.model.bundle) as bundle:
            labels = bundle.manifest.labels
    details = {name: getattr(arguments, name) for name in _DETAILS}
    notice = build_notice(settings, labels, arguments.lang, details)
    if arguments.html is None:
        sys.stdout.write(notice.as_text())
    else:
        write_text_atomically(arguments.html, notice.as_html())
    return 0


def build_notice(
    settings: RuntimeSettings, labels: Sequence[str], code: str = "en", details: Mapping[str, str] | None = None
) -> Notice:
    """Return the notice for a device that runs with ``settings`` and recognizes the emotions ``labels``.

    ``code`` is one of ``LANGUAGES``. What is missing or empty in ``details`` is left blank, to be filled in by hand.
    """
    texts = tomllib.loads((LANGUAGES / f"{code}.toml").read_text(encoding="utf-8"))
    if not settings.emotion.enabled:
        texts = _without_emotions(texts)
    known = texts["emotions"]
    names = [known.get(label, label) for label in labels]
    listed = f" {texts['and']} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    answers = {key: " ".join((details or {}).get(key, "").split()) or texts["blank"] for key in _DETAILS}
    sections = {
        "what": [texts["what"]["camera"].format(emotions=listed), texts["what"]["identity"]],
        "operator": [texts["operator"][key].format(**{key: value}) for key, value in answers.items()],
        "pictures": _pictures(settings, texts["pictures"]),
        "kept": _kept(settings, texts["kept"]),
        "meaning": list(texts["meaning"].values()),
        "rights": list(texts["rights"].values()),
        "law": list(texts["law"].values()),
    }
    return Notice(
        code,
        texts["title"],
        tuple((texts["headings"][name], tuple(paragraphs)) for name, paragraphs in sections.items() if paragraphs),
    )


def _without_emotions(texts: dict[str, Any]) -> dict[str, Any]:
    """Return the texts of a device that only counts faces: what is said about expressions does not apply to it."""
    own = texts["without_emotions"]
    replaced = {name: texts[name] | own[name] for name in ("what", "pictures", "kept")}
    return texts | replaced | {"title": own["title"], "meaning": {}, "law": {}}


def _pictures(settings: RuntimeSettings, texts: dict[str, str]) -> list[str]:
    paragraphs = []
    if settings.shows_pictures:
        paragraphs.append(texts["preview"])
    if settings.records_pictures:
        paragraphs.append(texts["annotate"])
    paragraphs.append(texts["else" if paragraphs else "none"])
    if any("://" in uri for uri in settings.uris):
        paragraphs.append(texts["network"])
    return paragraphs


def _kept(settings: RuntimeSettings, texts: dict[str, str]) -> list[str]:
    """Return what is recorded, then each place to which the records go."""
    output = settings.output
    aggregate = output.privacy == "aggregate"
    paragraphs = [texts["aggregate"].format(aggregate_s=f"{output.aggregate_s:g}") if aggregate else texts["events"]]
    if settings.presence.enabled and not aggregate:
        paragraphs.append(texts["presence"])
    places = _files(settings, texts)
    if settings.mqtt.host is not None:
        places.append(_sent(settings.mqtt.host, settings.mqtt.tls, texts))
    if settings.webhook.url is not None:
        address = urlsplit(settings.webhook.url)
        places.append(_sent(address.hostname or "", address.scheme == "https", texts))
    paragraphs += dict.fromkeys(places or [texts["nothing"]])  # without duplicates
    if settings.web.enabled:
        paragraphs.append(texts["web"])
    if output.trace is not None:
        paragraphs.append(texts["trace"])
    return [*paragraphs, texts["log"]]


def _files(settings: RuntimeSettings, texts: dict[str, str]) -> list[str]:
    output = settings.output
    if output.events in (None, "-"):
        return []
    if output.events_max_mib is None:
        return [texts["file"]]
    return [texts["file_limited"].format(events_mib=f"{output.events_max_mib * (output.events_max_rotated + 1):g}")]


def _sent(host: str, encrypted: bool, texts: dict[str, str]) -> str:
    if host in _HERE or host.startswith("127."):
        return texts["here"]
    return texts["sent" if encrypted else "sent_plain"].format(host=host)
