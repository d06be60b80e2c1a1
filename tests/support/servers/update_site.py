"""A repository of signed releases, a web server for it that can misbehave, and a device that updates from it."""

from __future__ import annotations

import io
import json
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import msgspec

from fer_edge.model.bundle import load_bundle
from fer_edge.settings.toml_files import dump_toml
from fer_edge.update.format import FORMAT, Channel, Release, channel_target
from fer_edge.update.store import Store
from fer_release.bundles import publish, releases
from fer_release.repository import ROLES, KeyStore, Repository, create_repository
from support.models.bundles import copy_bundle
from support.processes.edge_command import fer_edge

ONE = dict.fromkeys(ROLES, 1)
Answer = Callable[[SimpleHTTPRequestHandler], None]


@dataclass
class Site:
    """A repository in ``folder``/repo with its keys, served at ``url``.

    ``answers`` replace the files whose path ends with the key. ``asked`` are the paths that were requested.
    """

    folder: Path
    bundle: Path
    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def repo(self) -> Path:
        return self.folder / "repo"

    @property
    def keys(self) -> KeyStore:
        return KeyStore(self.folder / "keys")

    @property
    def repository(self) -> Repository:
        return Repository(self.repo)

    @property
    def root(self) -> Path:
        """The root of trust."""
        return self.repo / "metadata" / "1.root.json"

    def create(self) -> None:
        create_repository(self.repo, self.keys, ONE, ONE)

    def publish(self, version: str, channel: str = "stable", rollout: int = 100, **manifest: Any) -> None:
        folder = self.folder / f"bundle-{version}"
        copy_bundle(self.bundle, folder, version=version, **manifest)
        with load_bundle(folder) as bundle:
            publish(self.repository, bundle, channel, rollout, self.keys)
        shutil.rmtree(folder)

    def publish_archive(self, version: str, change: Callable[[dict[str, bytes]], None]) -> None:
        """Sign what the command would refuse to sign: the files of 1.1.0, with another version, after ``change``."""
        archive = self.repository.read_target("bundle-1.1.0.zip")
        assert archive is not None
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            files = {name: packed.read(name) for name in packed.namelist()}
        files["manifest.json"] = json.dumps({**json.loads(files["manifest.json"]), "version": version}).encode()
        change(files)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as packed:
            for name, data in files.items():
                packed.writestr(name, data)
        target = f"bundle-{version}.zip"
        listed = Channel(FORMAT, [*releases(self.repository, "stable"), Release(version, target, 100)])
        signed = {target: buffer.getvalue(), channel_target("stable"): msgspec.json.encode(listed)}
        self.repository.publish(signed, {}, self.keys)

    def refresh(self) -> None:
        self.repository.refresh(self.keys)


@contextmanager
def served(site: Site) -> Iterator[Site]:
    """Serve ``site`` while the block runs."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(site.repo))

        def do_GET(self) -> None:
            site.asked.append(self.path)
            for suffix, answer in site.answers.items():
                if self.path.endswith(suffix):
                    answer(self)
                    return
            super().do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the client has given up
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Device:
    """A device in ``folder`` that updates from ``site`` and trusts its root."""

    folder: Path
    site: Site
    bundle: Path
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def state_folder(self) -> Path:
        return Path(self.settings.get("folder", self.folder / "update"))

    @property
    def store(self) -> Store:
        return Store(self.state_folder)

    @property
    def config(self) -> Path:
        """The settings, written anew."""
        values = {
            "url": self.site.url,
            "folder": str(self.state_folder),
            "root": str(self.folder / "root.json"),
            "shadow_s": 0.0,
            "interval_s": 0.0,
            "trust_clock": True,
            **self.settings,
        }
        path = self.folder / "config.toml"
        path.write_text(
            dump_toml({"model": {"bundle": str(self.bundle)}, "mqtt": {"device": "door"}, "update": values})
        )
        return path

    def trust(self, root: Path | None = None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(root or self.site.root, self.folder / "root.json")

    def run(self, *words: str) -> CompletedProcess[str]:
        """Run ``fer-edge update`` with ``words``."""
        return fer_edge("update", *words, "--settings", self.config, cwd=self.folder)

    def status(self) -> dict[str, Any]:
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result


def running(module: str, parent: int | None = None) -> list[int]:
    """The processes that run ``python -m module``; only children of ``parent``, if given."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            if module.encode() in words and parent in (None, int(status[1])):
                found.append(int(folder.name))
    return found
