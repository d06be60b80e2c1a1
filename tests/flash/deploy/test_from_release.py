"""``fer-edge deploy --from-release``: a signed repository on a real web server, and devices with a real sshd."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fer_edge.model.bundle import DEFAULT_BUNDLE
from fer_flash.payload.assemble import completed
from fer_flash.payload.folder import write_payload
from fer_flash.payload.payload_file import PayloadFile
from fer_release import repository
from fer_release.payloads import publish
from fer_release.repository import create_repository
from support.devices.device import this_release, why_no_device
from support.devices.fleet import Fleet, fleet, table_of
from support.devices.target import CONFIG
from support.processes.edge_command import assert_one_line, fer_edge
from support.servers.sshd import needs_sshd
from support.servers.update_site import ONE, Site, served

SETTINGS = '[source]\nuris = ["demo"]\nrealtime = true\n'
HOSTS = ("kitchen", "hall")
needs_devices = [needs_sshd, pytest.mark.skipif(bool(why_no_device()), reason=str(why_no_device()))]


@pytest.fixture(scope="module")
def program(small_wheels: list[PayloadFile], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A payload of the program alone."""
    folder = tmp_path_factory.mktemp("program") / "payload"
    write_payload(completed(this_release(), platform.machine(), small_wheels), folder)
    return folder


@pytest.fixture(scope="module")
def older(small_wheels: list[PayloadFile], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A payload of an older version; it cannot be installed, because its wheel has another version than its name."""
    folder = tmp_path_factory.mktemp("older") / "payload"
    renamed = [
        replace(wheel, path="wheels/fer_edge-0.0.9-py3-none-any.whl") if "fer_edge" in wheel.path else wheel
        for wheel in small_wheels
    ]
    write_payload(completed(this_release(), platform.machine(), renamed), folder)
    return folder


@pytest.fixture(scope="module")
def made_site(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A repository that the real command has published the program to; it is not served."""
    site = Site(tmp_path_factory.mktemp("site"), DEFAULT_BUNDLE)
    site.create()
    words = ["--payload", program, "--to", site.repo, "--keys", site.keys.folder]
    done = fer_edge("release", "publish", *words, cwd=site.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"program 0.1.0 for {this_release().name} on {platform.machine()}\n"
    return site


@pytest.fixture
def site(made_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A copy of it, served, and an operator who has not seen it yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(made_site.folder, tmp_path / "site")
    (tmp_path / "config.toml").write_text(SETTINGS)
    with served(Site(tmp_path / "site", made_site.bundle)) as site:
        yield site


@pytest.fixture(scope="module")
def devices(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two devices with sshd, at first without FER-Edge."""
    with fleet(HOSTS, program, tmp_path_factory.mktemp("fleet")) as made:
        yield made


def deploy(devices: Fleet, site: Site, *words: object) -> subprocess.CompletedProcess[str]:
    options = ["--from-release", site.url, "--ssh-config", devices.config, "--yes"]
    return fer_edge("deploy", *words, *options, cwd=site.folder.parent)


def contacts(devices: Fleet) -> list[str]:
    """What the sshd of each device has logged."""
    return [(devices.devices[name].folder / "sshd.log").read_text() for name in HOSTS]


class TestWithDevices:
    pytestmark = needs_devices

    def test_all_get_what_is_signed_and_a_repeat_downloads_nothing(self, devices: Fleet, site: Site) -> None:
        done = deploy(devices, site, *HOSTS, "--trust", site.root, "--settings", "config.toml")
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert done.stdout.startswith(f"{this_release().name}-{platform.machine()}: 0.1.0, verified\n2 hosts")
        assert table_of(done.stdout) == dict.fromkeys(HOSTS, ("installed", ""))
        for name in HOSTS:
            target = devices.devices[name]
            assert target.state == "active"
            assert target.device.path(CONFIG).read_text() == SETTINGS
        site.asked.clear()
        again = deploy(devices, site, *HOSTS, "--settings", "config.toml")  # --trust is needed once
        assert (again.returncode, again.stderr) == (0, ""), again.stdout
        assert set(table_of(again.stdout).values()) == {("up to date", "")}
        assert "/metadata/timestamp.json" in site.asked
        assert not [path for path in site.asked if path.startswith("/targets/payload/")]

    @pytest.mark.slow
    def test_an_older_version_than_that_of_the_device_is_refused(self, devices: Fleet, site: Site, older: Path) -> None:
        first = deploy(devices, site, "kitchen", "--trust", site.root)
        assert first.returncode == 0, first.stderr
        before = devices.devices["kitchen"].current
        shutil.rmtree(site.repo)
        create_repository(site.repo, site.keys, ONE, ONE)
        publish(site.repository, [older], site.keys)
        refused = deploy(devices, site, "kitchen", "--trust", site.root)
        assert_one_line(refused, 1, "kitchen: has 0.1.0, and the repository offers 0.0.9: refused", "--payload")
        assert devices.devices["kitchen"].current == before

    @pytest.mark.slow
    def test_a_repository_that_is_not_as_it_was_signed_reaches_no_device(
        self, devices: Fleet, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = shutil.copytree(site.repo, site.folder / "seen")
        site.refresh()
        assert deploy(devices, site, "kitchen", "--trust", site.root, "--dry-run").returncode == 0
        before = contacts(devices)

        def refuses(*parts: str, words: tuple[object, ...] = (), code: int = 4) -> None:
            for hosts in (HOSTS[:1], HOSTS):
                assert_one_line(deploy(devices, site, *hosts, *words), code, site.url, *parts)
            assert contacts(devices) == before

        current = shutil.copytree(site.repo, site.folder / "current")
        # An older state of the repository.
        shutil.copytree(seen / "metadata", site.repo / "metadata", dirs_exist_ok=True)
        refuses("older than what this computer has seen")
        # A changed file of the payload, which is not in the cache.
        shutil.copytree(current, site.repo, dirs_exist_ok=True)
        shutil.rmtree(site.folder.parent / "cache")
        for path in (site.repo / "targets" / "payload").iterdir():
            path.write_bytes(path.read_bytes().replace(b"set -eu", b"set -e ", 1))
        refuses("differs from what is signed")
        # Another owner's repository at the same address, and their root of trust for ours.
        shutil.rmtree(site.repo)
        others = replace(site.keys, folder=site.folder / "their keys")
        create_repository(site.repo, others, ONE, ONE)
        theirs = shutil.copy(site.root, site.folder / "theirs.json")
        for _ in range(5):
            site.repository.refresh(others)
        refuses("not signed by the keys that this computer trusts")
        shutil.rmtree(site.repo)
        shutil.copytree(current, site.repo)
        refuses("not signed by the keys", words=("--trust", theirs))
        assert deploy(devices, site, "kitchen", "--dry-run").returncode == 0, "the refused root replaced ours"
        before = contacts(devices)
        # A repository that is not refreshed any more.
        monkeypatch.setitem(repository.VALID_DAYS, "timestamp", -1)
        site.refresh()
        refuses("timestamp.json is expired", "not refreshed")
        # None at all.
        site.url = "http://127.0.0.1:9"  # discard: nothing listens there
        refuses(
            "cannot be read: Connection refused",
            words=("--trust", site.folder / "current/metadata/1.root.json"),
            code=3,
        )

    @pytest.mark.slow
    def test_a_folder_serves_as_well(self, devices: Fleet, site: Site) -> None:
        words = ["--from-release", "site/repo", "--ssh-config", devices.config, "--dry-run"]
        done = fer_edge("deploy", "hall", *words, "--trust", site.root, cwd=site.folder.parent)
        assert (done.returncode, done.stderr) == (0, "")
        assert "to send: " in done.stdout
        assert not site.asked


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--from-release", "{url}"], 2, "no root of trust yet: pass its 1.root.json once with --trust"),
        (["--from-release", "{url}", "--trust", "none.json"], 2, "none.json: cannot read the root of trust"),
        (["--from-release", "{url}", "--trust", "config.toml"], 2, "config.toml: not a root of trust"),
        (["--from-release", "ftp://example.org"], 2, "ftp://example.org: must be a folder, or a URL"),
        (["--from-release", "site"], 2, "site: not a release repository"),
        (["--from-release", "{url}", "--payload", "payload"], 2, "leave out --payload and --remove"),
        (["--from-release", "{url}", "--remove"], 2, "leave out --payload and --remove"),
        (["--from-release", "{url}", "--settings", "none.toml"], 2, "none.toml: "),
        (["--trust", "root.json"], 2, "--trust requires --from-release"),
    ],
)
def test_what_was_asked_wrongly_is_one_line(site: Site, words: list[str], code: int, said: str) -> None:
    given = [word.format(url=site.url) for word in words]
    assert_one_line(fer_edge("deploy", "nowhere", "--yes", *given, cwd=site.folder.parent), code, said)
    assert not [path for path in site.asked if path.startswith("/targets/")]


def test_a_repository_without_a_payload_is_one_line(site: Site) -> None:
    shutil.rmtree(site.repo)
    create_repository(site.repo, site.keys, ONE, ONE)
    words = ["--yes", "--from-release", site.url, "--trust", site.root]
    assert_one_line(fer_edge("deploy", "nowhere", *words, cwd=site.folder), 2, "contains no payload", "release publish")
