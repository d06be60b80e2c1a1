"""``study.db``: Optuna's file of a search, made whole or not at all, and opened only for the search that it is of."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fer_edge.errors import ConfigError, FerEdgeError, InputError, OutputError, reason_of
from fer_edge.system.files import atomic_path
from fer_train.tuning.settings import Choices, Search, Values, from_table

FORMAT = 1
"""Of what a study's attribute ``search`` holds, and of what its trials' attributes mean."""
_NAME = "fer-edge"
_MAY_CHANGE = ("tune.trials", "tune.keep")
"""Neither changes what a trial is or how it compares."""
_BUSY_S = 120.0
"""How long to wait for others who write; SQLite's own default of 5 s is short on a slow disk."""


def create_study(path: Path, search: Search, rows_sha256: str) -> None:
    """Make the file for ``search`` on the data of that hash. Raises OutputError when it cannot be written."""
    import optuna

    with atomic_path(path) as temporary, storage_errors(path):
        storage = _storage(temporary)
        directions = optuna.study.StudyDirection
        direction = directions.MAXIMIZE if search.settings.metric == "accuracy" else directions.MINIMIZE
        study = optuna.create_study(storage=storage, study_name=_NAME, direction=direction)
        study.set_user_attr("search", _identity(search, rows_sha256))
        own = search.own_values()
        if own is not None:  # the first trial, so that the best can be held to it
            study.enqueue_trial(study_values(search, own), user_attrs={"number": 1})
        storage.remove_session()
        storage.engine.dispose()


def open_study(path: Path) -> Any:
    """The ``optuna.Study`` in the file. Raises InputError for what is no study of ours, whole and readable."""
    import optuna

    _check_file(path)
    with storage_errors(path):
        try:
            return optuna.load_study(study_name=_NAME, storage=_storage(path))
        except (KeyError, RuntimeError) as error:  # no such study; tables of another version of Optuna
            raise InputError(f"{path}: holds no study of fer-edge: {reason_of(error)}; choose another --out") from None


def check_same_search(path: Path, study: Any, search: Search, rows_sha256: str) -> None:
    """Raises ConfigError, which says what differs, when ``study`` is of other ranges, settings or data."""
    with storage_errors(path):
        theirs = study.user_attrs.get("search")
    if not isinstance(theirs, Mapping) or theirs.get("format") != FORMAT:
        raise ConfigError(f"{path}: a study of another version of fer-edge; choose another --out")
    # Keys that are newer than the study had their defaults in it; one that there is no more is among what differs.
    with contextlib.suppress(ConfigError):
        table = {key: value for key, value in theirs.items() if key not in ("format", "rows_sha256")}
        theirs = _identity(from_table(table, str(path)), theirs.get("rows_sha256", ""))
    ours, theirs = _flat(_identity(search, rows_sha256)), _flat(theirs)
    differing = [
        f"{key} is {_shown(ours, key)} here, {_shown(theirs, key)} there"
        for key in sorted({*ours, *theirs} - set(_MAY_CHANGE))
        if ours.get(key) != theirs.get(key)
    ]
    if differing:
        more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
        raise ConfigError(f"{path}: a study of another search: {'; '.join(differing[:3])}{more}; choose another --out")


def study_values(search: Search, values: Values) -> Values:
    """``values`` of a recipe as the study has them: Optuna keeps no lists."""
    ranges = search.ranges.items()
    return {
        key: each.names()[each.values.index(values[key])] if isinstance(each, Choices) else values[key]
        for key, each in ranges
    }


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns what SQLite and Optuna raise about the file into one line that says what to do."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except FerEdgeError:
        raise
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        raise _told(path, error) from error


def _told(path: Path, error: BaseException) -> FerEdgeError:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error):
        cause = getattr(cause, "orig", None) or cause.__cause__
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # the rest says more closely what the text says anyway
    reason = reason_of(cause or error)
    if code == sqlite3.SQLITE_BUSY:
        return OutputError(f"{path}: another program keeps it locked; end that one, and go on with --resume")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return InputError(
            f"{path}: damaged, or no study at all ({reason}); restore a copy of it, or choose another --out"
        )
    return OutputError(f"{path}: cannot use it ({reason}); see to space and permissions, and go on with --resume")


def _check_file(path: Path) -> None:
    """Refuse what SQLite would take for an empty study, and what has lost a part."""
    if not path.is_file() or not path.stat().st_size:
        what = "empty" if path.is_file() else "not there" if not path.exists() else "no file"
        raise InputError(f"{path}: is {what}, so there is no study; restore a copy of it, or choose another --out")
    with storage_errors(path), contextlib.closing(sqlite3.connect(path, timeout=_BUSY_S)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != ("ok",):
            raise InputError(f"{path}: damaged ({found[0]}); restore a copy of it, or choose another --out")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not {"studies", "trials", "version_info"} <= tables:  # Optuna would add what is missing
            raise InputError(f"{path}: a database, but no study of Optuna's; choose another --out")


def _storage(path: Path) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)

    # The name in the URL is for SQLAlchemy alone: a path may hold what means something in a URL.
    return optuna.storages.RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect})


def _identity(search: Search, rows_sha256: str) -> dict[str, Any]:
    return {"format": FORMAT, "rows_sha256": rows_sha256, **json.loads(json.dumps(search.to_table()))}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value by its path, which for a range is the range's key."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{path}.")
        else:
            flat[path] = value
    return flat


def _shown(flat: Mapping[str, Any], key: str) -> str:
    return json.dumps(flat[key])[:60] if key in flat else "unset"
