"""``fer-edge release``, tested by python-tuf's own client over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tuf.ngclient import Updater

from fer_edge.errors import InputError, ModelError
from fer_edge.model.archive import unpack_bundle
from fer_edge.model.bundle import load_bundle
from fer_edge.update import golden
from fer_release.bundles import publish
from fer_release.repository import ROLES, KeyStore, Repository, create_repository
from support.models.bundles import copy_bundle
from support.processes.edge_command import fer_edge

ONE = dict.fromkeys(ROLES, 1)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys", b"secret")


@pytest.fixture
def folder(tmp_path: Path, keys: KeyStore) -> Path:
    create_repository(tmp_path / "repo", keys, {**ONE, "root": 2}, {**ONE, "root": 2})
    return tmp_path / "repo"


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def fetch(folder: Path, url: str, target: str, to: Path, name: str) -> Path | None:
    """Download ``target`` as a client that trusts the first root; ``to`` contains its state of the last time."""
    (to / "targets").mkdir(parents=True, exist_ok=True)
    root = (folder / "metadata" / "1.root.json").read_bytes()
    updater = Updater(str(to), f"{url}/metadata", bootstrap=root)
    updater.refresh()
    info = updater.get_targetinfo(target)
    return None if info is None else Path(updater.download_target(info, str(to / name), f"{url}/targets"))


def test_a_client_gets_what_was_published_also_after_every_key_was_rotated(
    folder: Path, keys: KeyStore, url: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = load_bundle(copy_bundle(tiny_bundle, tmp_path / "b", version="1.2.0"))
    publish(Repository(folder), bundle, "canary", 10, keys)
    client = tmp_path / "client"
    listed = fetch(folder, url, "channel-canary.json", client, "list")
    assert listed is not None
    (release,) = json.loads(listed.read_bytes())["releases"]
    assert release == {"version": "1.2.0", "target": "bundle-1.2.0.zip", "rollout_percent": 10}
    for role in ROLES:
        old = Repository(folder).root.signed.roles[role].keyids[0]
        new = Repository(folder).rotate_key(role, keys, old)
        assert new in Repository(folder).root.signed.roles[role].keyids
    Repository(folder).refresh(keys)
    archive = fetch(folder, url, release["target"], client, "bundle.zip")
    assert archive is not None
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    unpack_bundle(archive, unpacked)
    golden.check(unpacked, "int8", "auto")
    recorded = json.loads((unpacked / golden.GOLDEN_NAME).read_bytes())
    step = bundle.variant("int8").io.output_scale
    recorded["logits"]["int8"][0][0] += 2 * step
    (unpacked / golden.GOLDEN_NAME).write_text(json.dumps(recorded))
    with pytest.raises(ModelError, match="differs by"):
        golden.check(unpacked, "int8", "auto")


def test_keys_are_private_encrypted_and_all_needed_up_to_the_threshold(folder: Path, keys: KeyStore) -> None:
    files = sorted(keys.folder.iterdir())
    assert len(files) == 5
    assert all(path.stat().st_mode & 0o777 == 0o600 and b"ENCRYPTED" in path.read_bytes() for path in files)
    for passphrase, problem in ((None, "encrypted"), (b"wrong", "wrong passphrase")):
        with pytest.raises(InputError, match=problem):
            Repository(folder).refresh(KeyStore(keys.folder, passphrase))
    next(path for path in files if path.name.startswith("root")).unlink()
    with pytest.raises(InputError, match="1 of the 2 keys of root"):
        Repository(folder).renew_root(keys)


def test_a_version_is_published_once_and_changed_metadata_is_not_signed(
    folder: Path, keys: KeyStore, tiny_bundle: Path, tmp_path: Path
) -> None:
    first = load_bundle(copy_bundle(tiny_bundle, tmp_path / "a", version="1.2.0"))
    publish(Repository(folder), first, "stable", 10, keys)
    assert publish(Repository(folder), first, "stable", 50, keys).rollout_percent == 50
    other = load_bundle(copy_bundle(tiny_bundle, tmp_path / "b", version="1.2.0", name="other"))
    with pytest.raises(InputError, match="choose a new version"):
        publish(Repository(folder), other, "stable", 100, keys)
    path = folder / "metadata" / "timestamp.json"
    path.write_text(path.read_text().replace('"version": 3', '"version": 4', 1))
    with pytest.raises(InputError, match="not signed"):
        Repository(folder)


def test_status_of_a_new_repository_is_in_words(folder: Path, tmp_path: Path) -> None:
    done = fer_edge("release", "status", folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "stable: nothing released" in done.stdout
    assert "timestamp: version 1, expires in 7 days" in done.stdout
