"""A repository with one release, and a device that trusts it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.models.bundles import copy_bundle
from support.servers.update_site import Device, Site, served


@pytest.fixture(scope="session")
def made_site(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A repository with version 1.1.0; it is not served."""
    site = Site(tmp_path_factory.mktemp("site"), tiny_bundle)
    site.create()
    site.publish("1.1.0")
    return site


@pytest.fixture
def site(made_site: Site, tmp_path: Path) -> Iterator[Site]:
    """A copy of it, served."""
    folder = tmp_path / "site"
    shutil.copytree(made_site.folder, folder)
    with served(Site(folder, made_site.bundle)) as site:
        yield site


@pytest.fixture
def device(site: Site, tmp_path: Path, tiny_bundle: Path) -> Device:
    """A device with the model 1.0.0 that trusts the repository."""
    bundle = copy_bundle(tiny_bundle, tmp_path / "installed", version="1.0.0")
    device = Device(tmp_path / "device", site, bundle)
    device.trust()
    return device
