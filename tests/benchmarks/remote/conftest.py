"""A device that measures, for all tests of ``fer-edge bench --on``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.devices.measuring import Measuring, measuring_device


@pytest.fixture(scope="session")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measuring]:
    with measuring_device(tmp_path_factory.mktemp("measuring")) as made:
        yield made
