"""A signed repository of Debian packages on loopback, which the real apt fetches from."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

_PROGRAMS = ("apt-get", "dpkg-deb", "gpg", "gpg-agent")
MISSING = ", ".join(name for name in _PROGRAMS if shutil.which(name) is None)
needs_apt = pytest.mark.skipif(bool(MISSING), reason=f"no {MISSING}: apt-get install apt dpkg gpg gpg-agent")

KEYRING = "usr/share/keyrings/test-archive-keyring.pgp"
"""Path of the repository's key in an image."""


def make_deb(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    architecture: str = "all",
    depends: str = "",
    files: Mapping[str, str | bytes] | None = None,
    scripts: Mapping[str, str] | None = None,
    fields: Mapping[str, str] | None = None,
) -> Path:
    """Build a package in ``folder``; ``scripts`` are maintainer scripts such as ``postinst``."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        tree = Path(scratch)
        control = {"Package": name, "Version": version, "Architecture": architecture, "Maintainer": "Test <t@example>"}
        control |= {"Installed-Size": "12", **({"Depends": depends} if depends else {}), **(fields or {})}
        text = "".join(f"{key}: {value}\n" for key, value in {**control, "Description": "stand-in"}.items())
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN" / "control").write_text(text)
        for script, content in (scripts or {}).items():
            (tree / "DEBIAN" / script).write_text(content)
            (tree / "DEBIAN" / script).chmod(0o755)
        for path, content in (files or {f"usr/share/doc/{name}/copyright": "none\n"}).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(content.encode() if isinstance(content, str) else content)
        deb = folder / f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"
        command = ["dpkg-deb", "--root-owner-group", "--uniform-compression", "-Zgzip", "--build", str(tree), str(deb)]
        subprocess.run(command, check=True, capture_output=True)
    return deb


@dataclass
class Repository:
    """A repository in ``folder``, whose packages are the files in ``pool``; ``publish`` signs what is there."""

    folder: Path
    architecture: str = "arm64"
    port: int = 0
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pool = self.folder / "pool"
        self.pool.mkdir(parents=True)
        self._home = self.folder.parent / f"{self.folder.name}-keys"
        self._home.mkdir(mode=0o700)
        self.key = self.new_key("repository")

    def new_key(self, name: str) -> bytes:
        """Create a key with which to sign from now on; return its public key."""
        self._signer = f"{name}@example"
        self._gpg("--passphrase", "", "--quick-generate-key", self._signer, "ed25519", "sign", "never")
        return self._gpg("--export", self._signer)

    def publish(self, *, valid_until: str | None = None) -> None:
        """Write the indexes of the pool, and sign them."""
        lists = self.folder / "dists" / "stable" / "main" / f"binary-{self.architecture}"
        lists.mkdir(parents=True, exist_ok=True)
        packages = "".join(_stanza(deb, self.folder) for deb in sorted(self.pool.glob("*.deb"))).encode()
        (lists / "Packages").write_bytes(packages)
        release = (
            f"Origin: test\nSuite: stable\nCodename: stable\nArchitectures: {self.architecture}\nComponents: main\n"
        )
        date = subprocess.run(["date", "-Ru"], capture_output=True, text=True, check=True).stdout
        release += f"Date: {date}" + (f"Valid-Until: {valid_until}\n" if valid_until else "")
        digest = hashlib.sha256(packages).hexdigest()
        release += f"SHA256:\n {digest} {len(packages)} main/binary-{self.architecture}/Packages\n"
        signed = self._gpg("--local-user", self._signer, "--clearsign", stdin=release.encode())
        (self.folder / "dists" / "stable" / "InRelease").write_bytes(signed)

    @property
    def url(self) -> str:
        """Its address while it is running."""
        return f"http://127.0.0.1:{self.port}"

    def on_image(self, key: bytes | None = None) -> dict[str, bytes]:
        """Return the files of an image that uses this repository, by path on its root file system."""
        source = f"Types: deb\nURIs: {self.url}\nSuites: stable\nComponents: main\nSigned-By: /{KEYRING}\n"
        return {"etc/apt/sources.list.d/test.sources": source.encode(), KEYRING: key or self.key}

    def close(self) -> None:
        """Stop gpg's agent."""
        subprocess.run(["gpgconf", "--homedir", str(self._home), "--kill", "all"], check=False, capture_output=True)

    def _gpg(self, *words: str, stdin: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self._home), "--batch", "--quiet", *words]
        return subprocess.run(command, input=stdin, check=True, capture_output=True).stdout


@contextmanager
def served(repository: Repository) -> Iterator[Repository]:
    """Serve it during the block, at its previous port, if any."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            repository.requests.append(self.path)

    handler = functools.partial(Handler, directory=str(repository.folder))
    with ThreadingHTTPServer(("127.0.0.1", repository.port), handler) as server:
        repository.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield repository
        finally:
            server.shutdown()
            thread.join()


def _stanza(deb: Path, folder: Path) -> str:
    done = subprocess.run(["dpkg-deb", "--field", str(deb)], capture_output=True, text=True, check=True)
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    where = deb.relative_to(folder).as_posix()
    return f"{done.stdout.rstrip()}\nFilename: {where}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n\n"
