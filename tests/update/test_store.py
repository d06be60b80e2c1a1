"""The folder of updates: what was interrupted is completed, and what changed meanwhile is not overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge.errors import CheckFailedError
from fer_edge.update.store import Store
from support.models.bundles import copy_bundle

VERSIONS = ("1.1.0", "1.2.0", "1.3.0")


@pytest.fixture
def store(tiny_bundle: Path, tmp_path: Path) -> Store:
    """A folder with three versions, of which 1.1.0 is settled."""
    store = Store(tmp_path / "update")
    store.prepare()
    for version in VERSIONS:
        copy_bundle(tiny_bundle, store.path(version), version=version)
    take(store, "1.1.0")
    store.settle("1.1.0")
    return store


def take(store: Store, version: str) -> None:
    store.update(candidate=version, stage="checked")
    store.switch(version)
    assert store.version == version


def link(store: Store, version: str) -> None:
    """Set the link as an interrupted process did."""
    path = store.folder / "current"
    path.unlink(missing_ok=True)
    path.symlink_to(f"versions/{version}")


def test_a_switch_that_was_interrupted_after_the_link_begins_the_probation(store: Store) -> None:
    store.update(candidate="1.2.0", stage="checked", previous="1.1.0")
    link(store, "1.2.0")
    state = store.reconcile()
    assert (state.probation, state.candidate, state.previous) == ("1.2.0", None, "1.1.0")


def test_a_return_that_was_interrupted_before_the_link_is_completed(store: Store) -> None:
    take(store, "1.2.0")
    store.refuse("1.2.0", "slow")
    assert store.version == "1.1.0"
    state = store.update(probation="1.2.0", previous="1.1.0")
    link(store, "1.2.0")
    state = store.reconcile()
    assert store.version == "1.1.0"
    assert (state.probation, state.previous) == (None, None)


def test_a_version_that_was_never_settled_is_not_returned_to(store: Store) -> None:
    take(store, "1.2.0")
    take(store, "1.3.0")
    assert store.state().previous == "1.1.0"
    store.refuse("1.3.0", "slow")
    assert store.version == "1.1.0"


def test_a_previous_version_that_is_refused_or_gone_gives_way_to_the_model_of_the_settings(store: Store) -> None:
    take(store, "1.2.0")
    store.refuse("1.1.0", "no good either")
    assert store.version == "1.2.0"
    store.refuse("1.2.0", "slow")
    assert store.version is None


def test_a_decision_on_a_version_that_is_no_longer_the_candidate_changes_nothing(store: Store) -> None:
    store.update(candidate="1.3.0", stage="verified")  # meanwhile another process has found a newer one
    assert store.advance("1.2.0", stage="shadow").stage == "verified"
    store.switch("1.2.0")
    store.settle("1.2.0")
    assert store.version == "1.1.0"
    assert (store.state().candidate, store.state().stage) == ("1.3.0", "verified")


def test_only_one_process_works_and_only_one_program_runs_a_version(store: Store) -> None:
    other = Store(store.folder)
    with store.working(), pytest.raises(CheckFailedError, match="another process is updating"), other.working():
        pass
    with other.working():
        pass
    assert store.claim() is not None
    assert other.claim() is None


def test_work_removes_what_is_unfinished_or_not_needed_and_nothing_else(store: Store) -> None:
    take(store, "1.2.0")
    (store.incoming / "half").mkdir()
    (store.incoming / "half" / "file").touch()
    (store.metadata / "tmpabc").touch()
    (store.metadata / "timestamp.json").touch()
    with store.working():
        assert sorted(path.name for path in (store.folder / "versions").iterdir()) == ["1.1.0", "1.2.0"]
        assert list(store.incoming.iterdir()) == []
        assert [path.name for path in store.metadata.iterdir()] == ["timestamp.json"]
