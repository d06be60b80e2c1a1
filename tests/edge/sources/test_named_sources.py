"""Named sources, and settings of theirs that differ from those of [source]."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import ConfigError
from fer_edge.settings.runtime import RuntimeSettings, load_settings
from fer_edge.settings.schema import settings_schema
from fer_edge.settings.source import SourceSettings
from fer_edge.sources import NamedSource, named_sources
from support.processes.edge_command import assert_one_line, fer_edge, lines_of, write_video


def sources_of(folder: Path, toml: str) -> list[NamedSource]:
    (folder / "c.toml").write_text(toml)
    return named_sources(load_settings(folder / "c.toml", environment={}))


def names_and_uris(sources: list[NamedSource]) -> list[tuple[str, str]]:
    return [(source.name, source.uri) for source in sources]


TWO = """
[source]
uris = ["0", "door=rtsp://nvr.lan/cam1?channel=1"]
fps = 10
[cameras.garden]
uri = "rtsp://nvr.lan/cam2"
rotate = 90
[cameras.door]
fps = 5.0
mask = [[0, 0, 0.5, 1]]
"""


def test_names_are_given_in_both_ways_and_settings_are_merged(tmp_path: Path) -> None:
    found = sources_of(tmp_path, TWO)
    assert names_and_uris(found) == [
        ("video0", "0"),
        ("door", "rtsp://nvr.lan/cam1?channel=1"),
        ("garden", "rtsp://nvr.lan/cam2"),
    ]
    settings = {source.name: source.settings for source in found}
    assert [settings[name].fps for name in ("video0", "door", "garden")] == [10, 5, 10]
    assert [settings[name].rotate for name in ("video0", "door", "garden")] == [0, 0, 90]
    assert settings["door"].mask == ((0, 0, 0.5, 1),) and settings["garden"].mask == ()


def test_a_name_stays_when_the_order_changes(tmp_path: Path) -> None:
    uris = ["one=rtsp://nvr.lan/cam1", "two=rtsp://nvr.lan/cam2", "rtsp://nvr.lan/cam3"]
    found = {
        frozenset(names_and_uris(sources_of(tmp_path, f"[source]\nuris = {json.dumps(list(order))}")))
        for order in itertools.permutations(uris)
    }
    assert found == {
        frozenset(
            {
                ("one", "rtsp://nvr.lan/cam1"),
                ("two", "rtsp://nvr.lan/cam2"),
                ("nvr.lan", "rtsp://nvr.lan/cam3"),
            }
        )
    }


def test_a_name_that_was_given_is_not_taken_by_another_source(tmp_path: Path) -> None:
    assert names_and_uris(sources_of(tmp_path, '[source]\nuris = ["0", "video0=1"]')) == [
        ("video0-2", "0"),
        ("video0", "1"),
    ]


def test_a_file_with_an_equals_sign_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.mp4").touch()
    assert names_and_uris(sources_of(tmp_path, '[source]\nuris = ["a=b.mp4", "c=d.mp4"]')) == [
        ("a=b.mp4", "a=b.mp4"),
        ("c", "d.mp4"),
    ]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[source]\nuris = ["a=0", "a=1"]', "two sources have the name a"),
        ('[source]\nuris = ["a=0"]\n[cameras.a]\nuri = "1"', "two sources have the name a"),
        ("[cameras.a]\nrotate = 90", "cameras.a has no uri"),
        ('[cameras.a]\nuri = "0"\nrotate = 45', "cameras.a.rotate must be one of 0, 90, 180, 270, not 45"),
        ('[cameras.a]\nuri = "0"\nrotat = 90', "unknown key cameras.a.rotat; did you mean rotate?"),
        ('[cameras.a]\nuri = "0"\nrealtime = true', "unknown key cameras.a.realtime"),
        ("[cameras.a]\nuri = 0", "cameras.a.uri must be a string, not 0"),
        ('[cameras."a\\u001bb"]\nuri = "0"', "cameras: a key must be 1 to 64 letters"),
        ('[cameras."a\\n"]\nuri = "0"', "cameras: a key must be 1 to 64 letters"),
        ('[cameras."a/b"]\nuri = "0"', "cameras: a key must be 1 to 64 letters"),
        (f'[cameras.{"x" * 65}]\nuri = "0"', "cameras: a key must be 1 to 64 letters"),
        ('[cameras.a]\nuri = "0"\nregion = [1]', "cameras.a: region must be [x, y, width, height]"),
        ("[source]\nautofocus = true\n[cameras.a]\nuri = '0'\nlens_position = 1.0", "cameras.a: lens_position needs"),
        ("cameras = 3", "cameras must be a table"),
    ],
)
def test_what_is_refused(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sources_of(tmp_path, toml)
    assert said in str(caught.value)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80))
def test_two_sources_never_share_a_name(text: str) -> None:
    try:
        first, second = named_sources(RuntimeSettings(source=SourceSettings(uris=(text, text))))
    except ConfigError as error:
        assert "two sources have the name" in str(error)
    else:
        assert first.name != second.name
        assert first.uri == text


def test_a_schema_knows_the_cameras() -> None:
    validator = jsonschema.Draft202012Validator(settings_schema())
    validator.validate({"cameras": {"door": {"uri": "0", "rotate": 90}}})
    for bad in ({"door": {"rotate": 45}}, {"door": {"uris": ["0"]}}, {"a/b": {"uri": "0"}}):
        assert not validator.is_valid({"cameras": bad})


# In a process


def test_events_trace_and_statistics_use_the_names(tiny_bundle: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "one.mp4", 20)
    write_video(tmp_path / "two.mp4", 20)
    (tmp_path / "c.toml").write_text(
        '[source]\nuris = ["door=one.mp4"]\n[cameras."Back garden"]\nuri = "two.mp4"\nmax_fps = 5.0\nrotate = 180\n'
    )
    outputs = ("--events", "e.jsonl", "--trace", "t.jsonl", "--stats", "s.json")
    result = fer_edge("run", "--config", "c.toml", "--bundle", tiny_bundle, *outputs, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    # The face that is upside down in the garden is not found.
    assert {event["source"] for event in lines_of(tmp_path / "e.jsonl")} == {"door"}
    frames = [line["source"] for line in lines_of(tmp_path / "t.jsonl")]
    assert frames.count("door") == 20 and 6 <= frames.count("Back garden") <= 8
    assert list(json.loads((tmp_path / "s.json").read_text())["sources"]) == ["door", "Back garden"]


def test_sources_on_the_command_line_replace_those_of_the_file(tiny_bundle: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "one.mp4", 20)
    (tmp_path / "c.toml").write_text('[cameras.door]\nuri = "gone.mp4"\nmax_fps = 5.0\n[cameras.garden]\nuri = "0"\n')
    run = ("run", "door=one.mp4", "--config", "c.toml", "--bundle", tiny_bundle)
    for flags, frames in (((), (6, 7, 8)), (("--max-fps", 7.5), (10, 11))):
        result = fer_edge(*run, *flags, "--stats", "s.json", cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        assert json.loads((tmp_path / "s.json").read_text())["frames"] in frames


def test_print_config_shows_the_cameras_without_passwords(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[cameras.door]\nuri = "rtsp://u:secret@h/x"\nrotate = 90\n')
    result = fer_edge("run", "a=rtsp://v:secret@h/y", "--config", "c.toml", "--print-config", cwd=tmp_path)
    assert 'uris = ["a=rtsp://v:***@h/y"]' in result.stdout and "secret" not in result.stdout
    result = fer_edge("run", "--config", "c.toml", "--print-config", cwd=tmp_path)
    assert '[cameras.door]\nuri = "rtsp://u:***@h/x"\nrotate = 90\n' in result.stdout
    (tmp_path / "again.toml").write_text(result.stdout)
    assert fer_edge("run", "--config", "again.toml", "--print-config", cwd=tmp_path).stdout == result.stdout
    assert "cameras" not in fer_edge("run", "demo", "--print-config", cwd=tmp_path).stdout


def test_a_duplicate_name_is_one_line(tmp_path: Path) -> None:
    assert_one_line(fer_edge("run", "a=demo", "a=0", cwd=tmp_path), 2, "two sources have the name a")
