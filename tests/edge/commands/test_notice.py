"""``fer-edge notice`` describes the settings in each language, as text and as a page."""

from __future__ import annotations

import re
import string
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.commands.notice import LANGUAGES, build_notice
from fer_edge.model.labels import FER2013_LABELS
from fer_edge.settings.runtime import RuntimeSettings, load_settings
from support.processes.edge_command import assert_one_line, fer_edge

CODES = sorted(path.stem for path in LANGUAGES.glob("*.toml"))
ENGLISH = tomllib.loads((LANGUAGES / "en.toml").read_text())
KEPT, PICTURES = ENGLISH["kept"], ENGLISH["pictures"]


def paragraphs_of(settings: RuntimeSettings, code: str = "en") -> list[str]:
    """Return all paragraphs of the notice."""
    notice = build_notice(settings, FER2013_LABELS, code)
    return [paragraph for _, paragraphs in notice.sections for paragraph in paragraphs]


def settings_of(folder: Path, toml: str) -> RuntimeSettings:
    (folder / "c.toml").write_text(toml)
    return load_settings(folder / "c.toml", environment={})


def placeholders(value: Any, path: str = "") -> dict[str, set[str | None]]:
    """Return each text's key path and its placeholders."""
    if isinstance(value, str):
        return {path: {name for _, name, _, _ in string.Formatter().parse(value) if name is not None}}
    return {key: names for name, item in value.items() for key, names in placeholders(item, f"{path}.{name}").items()}


@pytest.mark.parametrize("code", CODES)
def test_every_language_has_the_same_texts(code: str) -> None:
    texts = tomllib.loads((LANGUAGES / f"{code}.toml").read_text())
    assert placeholders(texts) == placeholders(ENGLISH)
    assert set(texts["emotions"]) == set(FER2013_LABELS)
    assert "" not in [text.strip() for text in texts["what"].values()]


def test_by_default_nothing_is_stored_and_no_picture_is_sent() -> None:
    paragraphs = paragraphs_of(RuntimeSettings())
    assert PICTURES["none"] in paragraphs and KEPT["nothing"] in paragraphs and KEPT["events"] in paragraphs
    assert not {PICTURES["preview"], PICTURES["annotate"], PICTURES["else"], KEPT["file"]} & set(paragraphs)


@pytest.mark.parametrize(
    ("toml", "said", "unsaid"),
    [
        ('[output]\nevents = "e.jsonl"', [KEPT["file"]], [KEPT["nothing"]]),
        ('[output]\nevents = "-"', [KEPT["nothing"], KEPT["log"]], [KEPT["file"]]),
        (
            '[output]\nevents = "e.jsonl"\nevents_max_mib = 2.5\nevents_max_rotated = 3',
            [KEPT["file_limited"].format(events_mib="10")],
            [KEPT["file"]],
        ),
        ('[output]\ntrace = "t.jsonl"', [KEPT["trace"]], []),
        ('[output]\nannotate = "a.mp4"', [PICTURES["annotate"], PICTURES["else"]], [PICTURES["none"]]),
        ("[web]\nenabled = true", [KEPT["web"], PICTURES["none"]], [PICTURES["preview"]]),
        ("[web]\nenabled = true\npreview = true", [PICTURES["preview"]], [PICTURES["none"]]),
        ("[web]\npreview = true", [PICTURES["none"]], [PICTURES["preview"], KEPT["web"]]),
        ('[mqtt]\nhost = "mq.lan"', [KEPT["sent_plain"].format(host="mq.lan")], [KEPT["nothing"]]),
        ('[mqtt]\nhost = "mq.lan"\ntls = true', [KEPT["sent"].format(host="mq.lan")], [KEPT["nothing"]]),
        ('[mqtt]\nhost = "127.0.0.1"', [KEPT["here"]], [KEPT["nothing"]]),
        ('[webhook]\nurl = "https://u:secret@hook.example/x"', [KEPT["sent"].format(host="hook.example")], []),
        ('[webhook]\nurl = "http://localhost:1880/x"', [KEPT["here"]], [KEPT["nothing"]]),
        (
            '[output]\nprivacy = "aggregate"\naggregate_s = 90',
            [KEPT["aggregate"].format(aggregate_s="90")],
            [KEPT["events"]],
        ),
        ('[source]\nuris = ["rtsp://me:secret@cam.lan/live"]', [PICTURES["network"]], []),
        ('[source]\nuris = ["0"]', [PICTURES["none"]], [PICTURES["network"]]),
    ],
)
def test_the_notice_follows_the_settings(tmp_path: Path, toml: str, said: list[str], unsaid: list[str]) -> None:
    settings = settings_of(tmp_path, toml)
    paragraphs = paragraphs_of(settings)
    assert set(said) <= set(paragraphs)
    assert not set(unsaid) & set(paragraphs)
    assert not any("secret" in paragraph for code in CODES for paragraph in paragraphs_of(settings, code))


@pytest.mark.parametrize("code", CODES)
def test_every_language_states_the_law_and_the_meaning_of_estimates(code: str) -> None:
    text = " ".join(paragraphs_of(RuntimeSettings(), code))
    for article in (r"2024/1689", r"50\W*(\(3\)|Absatz 3)", r"5\W*(\(1\)\(f\)|Absatz 1 Buchstabe f)", r"\b77\b"):
        assert re.search(article, text)
    assert set(tomllib.loads((LANGUAGES / f"{code}.toml").read_text())["meaning"].values()) <= set(
        paragraphs_of(RuntimeSettings(), code)
    )


@given(words=st.text(), label=st.text(alphabet=st.characters(exclude_categories=["C", "Z"]), min_size=1))
def test_any_operator_text_is_escaped_in_the_page(words: str, label: str) -> None:
    details = dict.fromkeys(("operator", "contact", "purpose"), words)
    notice = build_notice(RuntimeSettings(), [label, "happy"], "en", details)
    seen: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: seen.append(tag)  # type: ignore[method-assign]
    parser.feed(notice.as_html())
    assert set(seen) == {"html", "meta", "title", "style", "h1", "h2", "p"}
    assert " ".join(words.split()) in " ".join(notice.sections[1][1])
    assert notice.as_text().isprintable() or "\n" in notice.as_text()


def test_the_command_prints_it(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[output]\nevents = "e.jsonl"\n')
    who = ("--operator", "Museum of Faces", "--contact", "faces@museum.example", "--purpose", "an exhibit")
    result = fer_edge("notice", "--lang", "de", "--config", "c.toml", *who, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    for part in ("Betreiber: Museum of Faces", "faces@museum.example", "Zweck: an exhibit", "fröhlich", "50 Absatz 3"):
        assert part in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 78


def test_the_command_writes_a_page(tmp_path: Path) -> None:
    result = fer_edge("notice", "--html", "notice.html", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "")
    assert_one_line(result, 0, "no --settings", "default settings")
    page = (tmp_path / "notice.html").read_text()
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "http" not in page and "src=" not in page  # the page loads nothing
    assert_one_line(fer_edge("notice", "--config", "gone.toml", cwd=tmp_path), 2, "gone.toml", "no such file")
