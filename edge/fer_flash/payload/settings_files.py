"""The files that a device's settings need: the settings file, the model bundle, secrets and certificates.

They are checked by the runtime's own rules here, where an error is seen, and not on an unattended device.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path, PurePosixPath

from fer_edge.errors import ConfigError, InputError
from fer_edge.model.bundle import load_bundle
from fer_edge.model.manifest import MANIFEST_NAME
from fer_edge.service.install import default_config
from fer_edge.settings.redaction import redacted
from fer_edge.settings.runtime import RuntimeSettings, load_settings
from fer_edge.settings.secret_files import MIN_TOKEN_LENGTH, secret_in
from fer_edge.sources.picamera.source import camera_of
from fer_flash.payload.payload_file import PayloadFile

SETTINGS_FOLDER = PurePosixPath("/etc/fer-edge")
"""Folder of the settings, and of the files that they name, on the device."""
BUNDLE_ON_DEVICE = "/opt/fer-edge/current/bundle"
"""Folder of the model bundle on the device."""
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TAKEN = ("config.toml", "10-credentials.conf")
_TAKEN_ENDINGS = (".new", ".old", ".part")
_MAX_CERTIFICATE_BYTES = 1 << 20
_DROP_IN = """\
# Written by FER-Edge's install.sh: the secrets that the settings name, as systemd credentials of the service.
[Service]
"""


def wants_pi_camera(config: Path | None, source: str | None) -> bool:
    """Return whether the settings name a Raspberry Pi camera. Raises ConfigError if ``config`` cannot be read."""
    uris = (source or "",) if config is None else load_settings(config, environment={}).uris
    return any(camera_of(uri) is not None for uri in uris)


def may_update(config: Path | None, source: str | None) -> bool:
    """Return whether a device with these settings may update its model; with its own settings, it may.

    Raises ConfigError if ``config`` cannot be read.
    """
    if config is None:
        return source is None
    return load_settings(config, environment={}).update.url is not None


def settings_files(config: Path | None, bundle: Path | None, source: str | None = None) -> list[PayloadFile]:
    """Return the payload's files for the arguments, which are described in ``PayloadSettings``.

    Raises:
        ConfigError, InputError, ModelError: if the device would refuse them.
    """
    if config is None and source is not None:
        # Each payload has the wheels of the status page.
        text = default_config(source, page=True)
        if bundle is None:
            return [PayloadFile("config.toml", text.encode())]
        written = PayloadFile("config.toml", with_bundle(text, "the settings of a new card").encode())
        return [written, *_bundle_files(bundle, RuntimeSettings().model.variant)]
    if config is None:
        if bundle is not None:
            raise InputError(f"{bundle}: a bundle needs settings that use it: add --settings")
        return []
    settings = load_settings(config, environment={})
    if not settings.uris:
        raise ConfigError(f"{config}: no source: set [source] uris")
    text = config.read_text(encoding="utf-8-sig")
    if bundle is not None:
        text = with_bundle(text, str(config))
    elif settings.model.bundle is not None:
        raise ConfigError(
            f"{config}: model.bundle: the device has no {settings.model.bundle}; remove the key and use --bundle"
        )
    # URLs of cameras may contain passwords.
    files = [PayloadFile("config.toml", text.encode(), secret=redacted(text) != text)]
    files += _named_files(config, settings)
    return files if bundle is None else files + _bundle_files(bundle, settings.model.variant)


def _named_files(config: Path, settings: RuntimeSettings) -> list[PayloadFile]:
    """Return secrets, certificates, and the systemd drop-in that passes secrets as credentials."""
    found: dict[str, PayloadFile] = {}
    credentials = []
    tokens = {"webhook.token_file": settings.webhook.token_file, "web.token_file": settings.web.token_file}
    for key, value in {"mqtt.password_file": settings.mqtt.password_file, **tokens}.items():
        if value is None:
            continue
        path, data = _beside(config, key, value)
        secret = secret_in(data, str(path), key)
        if key == "web.token_file" and len(secret) < MIN_TOKEN_LENGTH:
            raise ConfigError(
                f"{key}: the token must have at least {MIN_TOKEN_LENGTH} characters: openssl rand -hex 16"
            )
        if "/" not in value:
            credentials.append(f"LoadCredential={value}:{SETTINGS_FOLDER / value}\n")
        found[path.name] = PayloadFile(f"secrets/{path.name}", data, secret=True)
    if settings.mqtt.key_file is not None:
        path, data = _beside(config, "mqtt.key_file", settings.mqtt.key_file, bare=False)
        found[path.name] = PayloadFile(f"secrets/{path.name}", data, secret=True)
    public = {
        "mqtt.ca_file": settings.mqtt.ca_file,
        "mqtt.cert_file": settings.mqtt.cert_file,
        "webhook.ca_file": settings.webhook.ca_file,
        "update.root": settings.update.root,
    }
    for key, value in public.items():
        # Other folders are for certificates of the system.
        if value is not None and PurePosixPath(value).parent == SETTINGS_FOLDER:
            path, data = _beside(config, key, value, bare=False)
            if path.name in found and found[path.name].secret:
                raise ConfigError(f"{config}: {key}: {path.name} is a secret elsewhere in the settings")
            found[path.name] = PayloadFile(f"certificates/{path.name}", data)
        elif value is not None and not value.startswith("/"):
            raise ConfigError(f"{config}: {key}: give its full path on the device: {SETTINGS_FOLDER}/{value}")
    if credentials:
        drop_in = _DROP_IN + "".join(dict.fromkeys(credentials))
        found[""] = PayloadFile("credentials.conf", drop_in.encode())
    return list(found.values())


def _beside(config: Path, key: str, value: str, *, bare: bool = True) -> tuple[Path, bytes]:
    """Return the path and the content of the file that ``value`` refers to on the device. Raises ConfigError.

    ``bare`` allows a name without a folder.
    """
    named = PurePosixPath(value)
    if named.parent != SETTINGS_FOLDER and not (bare and named.name == value):
        name_only = f'use a name without a folder, as in {key.split(".")[1]} = "secret"'
        advice = name_only if bare else f"name it {SETTINGS_FOLDER}/…"
        raise ConfigError(f"{config}: {key}: {value} is not in a folder that the device has for it; {advice}")
    name = named.name
    if not _FILE_NAME.fullmatch(name) or name in _TAKEN or name.endswith(_TAKEN_ENDINGS):
        raise ConfigError(f"{config}: {key}: {name!r} is not a valid file name here; use letters, digits and -")
    for path in (config.parent / name, config.parent / "secrets" / name):
        try:
            with path.open("rb") as stream:
                data = stream.read(_MAX_CERTIFICATE_BYTES + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(f"{key}: cannot read {path}: {error.strerror}") from None
        if len(data) > _MAX_CERTIFICATE_BYTES:
            raise ConfigError(f"{key}: {path} is larger than {_MAX_CERTIFICATE_BYTES} bytes, too large for this key")
        return path, data
    raise ConfigError(f"{config}: {key}: {name} is missing: put it into {config.parent} or {config.parent / 'secrets'}")


def with_bundle(text: str, where: str) -> str:
    """Return ``text`` with ``model.bundle`` set to the device's path. Raises ConfigError if it names another one."""
    table = tomllib.loads(text)
    named = table.get("model", {}).get("bundle")
    if named == BUNDLE_ON_DEVICE:
        return text
    line = f'bundle = "{BUNDLE_ON_DEVICE}"\n'
    if named is None:
        wanted = {**table, "model": {**table.get("model", {}), "bundle": BUNDLE_ON_DEVICE}}
        head = re.search(r"^[ \t]*\[[ \t]*model[ \t]*\][ \t]*(#[^\n]*)?\n", text, flags=re.MULTILINE)
        changed = f"{text}\n[model]\n{line}" if head is None else text[: head.end()] + line + text[head.end() :]
        try:
            if tomllib.loads(changed) == wanted:
                return changed
        except tomllib.TOMLDecodeError:
            pass  # written in another form that TOML allows
    raise ConfigError(f"{where}: model.bundle must be {BUNDLE_ON_DEVICE!r} with --bundle, its path on the device")


def _bundle_files(bundle: Path, variant: str) -> list[PayloadFile]:
    """Return the manifest and the one variant that the settings use. Raises ModelError, InputError."""
    with load_bundle(bundle) as loaded:
        chosen = loaded.variant(variant)
        table = json.loads((loaded.folder / MANIFEST_NAME).read_bytes())
        table["variants"] = {variant: table["variants"][variant]}
        manifest = json.dumps(table, indent=2, ensure_ascii=False) + "\n"
        model = PayloadFile(f"bundle/{chosen.path.name}", chosen.path.read_bytes())
    return [PayloadFile(f"bundle/{MANIFEST_NAME}", manifest.encode()), model]
