"""``docs/how-to/lost-key.md``: all its commands, run unchanged on a repository whose keys were lost and stolen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fer_edge.update.store import Store
from fer_release.repository import ROLES, KeyStore, Repository, create_repository
from support.environments.fresh_install import CHECKOUT
from support.models.bundles import copy_bundle
from support.servers.update_site import ONE, Site, served
from support.tutorials import Shell, blocks, prints, steps

PAGE = (CHECKOUT / "docs" / "how-to" / "lost-key.md").read_text(encoding="utf-8")


@dataclass
class NamedSite(Site):
    """A repository with the names of the page; two of three keys of root must sign."""

    @property
    def repo(self) -> Path:
        return self.folder / "fleet"

    @property
    def keys(self) -> KeyStore:
        return KeyStore(self.folder / "fleet.keys")

    def create(self) -> None:
        create_repository(self.repo, self.keys, {**ONE, "root": 3}, {**ONE, "root": 2})

    def key_files(self, role: str) -> list[Path]:
        """The files of the valid keys."""
        return [self.keys.folder / f"{role}-{known[:12]}.pem" for known in self.key_ids(role)]

    def key_ids(self, role: str) -> list[str]:
        return list(Repository(self.repo).root.signed.roles[role].keyids)


@pytest.fixture
def site(tiny_bundle: Path, tmp_path: Path) -> Iterator[NamedSite]:
    """A repository with 1.1.0."""
    site = NamedSite(tmp_path, tiny_bundle)
    site.create()
    site.publish("1.1.0")
    with served(site):
        yield site


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 25 commands; two of them import TensorFlow
def test_its_commands_replace_each_key_and_a_device_follows(site: NamedSite, tiny_bundle: Path) -> None:
    folder = site.folder
    copy_bundle(tiny_bundle, folder / "installed", version="1.0.0")
    copy_bundle(tiny_bundle, folder / "models" / "fer-edge-s", version="1.3.0")
    lost = site.key_ids("root")[0]
    shell = Shell(
        folder,
        ID=lost[:12],
        FER_EDGE_MODEL_BUNDLE=str(folder / "installed"),
        FER_EDGE_UPDATE_URL=site.url,
        FER_EDGE_UPDATE_FOLDER=str(folder / "update"),
        FER_EDGE_UPDATE_TRUST_CLOCK="true",
    )
    at_first = "fer-edge update trust fleet/metadata/1.root.json\nfer-edge update apply --now"
    assert shell.run(at_first)[0] == 0
    Store(folder / "update").settle("1.1.0")  # as after its probation
    site.publish("1.2.0")  # by the thief
    assert shell.run("fer-edge update apply --now")[0] == 0
    old = {role: site.key_ids(role) for role in ROLES}
    for path in (*site.key_files("timestamp"), *site.key_files("targets"), site.key_files("root")[0]):
        path.unlink()
    ran = 0
    for step in steps(PAGE):
        code, printed = shell.run(step.commands)
        assert code == step.code, f"line {step.line}:\n{printed}"
        assert prints(step.shown, printed), f"line {step.line}: it printed\n{printed}"
        ran += 1
        if "init new" in step.commands:  # all keys were replaced before
            replaced = Repository(folder / "fleet.lost").root.signed.roles
            for role in ("targets", "snapshot", "timestamp"):
                assert not set(old[role]) & set(replaced[role].keyids)
            assert set(old["root"]) - set(replaced["root"].keyids) == {lost}
    assert ran == sum(block.kind == "sh" for block in blocks(PAGE)) > 0
    assert not [block for block in blocks(PAGE) if block.kind == "console"], "commands that no test runs"
