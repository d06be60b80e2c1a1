"""The real apt downloads missing packages from a signed repository; the cache is verified at each use."""

from __future__ import annotations

import os
import shutil
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import CheckFailedError, InputError, OutputError
from fer_flash.image.stock_system import installed_packages
from fer_flash.payload.packages.apt_sources import AptSources, read_apt_sources
from fer_flash.payload.packages.collect import PICAMERA2, SystemPackages, collect_packages, packages_folder
from support.cards.pi_settings import FolderVolume
from support.servers.apt_repository import Repository, make_deb, needs_apt, served

STATUS = "var/lib/dpkg/status"
PATHS = st.lists(st.text(string.ascii_lowercase + "-", min_size=1, max_size=9), min_size=1, max_size=3).map("/".join)


def stanza(name: str, version: str = "1.0", architecture: str = "arm64", depends: str = "") -> str:
    more = f"Depends: {depends}\n" if depends else ""
    return (
        f"Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: {version}\n"
        f"Maintainer: Test <t@example>\n{more}Description: stand-in\n\n"
    )


# Contents of an image


def root(folder: Path, **files: str) -> FolderVolume:
    return FolderVolume(folder / "root").put({STATUS: stanza("dpkg"), **files})


def test_both_spellings_of_sources_get_the_images_own_keyrings(tmp_path: Path) -> None:
    image = root(tmp_path).put(
        {
            "etc/apt/sources.list": "# deb http://o x y\ndeb [arch=arm64 signed-by=/usr/share/k/a.gpg] http://a x y\n",
            "etc/apt/sources.list.d/b.sources": (
                "Types: deb\nURIs: http://b\nSigned-By: /usr/share/k/b.pgp\n /usr/share/k/a.gpg\n"
            ),
            "etc/apt/sources.list.d/b.sources.dpkg-old": "deb http://never x y\n",
            "etc/apt/trusted.gpg.d/c.asc": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
            "etc/apt/trusted.gpg.d/readme.txt": "no key\n",
            "etc/apt/preferences.d/pin": "Package: *\n",
            "usr/share/k/a.gpg": b"\x99binary",
            "usr/share/k/b.pgp": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
        }
    )
    found = read_apt_sources(image).place_at("/private/keys")
    assert found == {
        "keyrings/0.gpg": b"\x99binary",
        "keyrings/1.asc": b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
        "preferences.d/pin": b"Package: *\n",
        "sources.list.d/b.sources": (
            b"Types: deb\nURIs: http://b\nSigned-By: /private/keys/1.asc\n /private/keys/0.gpg\n"
        ),
        "sources.list.d/sources.list": (
            b"# deb http://o x y\ndeb [arch=arm64 signed-by=/private/keys/0.gpg] http://a x y\n"
        ),
        "trusted.gpg.d/c.asc": b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
    }


def test_a_key_that_stands_in_the_source_stays_there(tmp_path: Path) -> None:
    text = "Types: deb\nURIs: http://b\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEZm9v/abc/def\n"
    image = root(tmp_path).put({"etc/apt/sources.list.d/b.sources": text})
    assert read_apt_sources(image).place_at("/k") == {"sources.list.d/b.sources": text.encode()}


@given(path=PATHS, options=st.sampled_from(["signed-by={}", "arch=arm64 signed-by={}", "signed-by={} arch=arm64"]))
def test_no_path_of_the_image_is_looked_for_on_this_machine(
    tmp_path_factory: pytest.TempPathFactory, path: str, options: str
) -> None:
    line = f"deb [{options.format(f'/{path}.gpg')}] http://example/debian trixie main\n"
    image = root(tmp_path_factory.mktemp("image")).put({"etc/apt/sources.list": line, f"{path}.gpg": b"\x99"})
    (rewritten,) = (data for name, data in read_apt_sources(image).place_at("/k").items() if "sources" in name)
    assert rewritten.decode() == line.replace(f"/{path}.gpg", "/k/0.gpg")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no package sources"),
        ({"etc/apt/sources.list": "# deb http://a x y\n"}, "no package sources"),
        ({"etc/apt/sources.list": "deb [signed-by=/usr/k.gpg] http://a x y\n"}, "keyring /usr/k.gpg, which the image"),
        ({"etc/apt/sources.list": "deb [trusted=yes] http://a x y\n"}, "turns signature checks off"),
        ({"etc/apt/sources.list.d/a.sources": "Types: deb\nTrusted: yes\n"}, "turns signature checks off"),
    ],
)
def test_sources_that_cannot_be_used_are_refused(tmp_path: Path, files: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        read_apt_sources(root(tmp_path, **files))
    assert "\n" not in str(refused.value)


def test_only_installed_packages_count() -> None:
    held = stanza("b", "1:2.3~rc1").replace("install ok", "hold ok")
    gone = stanza("c").replace("install ok installed", "deinstall ok config-files")
    found = installed_packages(stanza("a", architecture="all") + held + gone)
    assert {name: (package.architecture, package.version) for name, package in found.items()} == {
        "a": ("all", "1.0"),
        "b": ("arm64", "1:2.3~rc1"),
    }


# Packages that apt downloads


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A small version of Raspberry Pi's archive: picamera2, its dependencies, and other packages."""
    made = Repository(tmp_path_factory.mktemp("repository") / "archive")
    camera = "python3-libcamera (>= 0.5), python3-numpy (>= 2), python3:any"
    make_deb(made.pool, PICAMERA2, "0.3.31-1", depends=camera, fields={"Recommends": "python3-pyqt5"})
    make_deb(
        made.pool, "python3-libcamera", "1:0.5.2+rpt-1", architecture="arm64", depends="libcamera0.5 (= 1:0.5.2+rpt-1)"
    )
    for name in ("libcamera0.5", "libcamera-ipa"):
        make_deb(made.pool, name, "1:0.5.2+rpt-1", architecture="arm64", depends="libc6 (>= 2)")
    for name in ("python3-pyqt5", "python3-numpy"):
        make_deb(made.pool, name, "2.0")
    made.publish()
    with served(made):
        yield made
    made.close()


def sources_of(folder: Path, repository: Repository, *more: str, key: bytes | None = None) -> AptSources:
    installed = (
        stanza("dpkg")
        + stanza("libc6", "2.36")
        + stanza("python3", "3.11").replace("Maintainer", "Multi-Arch: allowed\nMaintainer")
    )
    image = FolderVolume(folder / "image").put({STATUS: installed + "".join(more), **repository.on_image(key)})
    return read_apt_sources(image)


def collected(folder: Path, sources: AptSources, *, force: bool = False) -> SystemPackages:
    return collect_packages("trixie", sources, [PICAMERA2], cache=folder / "cache", force=force)


@needs_apt
def test_what_the_image_lacks_comes_and_nothing_else(repository: Repository, tmp_path: Path) -> None:
    told: list[str] = []
    older = (
        stanza("libcamera0.5", "1:0.5.0-1", depends="libc6"),
        stanza("libcamera-ipa", "1:0.5.0-1", depends="libc6"),
        stanza("python3-numpy", "2.0", "all"),
    )
    sources = sources_of(tmp_path, repository, *older)
    found = collect_packages("trixie", sources, [PICAMERA2], cache=tmp_path / "cache", report=told.append)
    assert {deb.name: deb.version for deb in found.debs} == {
        PICAMERA2: "0.3.31-1",
        "python3-libcamera": "1:0.5.2+rpt-1",
        "libcamera0.5": "1:0.5.2+rpt-1",  # the image's is too old for it
        "libcamera-ipa": "1:0.5.2+rpt-1",  # which nothing depends on in a version
    }
    assert all(deb.path.read_bytes() == (repository.pool / deb.path.name).read_bytes() for deb in found.debs)
    assert "4 packages downloaded" in told[-1] and not found.from_network
    assert {line.split()[0] for line in (deb.as_line() for deb in found.debs)} == {
        PICAMERA2,
        "python3-libcamera:arm64",
        "libcamera0.5:arm64",
        "libcamera-ipa:arm64",
    }
    # Downloaded once: also works without apt.
    repository.requests.clear()
    assert collected(tmp_path, sources) == found and not repository.requests
    # Another image gets its own.
    assert len(collected(tmp_path, sources_of(tmp_path, repository)).debs) == 5


@needs_apt
def test_what_is_not_as_recorded_is_refused_and_fetched_again_when_asked(
    repository: Repository, tmp_path: Path
) -> None:
    sources = sources_of(tmp_path, repository)
    deb = collected(tmp_path, sources).debs[0]
    good = deb.path.read_bytes()
    deb.path.write_bytes(good[:-10])
    with pytest.raises(CheckFailedError, match=r"damaged or replaced; fer-edge flash debs --force downloads it again"):
        collected(tmp_path, sources)
    assert collected(tmp_path, sources, force=True).debs[0].path.read_bytes() == good
    folder = packages_folder("trixie", sources, [PICAMERA2], tmp_path / "cache")
    for damaged in (b'{"debs": [{"name": "../../x"}]}', b'{"format": 2, "debs": [{"name": "\xff"}]}', b"{"):
        (folder / "packages.json").write_bytes(damaged)
        with pytest.raises(CheckFailedError, match=r"packages\.json: damaged"):
            collected(tmp_path, sources)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "nothing half is left behind"


@needs_apt
def test_a_key_that_is_not_the_images_is_refused(repository: Repository, tmp_path: Path) -> None:
    stranger = Repository(tmp_path / "other")
    stranger.close()
    with pytest.raises(CheckFailedError, match=r"a signature is not valid: .*(NO_PUBKEY|sqv)") as refused:
        collected(tmp_path, sources_of(tmp_path, repository, key=stranger.key))
    assert "\n" not in str(refused.value) and not (tmp_path / "cache").exists()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Repository]:
    """A repository for one test to damage."""
    made = Repository(tmp_path / "own")
    make_deb(made.pool, PICAMERA2, depends="python3-libcamera")
    make_deb(made.pool, "python3-libcamera", architecture="arm64", files={"usr/lib/x": os.urandom(20000)})
    make_deb(made.pool, "libcamera-ipa", architecture="arm64")
    made.publish()
    with served(made):
        yield made
    made.close()


@needs_apt
def test_lists_that_were_changed_after_they_were_signed_are_refused(own: Repository, tmp_path: Path) -> None:
    signed = own.folder / "dists" / "stable" / "InRelease"
    signed.write_bytes(signed.read_bytes().replace(b"Origin: test", b"Origin: tset"))
    with pytest.raises(CheckFailedError, match=r"a signature is not valid: .*(BADSIG|sqv)"):
        collected(tmp_path, sources_of(tmp_path, own))


@needs_apt
def test_a_list_without_a_signature_is_refused(own: Repository, tmp_path: Path) -> None:
    signed = own.folder / "dists" / "stable" / "InRelease"
    body = signed.read_text().split("\n\n", 1)[1].split("-----BEGIN PGP SIGNATURE")[0]
    signed.unlink()
    (signed.parent / "Release").write_text(body)
    with pytest.raises(CheckFailedError, match=r"a signature is not valid: .*not signed"):
        collected(tmp_path, sources_of(tmp_path, own))


@needs_apt
@pytest.mark.parametrize("spoil", ["truncated", "changed"])
def test_a_package_that_is_not_as_listed_is_refused(own: Repository, tmp_path: Path, spoil: str) -> None:
    (deb,) = own.pool.glob("python3-libcamera*")
    data = deb.read_bytes()
    deb.write_bytes(data[: len(data) // 2] if spoil == "truncated" else data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckFailedError, match="a file does not match its signed list") as refused:
        collected(tmp_path, sources_of(tmp_path, own))
    assert "\n" not in str(refused.value) and not (tmp_path / "cache").exists()


@needs_apt
@pytest.mark.parametrize(("gone", "named"), [(PICAMERA2, PICAMERA2), ("python3-libcamera", "python3-libcamera")])
def test_a_package_that_no_source_has_is_named(own: Repository, tmp_path: Path, gone: str, named: str) -> None:
    next(own.pool.glob(f"{gone}_*")).unlink()
    own.publish()
    with pytest.raises(InputError, match=f"do not have {PICAMERA2}, or lack a dependency of it: .*{named}"):
        collected(tmp_path, sources_of(tmp_path, own))


@needs_apt
def test_nothing_of_the_image_goes_for_it(own: Repository, tmp_path: Path) -> None:
    make_deb(own.pool, PICAMERA2, "2.0", fields={"Conflicts": "dpkg"})
    own.publish()
    with pytest.raises(InputError, match=f"{PICAMERA2}: it conflicts with packages of the image: .*newer image"):
        collected(tmp_path, sources_of(tmp_path, own))


@needs_apt
def test_a_source_that_does_not_answer_is_told(own: Repository, tmp_path: Path) -> None:
    sources = sources_of(tmp_path, own)
    shutil.rmtree(own.folder / "dists")
    with pytest.raises(InputError, match=r"the package lists: .*(404|no longer have)"):
        collected(tmp_path, sources)
    away = AptSources(sources.status, tuple((p, d.replace(b":%d" % own.port, b":9")) for p, d in sources.files))
    with pytest.raises(InputError, match=r"cannot be downloaded: .*check the network"):
        collected(tmp_path, away)


@needs_apt
def test_a_list_of_another_time_names_the_clock(own: Repository, tmp_path: Path) -> None:
    own.publish(valid_until="Sun, 02 Nov 2025 00:00:00 +0000")
    with pytest.raises(InputError, match=r"is expired .* check this computer's date and time"):
        collected(tmp_path, sources_of(tmp_path, own))


def test_without_apt_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = AptSources(b"", (("sources.list.d/a.list", b"deb http://127.0.0.1:9 x y\n"),))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"needs apt \(apt-get, .* not found here\): .*--apt-online") as refused:
        collected(tmp_path, sources)
    assert "\n" not in str(refused.value)


@needs_apt
def test_a_cache_that_cannot_be_written_is_one_line(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file\n")
    with pytest.raises(OutputError, match="cannot write packages there"):
        collected(tmp_path, sources_of(tmp_path, repository))
