"""Optuna's storage of a search: an SQLite file for one machine, or PostgreSQL for several."""

from __future__ import annotations

import contextlib
import importlib
import json
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.errors import ConfigError, FerEdgeError, InputError, MissingExtraError, OutputError, reason_of
from fer_edge.system.files import atomic_path
from fer_train.training.run_folder.files import STUDY
from fer_train.tuning.settings import Search, from_table

FORMAT = 1
"""Of what a study's attribute ``search`` holds, and of what its trials' attributes mean."""
HEARTBEAT_S, GRACE_S = 5, 60
"""A worker without a heartbeat for so long is taken for dead: more than a backend ever holds Python's lock."""
MAX_RETRIES = 2
"""A trial that took its process down three times (memory, a crash of the backend) is not tried again."""
_MAY_CHANGE = ("tune.trials", "tune.keep")
"""Neither changes a trial or how trials compare."""
_BUSY_S = 120.0
"""How long to wait for other writers; SQLite's default of 5 s is short on a slow disk."""


@dataclass(frozen=True, slots=True)
class StudyLocation:
    """Where a study is kept: ``study.db`` in the folder ``out``, or the PostgreSQL database ``url``."""

    out: Path
    url: str | None = None
    study_name: str = "fer-edge"

    @property
    def path(self) -> Path:
        """The SQLite file, for a study without ``url``."""
        return self.out / STUDY

    def __str__(self) -> str:
        """Return what errors name: the file, or the URL without its password."""
        if self.url is None:
            return str(self.path)
        from sqlalchemy.engine import make_url

        return make_url(self.url).render_as_string(hide_password=True)


def postgresql_location(out: Path, url: str, recipe_name: str) -> StudyLocation:
    """Return the location for ``--storage``. Raises ConfigError for another URL, MissingExtraError without psycopg."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername != "postgresql" or not parsed.database:
        raise ConfigError("--storage: must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    try:
        importlib.import_module("psycopg")
    except ImportError as error:
        raise MissingExtraError("psycopg", "tune-postgresql") from error
    # SQLAlchemy before 2.1 takes psycopg2 for a URL without a driver.
    full = parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    return StudyLocation(out, full, f"fer-edge {recipe_name}")


def create_study(location: StudyLocation, search: Search, rows_sha256: str) -> None:
    """Create the study, or leave one that is there. Raises OutputError when it cannot be written."""
    if location.url is not None:
        _create(_storage(location), location, search, rows_sha256)
        return
    with atomic_path(location.path) as temporary:
        storage = _storage(location, temporary)
        _create(storage, location, search, rows_sha256)
        storage.remove_session()
        storage.engine.dispose()


def study_exists(location: StudyLocation) -> bool:
    """Return whether the study was created. Raises OutputError when the database cannot be reached."""
    import optuna

    if location.url is None:
        return location.path.exists()
    with storage_errors(location):
        return location.study_name in optuna.get_all_study_names(_storage(location))


def open_study(location: StudyLocation) -> Any:
    """Return the ``optuna.Study``. Raises InputError for a file or database without a whole study of ours."""
    import optuna

    if location.url is None:
        _check_file(location)
    with storage_errors(location):
        try:
            return optuna.load_study(study_name=location.study_name, storage=_storage(location))
        except (KeyError, RuntimeError) as error:  # not there, or tables of another Optuna version
            raise InputError(
                f"{location}: holds no study of fer-edge: {reason_of(error)}; choose another --out"
            ) from None


def check_same_search(location: StudyLocation, study: Any, search: Search, rows_sha256: str) -> None:
    """Raise ConfigError with the differences if ``study`` has other ranges, settings or data."""
    with storage_errors(location):
        theirs = study.user_attrs.get("search")
    if not isinstance(theirs, Mapping) or theirs.get("format") != FORMAT:
        raise ConfigError(f"{location}: a study of another version of fer-edge; choose another --out")
    # Keys that are newer than the study had their defaults in it; one that there is no more is among what differs.
    with contextlib.suppress(ConfigError):
        table = {key: value for key, value in theirs.items() if key not in ("format", "rows_sha256")}
        theirs = _identity(from_table(table, str(location)), theirs.get("rows_sha256", ""))
    ours, theirs = _flat(_identity(search, rows_sha256)), _flat(theirs)
    differing = [
        f"{key} is {_shown(ours, key)} here, {_shown(theirs, key)} there"
        for key in sorted({*ours, *theirs} - set(_MAY_CHANGE))
        if ours.get(key) != theirs.get(key)
    ]
    if differing:
        more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
        raise ConfigError(
            f"{location}: a study of another search: {'; '.join(differing[:3])}{more}; choose another --out"
        )


@contextlib.contextmanager
def storage_errors(location: StudyLocation) -> Iterator[None]:
    """Turn what the database and Optuna raise into one line that says what to do."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except FerEdgeError:
        raise
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        raise _storage_error(location, error) from error


def _storage_error(location: StudyLocation, error: BaseException) -> FerEdgeError:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error):
        cause = getattr(cause, "orig", None) or cause.__cause__
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # the rest says more closely what the text says anyway
    reason = " ".join(reason_of(cause or getattr(error, "orig", None) or error).split())
    if code == sqlite3.SQLITE_BUSY:
        return OutputError(f"{location}: another program keeps it locked; end that one, and go on with --resume")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return InputError(
            f"{location}: damaged, or no study at all ({reason}); restore a copy of it, or choose another --out"
        )
    if location.url is not None:
        return OutputError(f"{location}: cannot use the database ({reason}); check the server and go on with --resume")
    return OutputError(f"{location}: cannot use it ({reason}); see to space and permissions, and go on with --resume")


def _check_file(location: StudyLocation) -> None:
    """Refuse a file that SQLite would open as an empty database, and a truncated one."""
    path = location.path
    if not path.is_file() or not path.stat().st_size:
        what = "empty" if path.is_file() else "not there" if not path.exists() else "no file"
        raise InputError(f"{location}: is {what}, so there is no study; restore a copy of it, or choose another --out")
    with storage_errors(location), contextlib.closing(sqlite3.connect(path, timeout=_BUSY_S)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != ("ok",):
            raise InputError(f"{location}: damaged ({found[0]}); restore a copy of it, or choose another --out")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not {"studies", "trials", "version_info"} <= tables:  # Optuna would add what is missing
            raise InputError(f"{location}: a database, but no study of Optuna's; choose another --out")


def _create(storage: Any, location: StudyLocation, search: Search, rows_sha256: str) -> None:
    import optuna

    directions = optuna.study.StudyDirection
    direction = directions.MAXIMIZE if search.settings.metric == "accuracy" else directions.MINIMIZE
    with storage_errors(location):
        study = optuna.create_study(
            storage=storage, study_name=location.study_name, direction=direction, load_if_exists=True
        )
        if "search" not in study.user_attrs:
            study.set_user_attr("search", _identity(search, rows_sha256))


def _storage(location: StudyLocation, path: Path | None = None) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    # The heartbeat is marked experimental.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", module="optuna")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path or location.path, timeout=_BUSY_S, check_same_thread=False)

    with storage_errors(location):
        return optuna.storages.RDBStorage(
            # The name in SQLite's URL is for SQLAlchemy alone: a path may hold what means something in a URL.
            location.url or "sqlite:///study.db",
            engine_kwargs={"pool_pre_ping": True} if location.url else {"creator": connect},
            heartbeat_interval=HEARTBEAT_S,
            grace_period=GRACE_S,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES),
        )


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
