"""Home Assistant's MQTT discovery: the configuration of this device and its entities.

Each entity has one retained message at ``<prefix>/<component>/<device>/<entity>/config``, which all versions with MQTT
discovery understand. A single message for the whole device needs Home Assistant 2024.11 or later. See
https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Mapping

from fer_edge.sinks.event_json import json_bytes
from fer_edge.sinks.mqtt.topics import Topics
from fer_edge.status import ModelStatus

BIRTH = b"online"
"""Published by Home Assistant at ``<prefix>/status`` after it has started (birth message)."""


def status_topic(prefix: str) -> str:
    """Return the topic of Home Assistant's birth message."""
    return f"{prefix}/status"


def device_config(prefix: str, topics: Topics, model: ModelStatus) -> dict[str, bytes]:
    """Return the payload of each discovery topic of the device's own entities."""
    about = {"state_topic": topics.state, "entity_category": "diagnostic"}
    entities = _Entities(prefix, topics, model)
    entities.add(
        "sensor",
        "temperature",
        "Temperature",
        {
            **about,
            "value_template": "{{ value_json.temperature }}",
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "state_class": "measurement",
        },
    )
    entities.add(
        "binary_sensor",
        "throttled",
        "Throttled",
        {
            **about,
            "value_template": "{{ 'ON' if value_json.throttled else 'OFF' }}",
            "device_class": "problem",
            "json_attributes_topic": topics.state,
        },
    )
    return entities.payloads


def source_config(prefix: str, topics: Topics, model: ModelStatus, source: str) -> dict[str, bytes]:
    """Return the payload of each discovery topic of ``source``; with privacy ``aggregate``, counts and fps only."""
    entities = _Entities(prefix, topics, model)
    here = {"state_topic": topics.source_state(source)}
    if topics.aggregate:
        counts = {"state_topic": topics.counts(source), "state_class": "measurement"}
        appeared = {"value_template": "{{ value_json.counts.appeared }}", "icon": "mdi:account-arrow-right"}
        seconds = {
            "json_attributes_topic": topics.counts(source),
            "json_attributes_template": "{{ value_json.counts | tojson }}",
        }
        most = {"value_template": "{{ value_json.counts.most_at_once }}", "icon": "mdi:account-group"}
        entities.add("sensor", f"{source}_appeared", f"{source} appeared", {**counts, **appeared, **seconds})
        entities.add("sensor", f"{source}_most_at_once", f"{source} most at once", {**counts, **most})
    else:
        seen = {**here, **_while_watching(topics, source)}
        percent = "{{ (100 * value_json.confidence) | round | int if value_json.confidence is not none else none }}"
        emotion = {"value_template": "{{ value_json.emotion }}", "icon": "mdi:emoticon-outline"}
        sure = {"value_template": percent, "unit_of_measurement": "%", "state_class": "measurement"}
        faces = {"value_template": "{{ value_json.faces }}", "state_class": "measurement", "icon": "mdi:account-group"}
        entities.add("sensor", f"{source}_emotion", f"{source} emotion", {**seen, **emotion})
        entities.add("sensor", f"{source}_confidence", f"{source} confidence", {**seen, **sure})
        entities.add("sensor", f"{source}_faces", f"{source} faces", {**seen, **faces})
    fps = {"value_template": "{{ value_json.fps }}", "unit_of_measurement": "fps", "state_class": "measurement"}
    entities.add("sensor", f"{source}_fps", f"{source} fps", {**here, **fps, "entity_category": "diagnostic"})
    return entities.payloads


def _while_watching(topics: Topics, source: str) -> dict[str, object]:
    """Return the configuration that makes the entities of ``source`` unavailable while its camera is lost."""
    watching = {
        "topic": topics.source_state(source),
        "value_template": "{{ 'online' if value_json.state in ['watching', 'dark'] else 'offline' }}",
    }
    return {"availability": [{"topic": topics.availability}, watching], "availability_mode": "all"}


class _Entities:
    """Collect the configuration of a device's entities in ``payloads``, by topic."""

    def __init__(self, prefix: str, topics: Topics, model: ModelStatus) -> None:
        self.payloads: dict[str, bytes] = {}
        ours = _our_version()
        self._prefix = prefix
        self._id = f"fer-edge_{_identifier(topics.device)}"
        self._common: dict[str, object] = {
            "availability": [{"topic": topics.availability}],
            "qos": 1,
            "device": {
                "identifiers": [self._id],
                "name": topics.device,
                "manufacturer": "FER-Edge",
                "model": f"{model.name} {model.version} {model.variant}".strip() or "FER-Edge",
                "sw_version": ours,
            },
            "origin": {"name": "FER-Edge", "sw_version": ours},
        }

    def add(self, component: str, entity: str, name: str, config: Mapping[str, object]) -> None:
        """Add one entity."""
        key = _identifier(entity)
        whole = {"name": name, "unique_id": f"{self._id}_{key}", **self._common, **config}
        self.payloads[f"{self._prefix}/{component}/{self._id}/{key}/config"] = json_bytes(whole)


@functools.cache
def _our_version() -> str:
    from importlib.metadata import version

    return version("fer-edge")


def _identifier(name: str) -> str:
    """Return ``name`` with only the characters allowed in a discovery topic. Distinct names stay distinct."""
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}-{zlib.crc32(name.encode('utf-8', 'backslashreplace')):08x}"
