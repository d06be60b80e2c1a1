"""Fork server for commands that need TensorFlow: it imports TensorFlow once and forks for each command.

The import takes most of the time of a command on miniature data. Each forked command has its own arguments,
environment, working directory, streams and exit code, like a new process. Tests of imports, or of messages during the
start, need a new process: ``mini_run.fer_edge``. Run as a program, this module is the server.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

TIMEOUT_S = 600


def fer_edge(
    *arguments: str | Path, data: Path | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """As ``mini_run.fer_edge``."""
    from support.training.mini_run import environment_with

    server, words = _server(), list(map(str, arguments))
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("stdout", "stderr")]
        job = {
            "words": words,
            "environment": environment_with(data),
            "cwd": str(cwd or Path.cwd()),
            "streams": list(map(str, said)),
        }
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        answer = server.stdout.readline() if select.select([server.stdout], [], [], TIMEOUT_S)[0] else ""
        if not answer:
            server.kill()
            _server.cache_clear()
            raise RuntimeError(f"fer-edge {' '.join(words)}: no end within {TIMEOUT_S} s, or the server died")
        return subprocess.CompletedProcess(words, int(answer), *(path.read_text() for path in said))


@cache
def _server() -> subprocess.Popen[str]:
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)  # it ends with its input
    return server


def _serve() -> None:
    from fer_train.backend import load_keras

    load_keras()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            answers.close()
            _become(json.loads(line))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answers.write(f"{code}\n")
        answers.flush()


def _become(job: dict[str, Any]) -> NoReturn:
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["environment"])
    for number, path in enumerate((os.devnull, *job["streams"])):
        file = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    from fer_edge.commands.cli import main

    sys.exit(main(job["words"]))


if __name__ == "__main__":
    _serve()
