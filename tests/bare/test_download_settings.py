"""The settings with which `make test-bare` accesses package indexes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bare.download_settings import as_variables, download_settings


def test_pips_settings_become_variables_and_the_environment_overrules_files() -> None:
    listed = """\
:env:.timeout='7'
global.extra-index-url='file:///srv/more/simple\\nhttps://two.example/simple'
global.timeout='180'
install.no-compile='yes'
"""
    assert as_variables(listed) == {
        "PIP_TIMEOUT": "7",
        "PIP_EXTRA_INDEX_URL": "file:///srv/more/simple https://two.example/simple",
        "PIP_NO_COMPILE": "yes",
    }
    assert as_variables("") == {}


def test_files_and_folders_that_they_name_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index" / "simple").mkdir(parents=True)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path / 'wheels'} {tmp_path / 'missing'}")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"file://{tmp_path / 'index' / 'simple'}")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:8080")
    settings = download_settings()
    assert settings.environment["PIP_FIND_LINKS"] == f"{tmp_path / 'wheels'} {tmp_path / 'missing'}"
    assert settings.environment["HTTPS_PROXY"] == "http://proxy.example:8080"
    # The pages of an index lead to files next to it.
    assert {tmp_path / "wheels", tmp_path / "index", tmp_path / "ca.pem"} <= set(settings.paths)
    assert tmp_path / "missing" not in settings.paths
