"""Run the steps of a chain by doit: each one whose inputs, settings, code or results have changed."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from doit.control import TaskControl
from doit.dependency import DatabaseException, Dependency, JsonDB
from doit.exceptions import TaskFailed
from doit.runner import Runner
from doit.task import Stream, Task

from fer_chain import process
from fer_chain.content import code_version, hash_of
from fer_chain.plan import Step
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.system.files import create_folder, write_text_atomically
from fer_edge.system.messages import print_message, print_text
from fer_train.locks import FileLock

_FOLDER = ".chain"
"""Folder in OUT for the state of the chain: which step is done, with which inputs and settings, and which one began."""
_NO_CAPTURE = 2
"""doit's verbosity that leaves the standard streams alone."""


class _StateFile(JsonDB):  # type: ignore[misc]
    """doit's state in one file, which is complete at any time."""

    def dump(self) -> None:
        write_text_atomically(Path(self.name), self.codec.encode(self._db))


class Chain:
    """The steps of a chain that were chosen, and their state in the folder ``out``."""

    def __init__(self, steps: Sequence[Step], every: Sequence[Step], out: Path) -> None:
        """``every`` step of the chain, and those to run. Raises InputError if the state is damaged."""
        self._steps, self._folder = {step.name: step for step in steps}, out / _FOLDER
        self._writers = [(output, step.name) for step in every for output in step.outputs]
        self._failure: FerEdgeError | int | None = None
        self._reasons: dict[str, str] = {}

    def run(self) -> int:
        """Run the steps in order, up to the first one that fails; return its exit code, or 0.

        Raises:
            InputError: if another process runs this chain, or a folder is in the way.
            OutputError: if the state cannot be written.
        """
        self._check_folders()
        create_folder(self._folder)
        with self._lock():
            return self._run()

    def preview(self) -> list[tuple[Step, str]]:
        """Return each step with what ``run`` would do: "up to date", or a reason to run it. Changes nothing."""
        self._check_folders()
        found: list[tuple[Step, str]] = []
        changing: set[str] = set()
        state = self._open_state()
        for step in self._steps.values():
            waits = sorted({name for path in step.inputs if (name := self._writer(path)) in changing})
            reason = self._reason(step, state.get_values(step.name), partly=bool(waits))
            if reason is None and waits:
                reason = f"if {', '.join(waits)} changes its input"
            if reason is not None:
                changing.add(step.name)
            found.append((step, "up to date" if reason is None else reason))
        return found

    def _run(self) -> int:
        state = self._open_state()
        tasks = [self._task(step) for step in self._steps.values()]
        control = TaskControl(tasks)
        control.process(None)
        progress = _Progress(list(self._steps), state, self._reasons)
        with closing(state):
            Runner(state, progress, stream=Stream(_NO_CAPTURE, force_global=True)).run_all(control.task_dispatcher())
        if isinstance(self._failure, FerEdgeError):
            raise self._failure
        if self._failure is None:
            print_text(f"{progress.done} steps done, {progress.kept} up to date\n")
        return self._failure or 0

    def _task(self, step: Step) -> Task:
        def up_to_date(task: Task, values: Mapping[str, Any]) -> bool:
            reason = self._reason(step, values)
            if reason is not None:
                facts = self._facts(step)
                task.value_savers.append(lambda: {**facts, "outputs": _hashes(step.outputs)})
                self._reasons[step.name] = reason
            return reason is None

        return Task(step.name, [(self._execute, [step])], task_dep=list(step.after), uptodate=[up_to_date])

    def _execute(self, step: Step) -> TaskFailed | None:
        try:
            words = self._prepare(step)
            print_text(f"  fer-edge {shlex.join(words)}\n")
            sys.stdout.flush()
            code = process.run(words)
        except FerEdgeError as error:
            self._failure = error
            return TaskFailed(str(error))
        if code < 0:
            print_message(f"step {step.name}: it was ended by {signal.Signals(-code).name}")
            code = 128 - code
        if code:
            self._failure = code
            return TaskFailed(f"exit code {code}")
        return None

    def _prepare(self, step: Step) -> tuple[str, ...]:
        """Make the folders of the outputs, and note that the step began; return its words.

        The note stays: it shows later that the chain has made the folder, also if the state was deleted. A training
        that began with the same inputs and settings is resumed. What another one left is removed.
        """
        for output in step.outputs:
            create_folder(output.parent)
        facts, mark = self._facts(step)["all"], self._mark(step)
        same = mark.is_file() and mark.read_text() == facts
        if step.resumes is not None and same and step.resumes.exists():
            return (*step.words, "--resume")
        write_text_atomically(mark, facts)
        if step.must_be_new is not None:
            shutil.rmtree(step.must_be_new, ignore_errors=True)
        return step.words

    def _check_folders(self) -> None:
        """Raise InputError if a step would have to remove a folder that this chain has not made."""
        for step in self._steps.values():
            folder = step.must_be_new
            if folder is None or not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
                continue
            if not self._mark(step).exists():
                raise InputError(f"{folder}: was not made by this chain; move it away, or choose another out")

    def _reason(self, step: Step, values: Mapping[str, Any], *, partly: bool = False) -> str | None:
        """Return why the step must run; None if it is up to date. ``partly``: its inputs may not be there yet."""
        facts = self._facts(step, partly=partly)
        if not values:
            return "not done yet"
        for key, what in (("command", "other settings"), ("code", "another version of the code")):
            if values.get(key) != facts[key]:
                return what
        before = values.get("inputs", {})
        changed = [path for path, found in facts["inputs"].items() if before.get(path) != found]
        if changed or before.keys() != facts["inputs"].keys():
            return f"changed: {', '.join(changed) or 'its list of inputs'}"
        gone = [path for path, found in _hashes(step.outputs).items() if values.get("outputs", {}).get(path) != found]
        return f"its result was changed: {', '.join(gone)}" if gone else None

    def _facts(self, step: Step, *, partly: bool = False) -> dict[str, Any]:
        """Return what a step depends on. Raises InputError if an input is missing, unless ``partly``."""
        inputs = _hashes(step.inputs)
        for path, found in inputs.items():
            if found is None and not partly:
                writer = self._writer(Path(path))
                hint = f"step {writer} writes it: run that first" if writer else "no such file or folder"
                raise InputError(f"step {step.name}: {path}: {hint}")
        command, code = shlex.join(step.words), code_version(step.packages)
        everything = repr((command, code, sorted(inputs.items())))
        return {"command": command, "code": code, "inputs": inputs, "all": everything}

    def _writer(self, path: Path) -> str | None:
        places = (path, *path.parents)
        return next((name for output, name in self._writers if output in places), None)

    def _mark(self, step: Step) -> Path:
        return self._folder / f"{step.name}.begun"

    def _open_state(self) -> Dependency:
        try:
            return Dependency(_StateFile, str(self._folder / "state.json"))
        except (DatabaseException, OSError, ValueError):
            raise InputError(f"{self._folder / 'state.json'}: is damaged; delete it, and all steps run again") from None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        lock = FileLock(self._folder / "lock")
        if not lock.take(1.0):
            raise InputError(f"{self._folder.parent}: another process runs a chain in this folder; wait until it ends")
        try:
            yield
        finally:
            lock.release()


class _Progress:
    """doit's reporter: a line when a step begins and ends. It saves the state after each step."""

    def __init__(self, steps: Sequence[str], state: Dependency, reasons: Mapping[str, str]) -> None:
        self.done = self.kept = 0
        self._names, self._state, self._reasons = list(steps), state, reasons
        self._began = 0.0

    def execute_task(self, task: Task) -> None:
        self._began = time.monotonic()
        self._say(task, self._reasons[task.name])

    def add_success(self, task: Task) -> None:
        self._state.backend.dump()
        self.done += 1
        self._say(task, f"done in {time.monotonic() - self._began:.1f} s")

    def add_failure(self, task: Task, failure: object) -> None:
        del failure
        self._say(task, f"failed after {time.monotonic() - self._began:.1f} s")

    def skip_uptodate(self, task: Task) -> None:
        self.kept += 1
        self._say(task, "up to date")

    def _say(self, task: Task, text: str) -> None:
        print_text(f"[{self._names.index(task.name) + 1}/{len(self._names)}] {task.name}: {text}\n")
        sys.stdout.flush()

    def __getattr__(self, name: str) -> Any:
        """Ignore doit's other reports, such as that a task's state is read."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: None


def _hashes(paths: Sequence[Path]) -> dict[str, str | None]:
    return {str(path): hash_of(path) for path in paths}
