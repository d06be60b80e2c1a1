"""Settings: precedence of file, environment and flags; refused values and their messages."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from fer_edge.errors import ConfigError
from fer_edge.settings.base import to_table
from fer_edge.settings.pipeline import (
    DetectorSettings,
    EmotionSettings,
    QualitySettings,
    ScheduleSettings,
    TrackingSettings,
)
from fer_edge.settings.runtime import RENAMED, ModelSettings, RuntimeSettings, load_settings
from fer_edge.settings.source import SourceSettings
from support.processes.edge_command import assert_one_line, clean_environment, command_line


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
        tmp_path / "c.toml",
        '[source]\nmax_fps = 5\nuris = ["demo"]\n[model]\nvariant = "file"\n[emotion]\nmin_lead = 0.3',
    )
    environment = {
        "FER_EDGE_SOURCE_MAX_FPS": "6",
        "FER_EDGE_MODEL_VARIANT": "environment",
        "FER_EDGE_DATA": "/data/set",  # no setting of the runtime
    }
    file = ("--config", "c.toml")

    assert shown(cwd=tmp_path) == to_table(RuntimeSettings())
    table = shown(*file, cwd=tmp_path)
    assert (table["source"]["max_fps"], table["model"]["variant"]) == (5.0, "file")
    table = shown(*file, cwd=tmp_path, environment=environment)
    assert (table["source"]["max_fps"], table["model"]["variant"]) == (6.0, "environment")
    table = shown(*file, "--max-fps", 7, "0", "film.mp4", cwd=tmp_path, environment=environment)
    assert (table["source"]["max_fps"], table["model"]["variant"]) == (7.0, "environment")
    # What no flag and no variable names is the file's, and what the file does not name is the default.
    assert table["source"]["uris"] == ["0", "film.mp4"]
    assert (table["emotion"]["min_lead"], table["emotion"]["enter"]) == (0.3, EmotionSettings().enter)


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
    assert table["output"] == to_table(RuntimeSettings())["output"] | written


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
        ("DETECTOR_MIN_FACE_PX", "64", 64),
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
        ("[sorce]\n", ["unknown key sorce; did you mean source?"]),
        ("verbose = true", ["unknown key verbose; allowed here: source, cameras, model, output"]),
        ("[source]\nurl = 'x'", ["unknown key source.url; allowed here: uris, width, height"]),
        ("[emotion.enter]\nvalue = 1", ["emotion.enter must be a number", "{'value': 1}"]),
        ("source = 3", ["source must be a table, not 3"]),
        ("[source]\nuris = 'demo'", ["source.uris must be a list, not 'demo'"]),
        ("[source]\nuris = ['demo', 0]", ["source.uris[1] must be a string, not 0"]),
        ("[source]\nrotate = 45", ["source.rotate must be one of 0, 90, 180, 270, not 45"]),
        ("[source]\nrotate = false", ["source.rotate must be one of 0, 90, 180, 270, not False"]),
        ("[model]\ninterpreter = 'tflite'", ["model.interpreter must be one of 'ai-edge-litert', 'auto', 'tflite-"]),
        ("[source]\nmirror = 1", ["source.mirror must be true or false, not 1"]),
        ("[source]\nwidth = 640.0", ["source.width must be a whole number between 16 and 16384, not 640.0"]),
        ("[detector]\nmin_face_px = true", ["detector.min_face_px must be a whole number between 8 and 8192, not T"]),
        ("[emotion]\nenter = '0.5'", ["emotion.enter must be a number above 0 and at most 1, not '0.5'"]),
        ("[emotion]\nenter = 1.5", ["emotion.enter must be a number above 0 and at most 1, not 1.5"]),
        ("[emotion]\nexit = 0.9", ["emotion.exit must be between 0 and enter"]),
        ("[emotion]\nenter = nan", ["emotion.enter must be a number above 0 and at most 1, not nan"]),
        ("[tracking]\nmin_hits = 0", ["tracking.min_hits must be a whole number between 1 and 1000, not 0"]),
        ("[schedule]\nregion_margin = inf", ["schedule.region_margin must be a number between 1.2 and 100, not inf"]),
        *(
            (f"[mqtt]\n{key} = '" + "x" * 70_000 + "'", [f"mqtt.{key} must be a", f"of at most {limit} characters"])
            for key, limit in (("host", 253), ("device", 128), ("username", 1024), ("topic", 256))
        ),
        ("[source]\nmax_fps = " + "9" * 400, ["source.max_fps must be a number"]),
        ("[detector]\nmin_face_px = 0x" + "f" * 5000, ["detector.min_face_px must be a whole number between"]),
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
        *((DetectorSettings, {"min_face_px": value}) for value in (7, 10**30)),
        *((DetectorSettings, {"scale_factor": value}) for value in (1.0, 2.1, float("nan"))),
        *((DetectorSettings, {"min_neighbors": value}) for value in (-1, 51)),
        *((DetectorSettings, {"known_scale_factor": value}) for value in (1.0, 2.1)),
        *((DetectorSettings, {"known_min_neighbors": value}) for value in (-1, 51)),
        *((section, {"threads": value}) for section in (DetectorSettings, ModelSettings) for value in (0, 65)),
        *((ScheduleSettings, {key: -1.0}) for key in ("max_acquire_s", "search_interval_s", "still_search_interval_s")),
        *((ScheduleSettings, {"budget_share": value}) for value in (0.0, 1.1)),
        (ScheduleSettings, {"budget_max_ms": 0.0}),
        *((ScheduleSettings, {"motion_threshold": value}) for value in (-1.0, 256.0)),
        *((ScheduleSettings, {"full_search_width_px": value}) for value in (47, 10**9)),
        *((ScheduleSettings, {"face_px": value}) for value in (23, 501)),
        *((ScheduleSettings, {"region_margin": value}) for value in (1.0, float("inf"))),
        *((ScheduleSettings, {"region_growth": value}) for value in (-0.1, float("inf"))),
        *((TrackingSettings, {key: -1.0}) for key in ("max_missed_s", "max_coast_s")),
        *(
            (EmotionSettings, {key: -0.1})
            for key in ("smoothing_s", "classify_interval_s", "exit", "min_lead", "min_dwell_s", "heartbeat_s")
        ),
        (EmotionSettings, {"min_lead": 1.1}),
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
        # Types are checked as in a file.
        *((DetectorSettings, {"min_face_px": value}) for value in (True, 48.0, "48", None)),
        (DetectorSettings, {"verify": 1}),
        (DetectorSettings, {"kind": "dnn"}),
        *((SourceSettings, {"uris": value}) for value in ("demo", (0,), ("a\0b",))),
        *((SourceSettings, {"rotate": value}) for value in (45, False)),
        (RuntimeSettings, {"detector": QualitySettings()}),
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
    (tmp_path / "c.toml").write_text("[emotion]\nmin_lead = 0.3\n", encoding="utf-8-sig")
    assert load_settings(tmp_path / "c.toml", environment={}).emotion.min_lead == 0.3


@pytest.mark.parametrize(
    ("environment", "parts"),
    [
        ({"FER_EDGE_EMOTION_ENTER": "high"}, ["emotion.enter must be a number above 0 and at most 1, not 'high'"]),
        ({"FER_EDGE_EMOTION_ENTER": ""}, ["emotion.enter must be a number"]),
        ({"FER_EDGE_EMOTION_ENTR": "1"}, ["FER_EDGE_EMOTION_ENTR is not", "did you mean FER_EDGE_EMOTION_ENTER?"]),
        ({"FER_EDGE_EMOTON_ENTER": "1"}, ["FER_EDGE_EMOTON_ENTER is not", "did you mean FER_EDGE_EMOTION_ENTER?"]),
        ({"FER_EDGE_X_Y": "1"}, ["FER_EDGE_X_Y is not a setting", "--print-schema"]),
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
    parts = ("c.toml", "tracking.hits", "did you mean min_hits?")
    assert_one_line(print_config("--config", "c.toml", cwd=tmp_path), 2, *parts)
    variable = {"FER_EDGE_SOURCE_MIRROR": "maybe"}
    assert_one_line(print_config(cwd=tmp_path, environment=variable), 2, "source.mirror", "true or false", "'maybe'")
    too_fast = print_config("--max-fps", 5000, cwd=tmp_path)
    assert_one_line(too_fast, 2, "command line", "source.max_fps", "between 0.01 and 1000, not 5000")
    not_unicode = print_config(b"caf\xe9.mp4".decode(errors="surrogateescape"), cwd=tmp_path)
    assert_one_line(not_unicode, 2, "not valid Unicode")
    assert not_unicode.stdout == ""


# A still picture


def test_settings_for_a_still_are_stricter_and_never_looser() -> None:
    still = RuntimeSettings().for_still()
    assert still.tracking == structs.replace(TrackingSettings(), min_hits=1)
    assert (still.detector.min_neighbors, still.schedule.full_search_width_px) == (6, 1280)
    own = RuntimeSettings(SourceSettings(rotate=90), detector=DetectorSettings(min_neighbors=9))
    assert own.for_still().detector.min_neighbors == 9
    assert own.for_still().source == own.source


# Old keys


@pytest.mark.parametrize("path", RENAMED)
def test_an_old_key_is_refused_with_its_new_name(path: str) -> None:
    section, _, key = path.partition(".")
    assert hasattr(getattr(RuntimeSettings(), section), RENAMED[path])
    name = f"FER_EDGE_{section}_{key}".upper()
    for refused in ({"overrides": {section: {key: 1}}, "environment": {}}, {"environment": {name: "1"}}):
        with pytest.raises(ConfigError, match=f"{path} was renamed: use {section}.{RENAMED[path]}$"):
            load_settings(**refused)  # type: ignore[arg-type]
