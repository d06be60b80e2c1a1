"""Files that are written from the settings' definitions: the example, its JSON Schema and the reference page."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest
import write_settings
from msgspec import structs

from fer_edge.errors import ConfigError
from fer_edge.settings.base import to_table
from fer_edge.settings.runtime import RuntimeSettings, load_settings
from support.processes.edge_command import command_line

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "edge" / "config.example.toml"
PAGES = write_settings.pages()


def load(tmp_path: Path, text: str) -> RuntimeSettings:
    (tmp_path / "c.toml").write_text(text, encoding="utf-8")
    return load_settings(tmp_path / "c.toml", environment={})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_the_written_files_are_those_of_the_definitions(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path], "run: make settings"


def test_every_setting_is_described() -> None:
    for section, kind in write_settings.sections():
        for name, _, extra, default in write_settings.fields_of(kind):
            assert extra["description"].endswith((".", "…")) and len(extra["description"]) > 20, f"{section}.{name}"
            assert default is not None or extra["examples"], f"{section}.{name}"


def test_the_example_holds_the_defaults_but_for_what_it_says() -> None:
    defaults = to_table(RuntimeSettings())
    flat = {f"{name}.{key}": value for name, table in defaults.items() for key, value in table.items()}
    del flat["source.zones"], flat["emotion.groups"]  # empty by default; an example is commented out
    named = tomllib.loads(EXAMPLE.read_text())
    example = {f"{name}.{key}": value for name, table in named.items() for key, value in table.items()}
    assert example == flat | write_settings.CHOSEN


def test_what_the_example_leaves_out_could_be_put_in(tmp_path: Path) -> None:
    text = re.sub(r"^# (\w+ = |\[cameras)", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = text.replace("tls = false", "tls = true")  # which certificates need
    text = text.replace('kind = "haar"', 'kind = "yunet"')  # which its model needs
    loaded = load(tmp_path, text)
    assert loaded.cameras["door"].uri == "rtsp://nvr.lan/cam1"
    for section in structs.astuple(structs.replace(loaded, cameras={})):
        assert section == {} or None not in structs.astuple(section)


def test_the_example_is_accepted(tmp_path: Path) -> None:
    shown = subprocess.run(
        command_line("run", "--print-config", "--config", EXAMPLE), cwd=tmp_path, capture_output=True, check=True
    )
    assert tomllib.loads(shown.stdout.decode()) == to_table(load_settings(EXAMPLE, environment={}))


def test_the_printed_schema_takes_the_example_and_refuses_what_the_program_refuses(tmp_path: Path) -> None:
    result = subprocess.run(command_line("run", "--print-schema"), cwd=tmp_path, capture_output=True, check=True)
    schema = json.loads(result.stdout)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert validator.is_valid(tomllib.loads(EXAMPLE.read_text(encoding="utf-8")))
    for text in (
        *("[sorce]", "[source]\nurl = 'x'", "[source]\nrotate = 45", "[source]\nmirror = 1", "[emotion]\nenter = 0.0"),
        *("[detector]\nmin_face_px = true", "[detector]\nmin_face_px = 7", "[mqtt]\ntopic = '/x'", "source = 3"),
        *("[source]\nsensor_mode = 'wide'", "[web]\nallowed_hosts = ['']", "[webhook]\nurl = 'ftp://x'"),
    ):
        assert not validator.is_valid(tomllib.loads(text)), text
        with pytest.raises(ConfigError):
            load(tmp_path, text)
