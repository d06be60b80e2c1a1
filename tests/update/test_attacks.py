"""What an attacker who owns the web server or the network can try, each against the real command.

The attacker of most tests has no key. Each device has seen the repository before, unless the test says otherwise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from fer_edge.errors import ModelError, SourceLostError
from fer_edge.model.bundle import load_bundle
from fer_edge.update import client
from fer_release import repository
from fer_release.repository import ROLES, create_repository
from support.processes.edge_command import assert_one_line
from support.servers.update_site import ONE, Device, Site


@pytest.fixture
def visited(site: Site, device: Device) -> Device:
    """The device after it has taken 1.1.0."""
    assert device.run("apply").returncode == 0
    device.store.settle("1.1.0")
    return device


def refuses(device: Device, *parts: str, code: int = 4) -> None:
    """Assert that the device takes nothing, reports why in one line, and keeps its version."""
    before = device.store.version
    assert_one_line(device.run("apply"), code, device.site.url, *parts)
    assert device.store.version == before
    assert all(part in device.status()["problem"] for part in parts)


def test_rollback_an_older_state_of_the_repository(site: Site, visited: Device) -> None:
    old = shutil.copytree(site.repo / "metadata", site.folder / "old")
    site.publish("1.2.0")
    visited.run("check")
    shutil.copytree(old, site.repo / "metadata", dirs_exist_ok=True)
    refuses(visited, "older than what this device has seen")


def test_rollback_an_older_version_in_a_new_state(site: Site, visited: Device) -> None:
    """Its owner lists an older version last: signed, and still not taken."""
    site.publish_archive("1.0.5", lambda files: None)
    assert visited.run("apply").stdout == "no newer version for this device\n"
    assert visited.store.version == "1.1.0"


def test_freeze_a_state_that_is_not_refreshed(site: Site, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(repository.VALID_DAYS, "timestamp", -1)
    site.refresh()
    refuses(device, "timestamp.json is expired", "not refreshed")


def test_an_expired_root(site: Site, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(repository.VALID_DAYS, "root", -1)
    site.repository.renew_root(site.keys)
    refuses(device, "root.json is expired")


def test_mixed_snapshots(site: Site, visited: Device) -> None:
    """The newest timestamp with the content of an older snapshot."""
    before = site.repository.snapshot.signed.version
    site.publish("1.2.0")
    metadata, after = site.repo / "metadata", site.repository.snapshot.signed.version
    shutil.copy(metadata / f"{before}.snapshot.json", metadata / f"{after}.snapshot.json")
    refuses(visited, "Expected snapshot version")


def test_changed_metadata(site: Site, visited: Device) -> None:
    site.publish("1.2.0")
    path = site.repo / "metadata" / "timestamp.json"
    version = site.repository.timestamp.signed.version
    path.write_text(path.read_text().replace(f'"version": {version}', f'"version": {version + 5}'))
    refuses(visited, "not signed by the keys that this device trusts")


def test_a_changed_target(site: Site, device: Device) -> None:
    (archive,) = (site.repo / "targets").glob("*.bundle-1.1.0.zip")
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    refuses(device, "differs from what is signed")
    assert not list(device.store.incoming.glob("1.1.0"))


def test_wrong_keys(site: Site, visited: Device) -> None:
    """Somebody else's repository at the same address."""
    shutil.rmtree(site.repo)
    site.keys.folder.rename(site.folder / "their keys")
    create_repository(site.repo, site.keys, ONE, ONE)
    for _ in range(5):
        site.refresh()
    refuses(visited, "not signed by the keys that this device trusts")
    site.publish("1.2.0")  # all keys were lost: the new root is brought to the device
    visited.trust()
    assert visited.run("apply").returncode == 0
    assert visited.store.version == "1.2.0"


def test_a_root_that_was_rotated_twice_since_the_last_visit_is_accepted(
    site: Site, visited: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as expired:
        expired.setitem(repository.VALID_DAYS, "root", -1)
        for role in ROLES:
            site.repository.rotate_key(role, site.keys)
    site.repository.rotate_key("root", site.keys)
    site.refresh()
    site.publish("1.2.0")
    assert visited.run("apply").returncode == 0
    assert visited.store.version == "1.2.0"


@pytest.mark.parametrize("path", ["timestamp.json", "bundle-1.1.0.zip"])
def test_endless_data(site: Site, device: Device, path: str) -> None:
    def endless(handler: SimpleHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(1 << 16))

    site.answers[path] = endless
    refuses(device, f"{path} has more than", "bytes")


def drip(handler: SimpleHTTPRequestHandler) -> None:
    """Answer with a byte every 50 ms, each before a socket's timeout."""
    handler.send_response(200)
    handler.send_header("Content-Length", "10000")
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.05)


def drip_a_header(handler: SimpleHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize("answer", [drip, drip_a_header])
def test_a_slow_drip_is_given_up(site: Site, device: Device, answer: object) -> None:
    site.answers["timestamp.json"] = answer  # type: ignore[assignment]
    store = device.store
    store.prepare()
    began = time.monotonic()
    with pytest.raises(SourceLostError, match="too slow"):
        client.Client(site.url, site.root.read_bytes(), store.metadata, store.incoming, max_refresh_s=2.0).releases(
            "stable"
        )
    assert time.monotonic() - began < 30  # a byte each 50 ms would take 500 s


def test_a_target_that_is_larger_than_any_bundle_is_not_downloaded(
    site: Site, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_ARCHIVE_BYTES", 1000)
    store = device.store
    store.prepare()
    reader = client.Client(site.url, site.root.read_bytes(), store.metadata, store.incoming)
    (release,) = reader.releases("stable")
    with pytest.raises(ModelError, match=r"bundle-1\.1\.0\.zip has \d+ bytes"):
        reader.download(release.target, store.incoming / "bundle.zip")
    assert not any("bundle" in path for path in site.asked)


def test_a_server_that_is_not_there(site: Site, device: Device) -> None:
    site.answers["timestamp.json"] = lambda handler: handler.send_error(503)
    refuses(device, "503", code=3)
    site.url = "http://127.0.0.1:9"  # discard: nothing listens there
    refuses(device, "cannot be read: Connection refused", code=3)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=False).returncode
    ):
        pytest.skip("needs root and mount, for a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(site: Site, device: Device, small_disk: Path) -> None:
    device.settings["folder"] = str(small_disk / "update")
    assert device.run("apply").returncode == 0
    device.store.settle("1.1.0")
    site.publish("1.2.0")
    filler = small_disk / "filler"
    for free in (0, 8 << 10, 60 << 10, 120 << 10):
        filler.write_bytes(b"")
        with filler.open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space"):
            while True:
                stream.write(bytes(4096))
        os.truncate(filler, filler.stat().st_size - free)
        done = device.run("apply")
        if done.returncode == 0:
            break
        assert_one_line(done, 6, "No space left on device")
        assert device.store.version == "1.1.0"
        with load_bundle(device.store.path("1.1.0")) as bundle:
            bundle.variant("int8")
    filler.unlink()
    assert device.run("apply").returncode == 0
    assert device.store.version == "1.2.0"
