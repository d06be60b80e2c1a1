"""Settings: who wins over whom, what is refused and how it is said, and the example that ships."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import ConfigError
from fer_edge.settings import strict_toml
from fer_edge.settings.runtime import (
    DetectorSettings,
    EmotionSettings,
    ModelSettings,
    QualitySettings,
    RuntimeSettings,
    ScheduleSettings,
    SourceSettings,
    TrackingSettings,
    load_settings,
)
from support.edge_command import assert_one_line, clean_environment, command_line

EXAMPLE = Path(__file__).parents[2] / "edge" / "config.example.toml"


def print_config(
    *arguments: object, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """``fer-edge run --print-config`` as a process, with these variables in its environment."""
    return subprocess.run(
        command_line("run", "--print-config", *arguments),
        cwd=cwd,
        env={**clean_environment(), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def shown(*arguments: object, cwd: Path, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    result = print_config(*arguments, cwd=cwd, environment=environment)
    assert (result.returncode, result.stderr) == (0, "")
    return tomllib.loads(result.stdout)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# Precedence


def test_each_layer_wins_over_the_one_before(tmp_path: Path) -> None:
    write(
        tmp_path / "c.toml", '[source]\nmax_fps = 5\nuris = ["demo"]\n[model]\nvariant = "file"\n[emotion]\nlead = 0.3'
    )
    environment = {
        "FER_EDGE_SOURCE_MAX_FPS": "6",
        "FER_EDGE_MODEL_VARIANT": "environment",
        "FER_EDGE_DATA": "/data/set",  # no setting of the runtime
    }
    file = ("--config", "c.toml")

    assert shown(cwd=tmp_path) == strict_toml.to_table(RuntimeSettings())
    table = shown(*file, cwd=tmp_path)
    assert (table["source"]["max_fps"], table["model"]["variant"]) == (5.0, "file")
    table = shown(*file, cwd=tmp_path, environment=environment)
    assert (table["source"]["max_fps"], table["model"]["variant"]) == (6.0, "environment")
    table = shown(*file, "--max-fps", 7, "0", "film.mp4", cwd=tmp_path, environment=environment)
    assert (table["source"]["max_fps"], table["model"]["variant"]) == (7.0, "environment")
    # What no flag and no variable names is the file's, and what the file does not name is the default.
    assert table["source"]["uris"] == ["0", "film.mp4"]
    assert (table["emotion"]["lead"], table["emotion"]["enter"]) == (0.3, EmotionSettings().enter)


def test_every_flag_reaches_its_key(tmp_path: Path) -> None:
    table = shown(
        *("a.mp4", "--bundle", "b.zip", "--variant", "float32", "--events", "-", "--trace", "t", "--stats", "s"),
        *("--annotate", "a.mp4", "--max-fps", "2.5", "--realtime"),
        cwd=tmp_path,
    )
    assert table["source"]["uris"] == ["a.mp4"]
    assert (table["source"]["max_fps"], table["source"]["realtime"]) == (2.5, True)
    assert table["model"] == {"bundle": "b.zip", "variant": "float32", "interpreter": "auto", "threads": 1}
    written = {"events": "-", "trace": "t", "stats": "s", "annotate": "a.mp4"}
    assert table["output"] == strict_toml.to_table(RuntimeSettings())["output"] | written


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("EMOTION_ENTER", "0.6", 0.6),
        ("EMOTION_HEARTBEAT_S", "5", 5.0),
        ("SOURCE_MIRROR", "true", True),
        ("SOURCE_ROTATE", "90", 90),
        ("SOURCE_URIS", '["demo", "0"]', ("demo", "0")),
        ("SOURCE_URIS", "demo", ("demo",)),
        ("SOURCE_URIS", "0", ("0",)),
        ("SOURCE_URIS", "/dev/video0", ("/dev/video0",)),
        ("MODEL_VARIANT", "float32", "float32"),
        ("MODEL_VARIANT", '"float32"', "float32"),
        ("MODEL_VARIANT", "8", "8"),
        ("MODEL_BUNDLE", "/srv/bundle.zip", "/srv/bundle.zip"),
        ("OUTPUT_EVENTS", "2026-01-01", "2026-01-01"),
        ("OUTPUT_TRACE", "a\nb = 1", "a\nb = 1"),
        ("OUTPUT_STATS", "1\nb = 1", "1\nb = 1"),
        ("DETECTOR_MIN_FACE", "64", 64),
    ],
)
def test_the_environment_takes_toml_or_plain_words(name: str, text: str, expected: object) -> None:
    section, _, key = name.lower().partition("_")
    loaded = load_settings(environment={f"FER_EDGE_{name}": text})
    assert getattr(getattr(loaded, section), key) == expected


# Refusals


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[sorce]\n", ["unknown key sorce", "source, model, output"]),
        ("verbose = true", ["unknown key verbose"]),
        ("[source]\nurl = 'x'", ["unknown key source.url", "uris, width, height"]),
        ("[emotion.enter]\nvalue = 1", ["emotion.enter must be a number", "{'value': 1}"]),
        ("source = 3", ["source must be a table, not 3"]),
        ("[source]\nuris = 'demo'", ["source.uris must be a list, not 'demo'"]),
        ("[source]\nuris = ['demo', 0]", ["source.uris[1] must be a string, not 0"]),
        ("[source]\nrotate = 45", ["source.rotate must be one of 0, 90, 180, 270, not 45"]),
        ("[source]\nrotate = false", ["source.rotate must be one of 0, 90, 180, 270, not False"]),
        ("[model]\ninterpreter = 'tflite'", ["model.interpreter must be one of 'auto', 'ai-edge-litert', 'tflite-"]),
        ("[source]\nmirror = 1", ["source.mirror must be true or false, not 1"]),
        ("[source]\nwidth = 640.0", ["source.width must be a whole number, not 640.0"]),
        ("[detector]\nmin_face = true", ["detector.min_face must be a whole number, not True"]),
        ("[emotion]\nenter = '0.5'", ["emotion.enter must be a number, not '0.5'"]),
        ("[emotion]\nenter = 1.5", ["emotion: enter must be above 0 and at most 1"]),
        ("[emotion]\nexit = 0.9", ["emotion: exit must be between 0 and enter"]),
        ("[emotion]\nenter = nan", ["emotion: enter"]),
        ("[tracking]\nconfirm_hits = 0", ["tracking: confirm_hits must be at least 1"]),
        ("[schedule]\nregion_margin = inf", ["schedule: region_margin must be between"]),
        ("[source]\nmax_fps = " + "9" * 400, ["source.max_fps must be a number"]),
        ("[detector]\nmin_face = 0x" + "f" * 5000, ["detector: min_face must be between"]),
        ("[source]\nuris = [0x" + "f" * 5000 + "]", ["source.uris[0] must be a string"]),
        ("[source]\nmirror = [0x" + "f" * 5000 + "]", ["source.mirror must be true or false"]),
        ("[source]\nmax_fps = " + "9" * 5000, ["not valid TOML"]),
        ("a = " + "[" * 5000, ["not valid TOML"]),
        ("[source\n", ["not valid TOML", "line 1"]),
        ("[source]\nfps = 1\nfps = 2\n", ["not valid TOML", "line 3"]),
    ],
)
def test_a_wrong_file_names_the_key_and_what_is_allowed(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = write(tmp_path / "c.toml", text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environment={})
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message) < 400
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *((DetectorSettings, {"min_face": value}) for value in (7, 10**30)),
        *((DetectorSettings, {"scale_factor": value}) for value in (1.0, 2.1, float("nan"))),
        *((DetectorSettings, {"min_neighbors": value}) for value in (-1, 51)),
        *((DetectorSettings, {"known_scale_factor": value}) for value in (1.0, 2.1)),
        *((DetectorSettings, {"known_min_neighbors": value}) for value in (-1, 51)),
        *((section, {"threads": value}) for section in (DetectorSettings, ModelSettings) for value in (0, 65)),
        *((ScheduleSettings, {key: -1.0}) for key in ("acquire_within_s", "look_every_s", "still_look_s")),
        *((ScheduleSettings, {"budget_share": value}) for value in (0.0, 1.1)),
        (ScheduleSettings, {"budget_ms": 0.0}),
        *((ScheduleSettings, {"motion_threshold": value}) for value in (-1.0, 256.0)),
        *((ScheduleSettings, {"full_search_width": value}) for value in (47, 10**9)),
        *((ScheduleSettings, {"face_px": value}) for value in (23, 501)),
        *((ScheduleSettings, {"region_margin": value}) for value in (1.0, float("inf"))),
        *((ScheduleSettings, {"region_growth": value}) for value in (-0.1, float("inf"))),
        *((TrackingSettings, {key: -1.0}) for key in ("left_after_s", "coast_s")),
        *(
            (EmotionSettings, {key: -0.1})
            for key in ("smoothing_s", "classify_every_s", "exit", "lead", "min_dwell_s", "heartbeat_s")
        ),
        (EmotionSettings, {"lead": 1.1}),
        *((QualitySettings, {key: -1}) for key in ("min_face_px", "min_contrast", "min_sharpness", "max_sharpness")),
        *((QualitySettings, {key: value}) for key in ("min_inside", "max_overexposed") for value in (-0.1, 1.1)),
        (QualitySettings, {"max_sharpness": 0.5}),
        *((SourceSettings, {key: value}) for key in ("width", "height") for value in (15, 16385)),
        *(
            (SourceSettings, {"region": value})
            for value in (
                (0.5,),
                (0.0, 0.0, 0.0, 1.0),
                (0.5, 0.0, 320.0, 1.0),
                (0.0, 0.0, 1.0, -1.0),
                (float("nan"),) * 4,
            )
        ),
        *((SourceSettings, {"mask": (value,)}) for value in ((), (0.5,) * 5, (0.5,) * 7, (0.0, 0.0, 20000.0, 1.0))),
        *((SourceSettings, {"exposure_us": value}) for value in (0, 10**12)),
        *((SourceSettings, {"gain": value}) for value in (-1.0, float("inf"))),
        *((SourceSettings, {"ev": value}) for value in (-9.0, 9.0)),
        *((SourceSettings, {"lens_position": value}) for value in (-0.1, 33.0)),
        (SourceSettings, {"lens_position": 1.0, "autofocus": True}),
        *((SourceSettings, {"timeout_s": value}) for value in (0.0, 1e6)),
        *((SourceSettings, {key: value}) for key in ("fps", "max_fps") for value in (0.0, 1001.0, float("nan"))),
    ],
)
def test_values_out_of_range_are_refused(field: type, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        field(**bad)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9\n")
    for name, said in (("none.toml", "no such file"), (".", "cannot read"), ("latin.toml", "UTF-8")):
        with pytest.raises(ConfigError, match=said):
            load_settings(tmp_path / name, environment={})


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[emotion]\nlead = 0.3\n", encoding="utf-8-sig")
    assert load_settings(tmp_path / "c.toml", environment={}).emotion.lead == 0.3


@pytest.mark.parametrize(
    ("environment", "parts"),
    [
        ({"FER_EDGE_EMOTION_ENTER": "high"}, ["emotion.enter must be a number, not 'high'"]),
        ({"FER_EDGE_EMOTION_ENTER": ""}, ["emotion.enter must be a number"]),
        ({"FER_EDGE_EMOTION_ENTR": "1"}, ["unknown key emotion.entr", "enter, exit"]),
        ({"FER_EDGE_EMOTON_ENTER": "1"}, ["FER_EDGE_EMOTON_ENTER", "source, model, output"]),
        ({"FER_EDGE_SOURCE_ROTATE": "45"}, ["source.rotate must be one of 0, 90, 180, 270, not 45"]),
        ({"FER_EDGE_SOURCE_MIRROR": "yes"}, ["source.mirror must be true or false, not 'yes'"]),
        ({"FER_EDGE_SOURCE_FPS": "5\n[source]"}, ["source.fps must be a number"]),
        ({"FER_EDGE_SOURCE_FPS": "9" * 5000}, ["source.fps must be a number"]),
    ],
)
def test_a_wrong_variable_is_named(environment: dict[str, str], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environment=environment)
    assert str(caught.value).startswith("environment: ")
    for part in parts:
        assert part in str(caught.value)


def test_refusals_as_a_process(tmp_path: Path) -> None:
    write(tmp_path / "c.toml", "[tracking]\nhits = 2\n")
    parts = ("c.toml", "tracking.hits", "allowed here: confirm_hits, left_after_s")
    assert_one_line(print_config("--config", "c.toml", cwd=tmp_path), 2, *parts)
    variable = {"FER_EDGE_SOURCE_MIRROR": "maybe"}
    assert_one_line(print_config(cwd=tmp_path, environment=variable), 2, "source.mirror", "true or false", "'maybe'")
    assert_one_line(print_config("--max-fps", 5000, cwd=tmp_path), 2, "command line", "max_fps", "0.01 and 1000")
    not_unicode = print_config(b"caf\xe9.mp4".decode(errors="surrogateescape"), cwd=tmp_path)
    assert_one_line(not_unicode, 2, "not valid Unicode")
    assert not_unicode.stdout == ""


# A still picture


def test_settings_for_a_still_are_stricter_and_never_looser() -> None:
    still = RuntimeSettings().for_still()
    assert still.tracking == dataclasses.replace(TrackingSettings(), confirm_hits=1)
    assert (still.detector.min_neighbors, still.schedule.full_search_width) == (6, 1280)
    own = RuntimeSettings(SourceSettings(rotate=90), detector=DetectorSettings(min_neighbors=9))
    assert own.for_still().detector.min_neighbors == 9
    assert own.for_still().source == own.source


# The example


def keys_of_example() -> dict[str, str | None]:
    """Each key by its path, and the comment on the line above; commented-out keys too."""
    found: dict[str, str | None] = {}
    section = before = ""
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section = heading.group(1)
        elif key := re.fullmatch(r"(?:# )?(\w+) = \S.*", line):
            found[f"{section}.{key.group(1)}"] = before[2:] if before.startswith("# ") else None
        before = line
    return found


def test_the_example_names_every_key_and_explains_it() -> None:
    sections = typing.get_type_hints(RuntimeSettings)
    every = [f"{name}.{field.name}" for name, section in sections.items() for field in dataclasses.fields(section)]
    found = keys_of_example()
    assert list(found) == every
    for path, comment in found.items():
        assert comment and comment.endswith(".") and len(comment) > 20, path
        assert not re.fullmatch(r"\w+ = .*", comment), path


CHOSEN = {
    "source.uris": ["demo"],
    "source.realtime": True,
    "recovery.reconnect": True,
    "mqtt.host": "localhost",
    "web.enabled": True,
}
"""What the example sets otherwise than by default, so that it shows something as it stands."""


def test_the_example_holds_the_defaults_but_for_what_it_says() -> None:
    defaults = strict_toml.to_table(RuntimeSettings())
    flat = {f"{name}.{key}": value for name, table in defaults.items() for key, value in table.items()}
    named = tomllib.loads(EXAMPLE.read_text())
    assert {f"{name}.{key}": value for name, table in named.items() for key, value in table.items()} == flat | CHOSEN


def test_what_the_example_leaves_out_could_be_put_in(tmp_path: Path) -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = text.replace("tls = false", "tls = true")  # which certificates need
    text = text.replace('kind = "haar"', 'kind = "yunet"')  # which its model needs
    loaded = load_settings(write(tmp_path / "c.toml", text), environment={})
    for section in (
        loaded.source,
        loaded.model,
        loaded.output,
        loaded.mqtt,
        loaded.webhook,
        loaded.web,
        loaded.detector,
    ):
        assert all(getattr(section, field.name) is not None for field in dataclasses.fields(section))


def test_the_example_is_accepted(tmp_path: Path) -> None:
    assert shown("--config", EXAMPLE, cwd=tmp_path) == strict_toml.to_table(load_settings(EXAMPLE, environment={}))
