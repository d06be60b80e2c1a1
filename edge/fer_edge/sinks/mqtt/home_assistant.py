"""Home Assistant's MQTT discovery: one retained message that describes this device and its entities.

Needs Home Assistant 2024.11 or later: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_edge.sinks.mqtt.topics import PAUSE, WATCH, Topics
from fer_edge.status import ModelStatus
from fer_edge.system.version import __version__
from fer_edge.types import UNCERTAIN, EventKind

BIRTH = b"online"
"""Published by Home Assistant at ``<prefix>/status`` after it has started (birth message)."""
Component = dict[str, Any]

_MEASUREMENT = {"state_class": "measurement"}
_DIAGNOSTIC = {"entity_category": "diagnostic"}
_PLATFORMS = ("binary_sensor", "event", "sensor", "switch", "update")
_FACE_EVENTS = (EventKind.APPEARED, EventKind.CHANGED, EventKind.LEFT)


@dataclass(frozen=True, slots=True)
class Announcement:
    """What does not change while the program runs.

    Attributes:
        prefix: Prefix of Home Assistant's discovery topics.
        area: The area to suggest for the device.
        page: URL of the status page, if other machines reach it.
        commands: Whether sources can be paused.
    """

    prefix: str
    area: str | None = None
    page: str | None = None
    commands: bool = True

    @property
    def status_topic(self) -> str:
        """The topic of Home Assistant's birth message."""
        return f"{self.prefix}/status"

    def topic(self, topics: Topics) -> str:
        """Return the topic of the discovery message."""
        return f"{self.prefix}/device/{_device_id(topics)}/config"

    def payload(
        self, topics: Topics, model: ModelStatus, sources: Mapping[str, Sequence[str]], *, updates: bool = False
    ) -> dict[str, Any]:
        """Return the discovery message of the device and its ``sources``, the names of each with those of its zones.

        With ``updates``, the device updates its model. With privacy ``aggregate``, a source has counts, its connection
        and fps only.
        """
        device = {
            "identifiers": [_device_id(topics)],
            "name": topics.device,
            "manufacturer": "FER-Edge",
            "model": f"{model.name} {model.version} {model.variant}".strip() or "FER-Edge",
            "sw_version": __version__,
            **({"suggested_area": self.area} if self.area else {}),
            **({"configuration_url": self.page} if self.page else {}),
        }
        components = _device_components(topics, updates=updates)
        for source, zones in sources.items():
            made = _source_components(topics, source, model, zones)
            if self.commands:
                made["watch"] = _switch(topics, source)
            for key, component in made.items():
                component["name"] = f"{source} {component['name']}"
                components[f"{_identifier(source)}_{key}"] = component
        for key, component in components.items():
            component["unique_id"] = f"{_device_id(topics)}_{key}"
        return {
            "device": device,
            "origin": {"name": "FER-Edge", "sw_version": __version__},
            "availability": [{"topic": topics.of("availability")}],
            "qos": 1,
            "components": components,
        }


def without_missing(before: object, current: dict[str, Any]) -> dict[str, Any] | None:
    """Return ``current`` with a stub for each component of the message ``before`` that it lacks; None if there is none.

    Home Assistant removes an entity when its component has nothing but a platform.
    """
    components = before.get("components") if isinstance(before, dict) else None
    if not isinstance(components, dict):
        return None
    missing = {
        key: {"platform": component["platform"]}
        for key, component in components.items()
        if key not in current["components"] and isinstance(component, dict) and component.get("platform") in _PLATFORMS
    }
    return {**current, "components": {**current["components"], **missing}} if missing else None


def _device_components(topics: Topics, *, updates: bool) -> dict[str, Component]:
    state = topics.of("state")
    celsius = {"device_class": "temperature", "unit_of_measurement": "°C", **_MEASUREMENT, **_DIAGNOSTIC}
    # Without a command topic: a device takes a version when it has proved itself.
    update = {"platform": "update", "name": "Model", "state_topic": topics.of("update"), **_DIAGNOSTIC}
    return {
        "temperature": _entity("sensor", "Temperature", state, "value_json.temperature", **celsius),
        "throttled": _problem("Throttled", state, "value_json.throttled", "{'reasons': value_json.throttled}"),
        **({"update": update} if updates else {}),
    }


def _source_components(topics: Topics, source: str, model: ModelStatus, zones: Sequence[str]) -> dict[str, Component]:
    """Return the entities of ``source``, named without it."""
    state = topics.of(source, "state")
    connected = _on_if("value_json.state in ['watching', 'dark']")
    lost = "value_json.state in ['lost', 'ended']"
    per_second = {"unit_of_measurement": "fps", **_MEASUREMENT, **_DIAGNOSTIC}
    return {
        "connected": _entity(
            "binary_sensor", "connected", state, connected, device_class="connectivity", **_DIAGNOSTIC
        ),
        "problem": _problem("problem", state, lost, "{'reason': value_json.reason}"),
        "fps": _entity("sensor", "fps", state, "value_json.fps", **per_second),
        **(_counts(topics, source) if topics.aggregate else _faces(topics, source, model, zones)),
    }


def _counts(topics: Topics, source: str) -> dict[str, Component]:
    counts = topics.of(source, "counts")
    more = {**_attributes(counts, "value_json.counts"), "icon": "mdi:account-arrow-right", **_MEASUREMENT}
    return {
        "appeared": _entity("sensor", "appeared", counts, "value_json.counts.appeared", **more),
        "max_at_once": _entity(
            "sensor", "max at once", counts, "value_json.counts.max_at_once", icon="mdi:account-group", **_MEASUREMENT
        ),
    }


def _faces(topics: Topics, source: str, model: ModelStatus, zones: Sequence[str]) -> dict[str, Component]:
    state = topics.of(source, "state")
    # Unavailable while the camera is lost or paused.
    watching = {
        "topic": state,
        "value_template": "{{ 'online' if value_json.state in ['watching', 'dark'] else 'offline' }}",
    }
    seen = {"availability": [{"topic": topics.of("availability")}, watching], "availability_mode": "all"}
    percent = "(100 * value_json.confidence) | round | int if value_json.confidence is not none else none"
    kinds = [kind.value for kind in _FACE_EVENTS]
    values = {"event_type": "kind", "face": "track", "emotion": "emotion", "previous": "previous"}
    described = ", ".join(f"'{name}': value_json.{key}" for name, key in values.items())
    event = f"{{% if value_json.kind in {kinds} %}}{{{{ {{{described}}} | tojson }}}}{{% endif %}}"
    options = {"device_class": "enum", "options": [*model.labels, UNCERTAIN], "icon": "mdi:emoticon-outline"}
    emotion = {
        "emotion": _entity("sensor", "emotion", state, "value_json.emotion", **options, **seen),
        "confidence": _entity(
            "sensor", "confidence", state, percent, unit_of_measurement="%", icon="mdi:percent", **seen, **_MEASUREMENT
        ),
    }
    return {
        **(emotion if model.labels else {}),  # none if faces are not classified
        "faces": _entity(
            "sensor", "faces", state, "value_json.faces", icon="mdi:account-group", **seen, **_MEASUREMENT
        ),
        "occupancy": _occupancy("occupancy", state, "value_json.faces", seen),
        **{
            f"zone_{_identifier(zone)}": _occupancy(f"{zone} occupancy", state, f"value_json.zones[{zone!r}]", seen)
            for zone in zones
        },
        "event": {
            "platform": "event",
            "name": "event",
            "state_topic": topics.of(source, "events"),
            "event_types": kinds,
            "value_template": event,
            "icon": "mdi:account-eye",
        },
    }


def _occupancy(name: str, state: str, faces: str, seen: Component) -> Component:
    return _entity("binary_sensor", name, state, _on_if(f"{faces} | int > 0"), device_class="occupancy", **seen)


def _problem(name: str, state: str, condition: str, attributes: str) -> Component:
    more = {"device_class": "problem", **_attributes(state, attributes), **_DIAGNOSTIC}
    return _entity("binary_sensor", name, state, _on_if(condition), **more)


def _on_if(condition: str) -> str:
    return f"'ON' if {condition} else 'OFF'"


def _attributes(topic: str, value: str) -> Component:
    return {"json_attributes_topic": topic, "json_attributes_template": f"{{{{ {value} | tojson }}}}"}


def _switch(topics: Topics, source: str) -> Component:
    value = f"'{PAUSE.decode()}' if value_json.state == 'paused' else '{WATCH.decode()}'"
    return {
        **_entity("switch", "watching", topics.of(source, "state"), value),
        "command_topic": topics.of(source, "watch", "set"),
        "retain": True,  # so that a camera stays paused after a restart
        "icon": "mdi:cctv",
    }


def _entity(platform: str, name: str, state_topic: str, value: str, **config: Any) -> Component:
    return {
        "platform": platform,
        "name": name,
        "state_topic": state_topic,
        "value_template": f"{{{{ {value} }}}}",
        **config,
    }


def _device_id(topics: Topics) -> str:
    return f"fer-edge_{_identifier(topics.device)}"


def _identifier(name: str) -> str:
    """Return ``name`` with only the characters allowed in a discovery topic. Distinct names stay distinct."""
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}-{zlib.crc32(name.encode('utf-8', 'backslashreplace')):08x}"
