"""Contents of a payload, and input that the host refuses before it reaches an unattended device."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import CheckFailedError, FerEdgeError, InputError
from fer_edge.model.bundle import DEFAULT_BUNDLE, load_bundle
from fer_edge.service import install as service_install
from fer_edge.settings.toml_files import dump_toml
from fer_flash.payload.assemble import completed, release_id, total_bytes
from fer_flash.payload.folder import read_payload, write_payload
from fer_flash.payload.payload_file import PayloadFile
from fer_flash.payload.releases import RELEASES
from fer_flash.payload.settings_files import BUNDLE_ON_DEVICE, settings_files, with_bundle
from support.environments.fresh_install import CHECKOUT

SETTINGS = '[source]\nuris = ["demo"]\n'
SCRIPTS = sorted((CHECKOUT / "edge" / "fer_flash" / "payload" / "scripts").glob("*.sh"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(SETTINGS)
    return path


def by_path(files: list[PayloadFile]) -> dict[str, PayloadFile]:
    return {file.path: file for file in files}


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck: apt-get install shellcheck")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    done = subprocess.run(["shellcheck", "-x", "-s", "sh", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_installer_makes_the_user_that_the_service_makes() -> None:
    text = (CHECKOUT / "edge" / "fer_flash" / "payload" / "scripts" / "install.sh").read_text()
    (line,) = re.findall(r"^user_line='(.*)'$", text, flags=re.MULTILINE)
    assert f"{line}\n" == service_install._USER_LINE
    assert f"user_file={service_install._USER_FILE} " in text
    assert f"settings={Path(service_install.CONFIG).parent}\n" in text
    assert f"unit={service_install.UNIT}\n" in text


def test_a_payload_tells_all_of_itself_but_what_is_secret(small_wheels: list[PayloadFile], tmp_path: Path) -> None:
    secret = PayloadFile("secrets/word", b"a word\n", secret=True)
    payload = completed(RELEASES["trixie"], "aarch64", small_wheels, [secret])
    files = by_path(payload)
    sums = dict(line.split("  ")[::-1] for line in files["SHA256SUMS"].read().decode().splitlines())
    assert sums.keys() == files.keys() - {"SHA256SUMS", "secrets/word"}
    assert all(hashlib.sha256(files[path].read()).hexdigest() == digest for path, digest in sums.items())
    facts = dict(line.split("=") for line in files["payload.conf"].read().decode().splitlines())
    assert (facts["release"], facts["python"], facts["machine"]) == ("trixie", "3.13", "aarch64")
    assert 64 << 10 < int(facts["installed_kib"]) < 128 << 10  # the reserve, and a few MB of our files
    (own,) = files["requirements.txt"].read().decode().splitlines()
    assert own.startswith("fer-edge==") and "pip" not in own
    assert total_bytes(payload) == sum(len(file.read()) for file in payload)
    write_payload(payload, tmp_path / "out")
    assert (tmp_path / "out" / "secrets" / "word").stat().st_mode & 0o777 == 0o600
    again, told = read_payload(tmp_path / "out")
    assert {path: (f.read(), f.secret) for path, f in by_path(again).items()} == {
        path: (f.read(), f.secret) for path, f in files.items()
    }
    assert told == facts and release_id(again) == release_id(payload)
    with pytest.raises(InputError, match="is not empty"):
        write_payload(payload, tmp_path / "out")


def test_a_payload_that_was_changed_is_refused(small_wheels: list[PayloadFile], tmp_path: Path) -> None:
    write_payload(completed(RELEASES["trixie"], "aarch64", small_wheels), tmp_path / "out")
    (stranger := tmp_path / "out" / "wheels" / "other.whl").write_bytes(b"")
    with pytest.raises(InputError, match=r"other\.whl: does not belong to this payload"):
        read_payload(tmp_path / "out")
    stranger.unlink()
    (tmp_path / "out" / "install.sh").unlink()
    with pytest.raises(CheckFailedError, match=r"install\.sh: has changed since it was made"):
        read_payload(tmp_path / "out")
    with pytest.raises(InputError, match="not a readable payload"):
        read_payload(tmp_path)


def test_settings_bring_along_what_they_name(config: Path) -> None:
    config.write_text(
        SETTINGS + '[mqtt]\nhost = "broker"\nusername = "me"\npassword_file = "mqtt-password"\ntls = true\n'
        'ca_file = "/etc/fer-edge/ca.pem"\ncert_file = "/etc/fer-edge/me.pem"\nkey_file = "/etc/fer-edge/me.key"\n'
        '[web]\ntoken_file = "web-token"\n[webhook]\nca_file = "/etc/ssl/certs/own.pem"\n'
        '[update]\nroot = "/etc/fer-edge/1.root.json"\n'
    )
    (config.parent / "mqtt-password").write_text("hunter2\n")
    (config.parent / "secrets").mkdir()
    (config.parent / "secrets" / "web-token").write_text("0123456789abcdef\n")
    for name in ("ca.pem", "me.pem", "me.key", "1.root.json"):
        (config.parent / name).write_text(f"{name}\n")
    files = by_path(settings_files(config, None))
    assert {path: file.secret for path, file in files.items()} == {
        "config.toml": False,
        "secrets/mqtt-password": True,
        "secrets/web-token": True,
        "secrets/me.key": True,
        "certificates/ca.pem": False,
        "certificates/me.pem": False,
        "certificates/1.root.json": False,
        "credentials.conf": False,
    }
    assert files["credentials.conf"].read().decode().splitlines()[-2:] == [
        "LoadCredential=mqtt-password:/etc/fer-edge/mqtt-password",
        "LoadCredential=web-token:/etc/fer-edge/web-token",
    ]
    assert b"hunter2" not in b"".join(file.read() for file in files.values() if not file.secret)


def test_settings_with_a_password_in_an_address_are_secret_themselves(config: Path) -> None:
    config.write_text('[source]\nuris = ["rtsp://me:hunter2@camera/1"]\n')
    (settings,) = settings_files(config, None)
    assert settings.secret


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("[source]\nurl = 1\n", "unknown key source.url"),
        ("[web]\nenabled = true\n", "no source"),
        (SETTINGS + '[web]\ntoken_file = "web-token"\n', "web-token is missing: put it into"),
        (SETTINGS + '[web]\ntoken_file = "short"\n', "at least 16 characters"),
        (SETTINGS + '[web]\ntoken_file = "two-lines"\n', "on one line"),
        (SETTINGS + '[web]\ntoken_file = "/home/me/web-token"\n', "use a name without a folder"),
        (SETTINGS + '[web]\ntoken_file = "/etc/fer-edge/config.toml"\n', "not a valid file name here"),
        (SETTINGS + '[webhook]\nca_file = "ca.pem"\n', "full path on the device"),
        (SETTINGS + '[model]\nbundle = "/home/me/model"\n', "use --bundle"),
    ],
    ids=lambda value: value[-30:],
)
def test_settings_that_a_device_could_not_use_are_refused(config: Path, settings: str, said: str) -> None:
    config.write_text(settings)
    (config.parent / "short").write_text("abc\n")
    (config.parent / "two-lines").write_text("0123456789abcdef\n0123456789abcdef\n")
    with pytest.raises(FerEdgeError, match=said) as refused:
        settings_files(config, None)
    assert "\n" not in str(refused.value)


def test_a_bundle_goes_with_the_variant_that_runs_and_the_settings_name_it(config: Path, tmp_path: Path) -> None:
    config.write_text(SETTINGS + '[model]\nvariant = "float32"\n')
    files = by_path(settings_files(config, CHECKOUT / "models" / "fer-edge-s"))
    assert tomllib.loads(files["config.toml"].read().decode())["model"] == {
        "variant": "float32",
        "bundle": BUNDLE_ON_DEVICE,
    }
    write_files = [file for path, file in files.items() if path.startswith("bundle/")]
    (folder := tmp_path / "bundle").mkdir()
    for file in write_files:
        (tmp_path / file.path).write_bytes(file.read())
    with load_bundle(folder) as loaded:
        assert list(loaded.manifest.variants) == ["float32"] and loaded.variant("float32")


def test_a_bundle_that_is_damaged_or_not_to_be_named_is_refused(config: Path, tmp_path: Path) -> None:
    shutil.copytree(DEFAULT_BUNDLE, tmp_path / "model")
    (tmp_path / "model" / "int8.tflite").write_bytes(b"no model")
    with pytest.raises(FerEdgeError, match="damaged or replaced"):
        settings_files(config, tmp_path / "model")
    with pytest.raises(InputError, match="add --settings"):
        settings_files(None, DEFAULT_BUNDLE)
    config.write_text(SETTINGS + '[model]\nbundle = "/srv/model"\n')
    with pytest.raises(InputError, match=r"model\.bundle must be"):
        settings_files(config, DEFAULT_BUNDLE)


_NAMES = st.sampled_from(["variant", "threads", "interpreter"])
_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)
_TABLES = st.dictionaries(st.sampled_from(["source", "model", "web"]), st.dictionaries(_NAMES, _TEXT, max_size=3))


@given(_TABLES, st.sampled_from(["", "# [model]\n", "\n\n"]))
def test_naming_the_bundle_changes_nothing_else(table: dict[str, dict[str, str]], head: str) -> None:
    text = head + dump_toml(table)
    changed = tomllib.loads(with_bundle(text, "config.toml"))
    assert changed["model"].pop("bundle") == BUNDLE_ON_DEVICE
    assert {key: value for key, value in changed.items() if value or key in table} == table


@pytest.mark.parametrize("text", ['model.variant = "int8"\n', 'model = {variant = "int8"}\n'])
def test_settings_in_another_spelling_are_not_guessed_at(text: str) -> None:
    with pytest.raises(InputError, match=r"model\.bundle must be"):
        with_bundle(text, "config.toml")
