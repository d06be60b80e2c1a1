"""Home Assistant's MQTT discovery: the configuration of this device and its entities.

Each entity has one retained message at ``<prefix>/<component>/<device>/<entity>/config``, which all versions with MQTT
discovery understand. A single message for the whole device needs Home Assistant 2024.11 or later. See
https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from importlib.metadata import version

from fer_edge.sinks.event_json import json_bytes
from fer_edge.sinks.mqtt.topics import Topics
from fer_edge.status import ModelStatus

BIRTH = b"online"
"""Published by Home Assistant at ``<prefix>/status`` after it has started (birth message)."""
_MEASUREMENT = {"state_class": "measurement"}
_DIAGNOSTIC = {"entity_category": "diagnostic"}


def status_topic(prefix: str) -> str:
    """Return the topic of Home Assistant's birth message."""
    return f"{prefix}/status"


def discovery(prefix: str, topics: Topics, model: ModelStatus, sources: Iterable[str]) -> dict[str, bytes]:
    """Return the payload of each discovery topic of the device and its ``sources``.

    With privacy ``aggregate``, a source has counts and fps only.
    """
    device_id, ours = f"fer-edge_{_identifier(topics.device)}", version("fer-edge")
    common = {
        "availability": [{"topic": topics.of("availability")}],
        "qos": 1,
        "device": {
            "identifiers": [device_id],
            "name": topics.device,
            "manufacturer": "FER-Edge",
            "model": f"{model.name} {model.version} {model.variant}".strip() or "FER-Edge",
            "sw_version": ours,
        },
        "origin": {"name": "FER-Edge", "sw_version": ours},
    }
    payloads: dict[str, bytes] = {}

    def add(component: str, entity: str, name: str, state_topic: str, value: str, config: Mapping[str, object]) -> None:
        key = _identifier(entity)
        about = {"name": name, "unique_id": f"{device_id}_{key}", "state_topic": state_topic}
        whole = {**common, **about, "value_template": f"{{{{ {value} }}}}", **config}
        payloads[f"{prefix}/{component}/{device_id}/{key}/config"] = json_bytes(whole)

    state = topics.of("state")
    celsius = {"device_class": "temperature", "unit_of_measurement": "°C", **_MEASUREMENT, **_DIAGNOSTIC}
    add("sensor", "temperature", "Temperature", state, "value_json.temperature", celsius)
    throttled = "'ON' if value_json.throttled else 'OFF'"
    problem = {"device_class": "problem", "json_attributes_topic": state, **_DIAGNOSTIC}
    add("binary_sensor", "throttled", "Throttled", state, throttled, problem)
    for source in sources:
        for what, state_topic, value, config in _source_entities(topics, source):
            add("sensor", f"{source}_{what.replace(' ', '_')}", f"{source} {what}", state_topic, value, config)
    return payloads


def _source_entities(topics: Topics, source: str) -> list[tuple[str, str, str, Mapping[str, object]]]:
    """Return name, state topic, value and further configuration of each entity of ``source``."""
    state, counts = topics.of(source, "state"), topics.of(source, "counts")
    fps = ("fps", state, "value_json.fps", {"unit_of_measurement": "fps", **_MEASUREMENT, **_DIAGNOSTIC})
    if topics.aggregate:
        attributes = {
            "json_attributes_topic": counts,
            "json_attributes_template": "{{ value_json.counts | tojson }}",
            "icon": "mdi:account-arrow-right",
        }
        most = {"icon": "mdi:account-group"}
        return [
            ("appeared", counts, "value_json.counts.appeared", {**attributes, **_MEASUREMENT}),
            ("max at once", counts, "value_json.counts.max_at_once", {**most, **_MEASUREMENT}),
            fps,
        ]
    # Unavailable while the camera is lost.
    watching = {
        "topic": state,
        "value_template": "{{ 'online' if value_json.state in ['watching', 'dark'] else 'offline' }}",
    }
    seen = {"availability": [{"topic": topics.of("availability")}, watching], "availability_mode": "all"}
    percent = "(100 * value_json.confidence) | round | int if value_json.confidence is not none else none"
    return [
        ("emotion", state, "value_json.emotion", {**seen, "icon": "mdi:emoticon-outline"}),
        ("confidence", state, percent, {**seen, "unit_of_measurement": "%", **_MEASUREMENT}),
        ("faces", state, "value_json.faces", {**seen, "icon": "mdi:account-group", **_MEASUREMENT}),
        fps,
    ]


def _identifier(name: str) -> str:
    """Return ``name`` with only the characters allowed in a discovery topic. Distinct names stay distinct."""
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}-{zlib.crc32(name.encode('utf-8', 'backslashreplace')):08x}"
