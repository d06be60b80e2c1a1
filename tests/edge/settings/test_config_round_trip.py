"""Settings: any values can be written and read again, and any input is accepted or refused."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from fer_edge.errors import ConfigError
from fer_edge.settings.base import decode, to_table
from fer_edge.settings.pipeline import (
    DetectorSettings,
    EmotionSettings,
    PresenceSettings,
    QualitySettings,
    ScheduleSettings,
    TrackingSettings,
)
from fer_edge.settings.runtime import ModelSettings, RuntimeSettings
from fer_edge.settings.service import (
    ChipSettings,
    MqttSettings,
    OutputSettings,
    RecoverySettings,
    WebhookSettings,
    WebSettings,
)
from fer_edge.settings.source import CameraSettings, SourceSettings
from fer_edge.settings.toml_files import dump_toml
from fer_edge.settings.update import UpdateSettings
from fer_edge.settings.values import MAX_DURATION_S


def parse(table: Mapping[str, Any]) -> RuntimeSettings:
    return decode(RuntimeSettings, table, "here")


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
"""Text for a setting: names of files and hosts contain no NUL."""
TEXT = st.none() | WORDS
SECTIONS = {
    "source": st.builds(
        SourceSettings,
        uris=st.lists(WORDS, max_size=3).map(tuple),
        width=st.none() | st.integers(16, 16384),
        height=st.none() | st.integers(16, 16384),
        fps=st.none() | st.floats(0.01, 1000),
        rotate=st.sampled_from([0, 90, 180, 270]),
        mirror=st.booleans(),
        region=st.sampled_from([(), (0.0, 0.25, 1.0, 0.5), (10.0, 20.0, 300.0, 200.0)]),
        mask=st.lists(st.tuples(*[st.floats(0.01, 1)] * 4) | st.tuples(*[st.floats(0, 1)] * 6), max_size=3).map(tuple),
        low_light=st.sampled_from(["off", "clahe", "gamma"]),
        exposure_us=st.none() | st.integers(1, 10**9),
        gain=st.none() | st.floats(0, 10_000),
        ev=st.none() | st.floats(-8, 8),
        autofocus=st.sampled_from([None, False]),
        lens_position=st.none() | st.floats(0, 32),
        timeout_s=st.floats(0.1, 3600),
        max_fps=st.none() | st.floats(0.01, 1000),
        realtime=st.booleans(),
    ),
    "cameras": st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][\w .-]{0,20}", fullmatch=True),
        st.builds(
            CameraSettings,
            uri=st.just(UNSET) | WORDS,
            rotate=st.sampled_from([UNSET, 0, 90, 180, 270]),
            fps=st.just(UNSET) | st.floats(0.01, 1000),
            region=st.sampled_from([UNSET, (), (0.0, 0.0, 0.5, 1.0)]),
        ),
        max_size=3,
    ),
    "model": st.builds(
        ModelSettings,
        bundle=TEXT,
        variant=WORDS,
        interpreter=st.sampled_from(["auto", "ai-edge-litert", "tflite-runtime"]),
        threads=st.integers(1, 64),
    ),
    "output": st.builds(
        OutputSettings,
        events=TEXT,
        trace=TEXT,
        stats=TEXT,
        annotate=TEXT,
        events_max_mib=st.none() | st.floats(0.01, 1e6),
        events_max_rotated=st.integers(1, 1000),
        events_max_buffered_s=st.floats(0, 3600),
        events_max_unsynced_s=st.none() | st.floats(0, 3600),
        max_queued_events=st.integers(1, 1_000_000),
        privacy=st.sampled_from(["events", "aggregate"]),
        aggregate_s=st.floats(1, 86_400),
    ),
    "detector": st.builds(
        DetectorSettings,
        min_face_px=st.integers(8, 8192),
        min_score=st.floats(0.05, 1),
        known_min_score=st.floats(0.05, 1),
        max_iou=st.floats(0, 1),
        scale_factor=st.floats(1.01, 2),
        min_neighbors=st.integers(0, 50),
        known_scale_factor=st.floats(1.01, 2),
        known_min_neighbors=st.integers(0, 50),
    ),
    "schedule": st.builds(
        ScheduleSettings,
        max_acquire_s=st.floats(0, 3600),
        budget_share=st.floats(0.01, 1),
        budget_max_ms=st.none() | st.floats(0, 60_000, exclude_min=True),
        full_search_width_px=st.integers(48, 16384),
        face_px=st.integers(24, 500),
        search_interval_s=st.floats(0, 3600),
        still_search_interval_s=st.floats(0, 3600),
        motion_threshold=st.floats(0, 255),
        region_margin=st.floats(1.2, 100),
        region_growth=st.floats(0, 1000),
    ),
    "tracking": st.builds(
        TrackingSettings,
        min_hits=st.integers(1, 1000),
        max_missed_s=st.floats(0, MAX_DURATION_S),
        max_coast_s=st.floats(0, MAX_DURATION_S),
    ),
    "quality": st.builds(
        QualitySettings,
        min_face_px=st.integers(0, 8192),
        min_inside=st.floats(0, 1),
        max_overexposed=st.floats(0, 1),
        min_contrast=st.floats(0, 128),
        min_sharpness=st.floats(0, 1),
        max_sharpness=st.floats(1, 2),
    ),
    "emotion": st.builds(
        EmotionSettings,
        smoothing_s=st.floats(0, MAX_DURATION_S),
        classify_interval_s=st.floats(0, MAX_DURATION_S),
        enter=st.floats(0.5, 1),
        exit=st.floats(0, 0.5),
        min_lead=st.floats(0, 1),
        min_dwell_s=st.floats(0, MAX_DURATION_S),
        heartbeat_s=st.floats(0, MAX_DURATION_S),
        groups=st.sampled_from([{}, {"positive": ("happy", "surprise"), "not so": ("sad",)}]),
    ),
    "presence": st.builds(
        PresenceSettings,
        enabled=st.booleans(),
        enter_after_s=st.floats(0, 3600),
        leave_after_s=st.floats(0, 3600),
    ),
    "recovery": st.builds(
        RecoverySettings,
        reconnect=st.booleans(),
        retry_min_s=st.floats(0.1, 10),
        retry_max_s=st.floats(10, 3600),
        dark_after_s=st.floats(0, MAX_DURATION_S),
        frozen_after_s=st.floats(0, MAX_DURATION_S),
    ),
    "mqtt": st.builds(
        MqttSettings,
        host=st.none() | WORDS,
        port=st.none() | st.integers(1, 65_535),
        tls=st.just(True),
        ca_file=st.none() | WORDS,
        username=st.none() | WORDS,
        device=st.none() | st.sampled_from(["door", "Tür 2"]),
        topic=st.sampled_from(["fer-edge", "house/cameras"]),
        keepalive_s=st.integers(5, 3600),
        max_queued_messages=st.integers(1, 1_000_000),
        confidence_step=st.floats(0.01, 1),
        commands=st.booleans(),
        home_assistant=st.booleans(),
        area=st.none() | st.sampled_from(["Hall", "Küche"]),
        discovery_prefix=st.sampled_from(["homeassistant", "ha/discovery"]),
    ),
    "webhook": st.builds(
        WebhookSettings,
        url=st.none() | st.sampled_from(["http://host/path", "https://host:8443/?a=b"]),
        token_file=st.none() | WORDS,
        ca_file=st.none() | WORDS,
        timeout_s=st.floats(0.1, 300),
        retry_max_s=st.floats(1, 3600),
        max_queued_events=st.integers(1, 1_000_000),
    ),
    "web": st.builds(
        WebSettings,
        enabled=st.booleans(),
        host=st.sampled_from(["127.0.0.1", "::", "0.0.0.0"]),
        port=st.integers(0, 65_535),
        token_file=st.none() | WORDS,
        allowed_hosts=st.lists(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
        ).map(tuple),
        preview=st.booleans(),
    ),
    "chip": st.builds(
        ChipSettings,
        poll_interval_s=st.floats(0, 3600),
        warm_c=st.floats(-50, 70),
        hot_c=st.floats(71, 150),
        min_budget_share=st.floats(0.01, 1),
        sysfs=WORDS,
    ),
    "update": st.builds(
        UpdateSettings,
        url=st.none() | st.sampled_from(["http://host/path", "https://host:8443"]),
        channel=st.sampled_from(["stable", "canary"]),
        folder=WORDS,
        root=st.none() | WORDS,
        interval_s=st.just(0.0) | st.floats(60, 604_800),
        jitter=st.floats(0, 1),
        shadow_s=st.floats(0, 604_800),
        max_cpu_share=st.floats(0.01, 1),
        probation_s=st.floats(0, 604_800),
        max_frame_time_ratio=st.floats(1, 100),
        trust_clock=st.booleans(),
    ),
}


@given(st.builds(RuntimeSettings, **SECTIONS))
def test_what_is_dumped_is_parsed_again(value: RuntimeSettings) -> None:
    text = dump_toml(to_table(value))
    assert parse(tomllib.loads(text)) == value


@pytest.mark.parametrize("table", [{"source": {"uris": ["a\0b"]}}, {"output": {"events": "a\0"}}])
def test_a_nul_is_refused_where_it_stands(table: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="contains a NUL character"):
        parse(table)


def test_the_round_trip_covers_every_setting() -> None:
    assert list(SECTIONS) == list(RuntimeSettings.__struct_fields__)


@given(st.text())
@settings(max_examples=300)
def test_any_text_is_settings_or_refused(text: str) -> None:
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError):
        return
    try:
        parse(table)
    except ConfigError as error:
        assert str(error).startswith("here: ")


VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.sampled_from([10**400, None]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = [f"{section}.{key}" for section, table in to_table(RuntimeSettings()).items() for key in table]


@given(st.sampled_from([*KEYS, "source.width", "source.max_fps", "model.bundle"]), VALUES)
@settings(max_examples=300)
def test_any_value_is_taken_or_refused_with_its_section(path: str, value: Any) -> None:
    section, _, key = path.partition(".")
    try:
        loaded = parse({section: {key: value}})
    except ConfigError as error:
        assert section in str(error)
        assert key in str(error)
        return
    assert hasattr(getattr(loaded, section), key)
