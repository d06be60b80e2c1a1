"""``fer-edge notice``: what the people in front of the camera must be told, to print and hang up.

What it says follows from the settings. Each language is a file of sentences in ``notices/``.
"""

from __future__ import annotations

import argparse
import html
import sys
import textwrap
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fer_edge.model.bundle import load_bundle
from fer_edge.settings.runtime import RuntimeSettings, load_settings
from fer_edge.system.files import write_text_atomically
from fer_edge.system.messages import print_message

LANGUAGES = Path(__file__).parent / "notices"
"""Holds a file for each language, ``en.toml``."""
_WIDTH = 78
_HERE = {"localhost", "::1"}

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
class Wording:
    """What the operator says of himself; what is empty is left blank, to be filled in by hand."""

    operator: str = ""
    contact: str = ""
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice in the language ``code``: its title, and sections of a heading and paragraphs each."""

    code: str
    title: str
    sections: tuple[tuple[str, tuple[str, ...]], ...]

    def as_text(self) -> str:
        """Lines of plain text."""
        lines = [*textwrap.wrap(self.title.upper(), _WIDTH), ""]
        for heading, paragraphs in self.sections:
            lines += [heading, "-" * len(heading)]
            for paragraph in paragraphs:
                lines += textwrap.wrap(paragraph, _WIDTH, break_long_words=False)
            lines.append("")
        return "\n".join(lines)

    def as_html(self) -> str:
        """A page that needs nothing else, for a sheet of A4."""
        body = ""
        for heading, paragraphs in self.sections:
            body += f"<h2>{html.escape(heading)}</h2>\n"
            body += "".join(f"<p>{html.escape(paragraph)}</p>\n" for paragraph in paragraphs)
        return _PAGE.format(code=html.escape(self.code), title=html.escape(self.title), body=body)


def run(arguments: argparse.Namespace) -> int:
    """Carry out ``fer-edge notice``; returns the exit code. Raises FerEdgeError."""
    settings = load_settings(arguments.config)
    if arguments.config is None:
        print_message(
            "no --config: this notice is of the default settings, which keep nothing; give those that are in force"
        )
    with load_bundle(settings.model.bundle) as bundle:
        labels = bundle.manifest.labels
    notice = build_notice(
        settings, labels, arguments.lang, Wording(arguments.operator, arguments.contact, arguments.purpose)
    )
    if arguments.html is None:
        sys.stdout.write(notice.as_text())
    else:
        write_text_atomically(arguments.html, notice.as_html())
    return 0


def build_notice(
    settings: RuntimeSettings, labels: Sequence[str], code: str = "en", wording: Wording | None = None
) -> Notice:
    """The notice for a device that runs with ``settings``, and tells the emotions ``labels``.

    ``code`` is one of ``LANGUAGES``.
    """
    texts = tomllib.loads((LANGUAGES / f"{code}.toml").read_text(encoding="utf-8"))
    known = texts["emotions"]
    names = [known.get(label, label) for label in labels]
    listed = f" {texts['and']} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    wording = wording or Wording()
    who = {key: _one_line(getattr(wording, key)) or texts["blank"] for key in ("operator", "contact", "purpose")}
    sections = {
        "what": [texts["what"]["camera"].format(emotions=listed), texts["what"]["identity"]],
        "who": [texts["who"][key].format(**{key: value}) for key, value in who.items()],
        "pictures": _pictures(settings, texts["pictures"]),
        "kept": _kept(settings, texts["kept"]),
        "meaning": list(texts["meaning"].values()),
        "rights": list(texts["rights"].values()),
        "law": list(texts["law"].values()),
    }
    return Notice(
        code, texts["title"], tuple((texts["headings"][name], tuple(told)) for name, told in sections.items())
    )


def _pictures(settings: RuntimeSettings, texts: dict[str, str]) -> list[str]:
    told = []
    if settings.web.enabled and settings.web.preview:
        told.append(texts["preview"])
    if settings.output.annotate is not None:
        told.append(texts["annotate"])
    told.append(texts["else" if told else "none"])
    if any("://" in uri for uri in settings.source.uris):
        told.append(texts["network"])
    return told


def _kept(settings: RuntimeSettings, texts: dict[str, str]) -> list[str]:
    """What is noted, then each place where that goes."""
    output = settings.output
    aggregate = output.privacy == "aggregate"
    told = [texts["aggregate"].format(aggregate_s=f"{output.aggregate_s:g}") if aggregate else texts["events"]]
    places = _files(settings, texts)
    if settings.mqtt.host is not None:
        places.append(_sent(settings.mqtt.host, settings.mqtt.tls, texts))
    if settings.webhook.url is not None:
        address = urlsplit(settings.webhook.url)
        places.append(_sent(address.hostname or "", address.scheme == "https", texts))
    told += dict.fromkeys(places or [texts["nothing"]])  # each once
    if settings.web.enabled:
        told.append(texts["web"])
    if output.trace is not None:
        told.append(texts["trace"])
    return [*told, texts["log"]]


def _files(settings: RuntimeSettings, texts: dict[str, str]) -> list[str]:
    output = settings.output
    if output.events in (None, "-"):
        return []
    if output.events_max_mib is None:
        return [texts["file"]]
    return [texts["file_limited"].format(events_mib=f"{output.events_max_mib * (output.events_keep + 1):g}")]


def _sent(host: str, encrypted: bool, texts: dict[str, str]) -> str:
    if host in _HERE or host.startswith("127."):
        return texts["here"]
    return texts["sent" if encrypted else "sent_plain"].format(host=host)


def _one_line(text: Any) -> str:
    return " ".join(str(text or "").split())
