"""``fer-edge release publish --payload``: what it accepts, and what the repository contains then."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_flash.payload.assemble import completed
from fer_flash.payload.folder import write_payload
from fer_flash.payload.own_wheel import make_wheel
from fer_flash.payload.payload_file import PayloadFile
from fer_flash.payload.releases import RELEASES
from fer_release.payloads import payloads
from fer_release.repository import ROLES, KeyStore, Repository, create_repository
from support.processes.edge_command import assert_one_line, fer_edge


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[PayloadFile]:
    """FER-Edge's own wheel and pip's."""
    folder = tmp_path_factory.mktemp("wheels")
    made = [make_wheel(name, folder) for name in ("fer-edge", "pip")]
    return [PayloadFile(f"wheels/{wheel.name}", wheel) for wheel in made]


@pytest.fixture
def write(wheels: list[PayloadFile], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a payload, with other files, to a new folder."""

    def write(name: str, *others: PayloadFile, release: str = "trixie") -> Path:
        write_payload(completed(RELEASES[release], "aarch64", wheels, others), tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    one = dict.fromkeys(ROLES, 1)
    create_repository(tmp_path / "repo", KeyStore(tmp_path / "repo.keys"), one, one)
    return tmp_path / "repo"


def test_systems_share_their_files_and_a_version_is_published_once(
    folder: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    both = ["--payload", write("a"), "--payload", write("b", release="bookworm")]
    for _ in range(2):  # the same again changes nothing
        done = fer_edge("release", "publish", *both, "--to", folder, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "program 0.1.0 for trixie on aarch64\nprogram 0.1.0 for bookworm on aarch64\n"
        listed = payloads(Repository(folder))
        assert [payload.system for payload in listed] == ["trixie-aarch64", "bookworm-aarch64"]
        different = {sha256 for payload in listed for sha256 in payload.files.values()}
        assert len(list((folder / "targets" / "payload").iterdir())) == len(different)
        assert len(different) < sum(len(payload.files) for payload in listed)
    shown = fer_edge("release", "status", folder, cwd=tmp_path).stdout
    assert "program:\n  0.1.0  bookworm on aarch64\n  0.1.0  trixie on aarch64\n" in shown
    other = write("c")
    (other / "install.sh").write_text("exit 1\n")
    lines = (other / "SHA256SUMS").read_text().splitlines()
    digest = PayloadFile("install.sh", other / "install.sh").sha256()
    kept = [line for line in lines if not line.endswith("  install.sh")]
    (other / "SHA256SUMS").write_text("\n".join([f"{digest}  install.sh", *kept]) + "\n")
    refused = fer_edge("release", "publish", "--payload", other, "--to", folder, cwd=tmp_path)
    assert_one_line(refused, 2, "another payload of 0.1.0 for trixie-aarch64 was published: raise the version")


@pytest.mark.parametrize(
    "private",
    [
        PayloadFile("config.toml", b'[source]\nuris = ["demo"]\n'),
        PayloadFile("config.toml", b'[source]\nuris = ["rtsp://a:b@camera/"]\n', secret=True),
        PayloadFile("secrets/mqtt-password", b"secret\n", secret=True),
        PayloadFile("certificates/ca.pem", b"a certificate\n"),
        PayloadFile("bundle/manifest.json", b"{}"),
    ],
    ids=lambda file: file.path + " secret" * file.secret,
)
def test_a_payload_with_settings_secrets_or_a_model_is_not_published(
    folder: Path, write: Callable[..., Path], private: PayloadFile, tmp_path: Path
) -> None:
    payload = write("payload", private)
    done = fer_edge("release", "publish", "--payload", payload, "--to", folder, cwd=tmp_path)
    assert_one_line(done, 2, f"{payload}: a repository is public", "write this one without --settings and --bundle")
    assert not list((folder / "targets").iterdir())


def test_a_payload_that_was_changed_is_not_published(folder: Path, write: Callable[..., Path], tmp_path: Path) -> None:
    payload = write("payload")
    (payload / "install.sh").write_text("exit 1\n")
    done = fer_edge("release", "publish", "--payload", payload, "--to", folder, cwd=tmp_path)
    assert_one_line(done, 1, "install.sh: has changed since it was made")
    shutil.rmtree(payload)
    done = fer_edge("release", "publish", "--payload", payload, "--to", folder, cwd=tmp_path)
    assert_one_line(done, 2, "not a readable payload")
    assert not list((folder / "targets").iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to publish: give a BUNDLE, or --payload DIR"),
        (["bundle"], "bundle: a bundle needs --gate TOML, or --no-gate"),
        (["--payload", "payload", "--no-gate"], "are for a BUNDLE"),
        (["--payload", "payload", "--rollout", "0%"], "are for a BUNDLE"),
        (["--payload", "payload", "--channel", "stable"], "are for a BUNDLE"),
    ],
)
def test_what_was_asked_wrongly_is_one_line(folder: Path, words: list[str], said: str, tmp_path: Path) -> None:
    assert_one_line(fer_edge("release", "publish", *words, "--to", folder, cwd=tmp_path), 2, said)
