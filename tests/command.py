"""The real command for tests, without paying for its start-up every time.

Starting it costs seconds of processor time (torch for the server that children are forked from, pandas and matplotlib for
the page), and the tests start it a hundred times. `run_all` asks one process, which runs run_all.py from its first line to
its exit status for every command line, and keeps in between what Python has imported and the server. `run_all_anew` starts
it as a user does: for tests of the start-up, of kills, and of the environment that children see.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_server: subprocess.Popen[str] | None = None


def run_all(*arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """`python run_all.py ARGUMENTS` with the environment of now. Raises TimeoutExpired."""
    global _server
    if _server is None or _server.poll() is not None:
        _server = subprocess.Popen([sys.executable, "-m", "tests.command"], cwd=ROOT, text=True, bufsize=1,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        atexit.register(_server.kill)
    assert _server.stdin is not None and _server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        request = {"arguments": arguments, "environment": {**os.environ, "CI": "1"}, "folder": folder}
        _server.stdin.write(json.dumps(request) + "\n")
        if not select.select([_server.stdout], [], [], timeout)[0]:
            _server.kill()
            raise subprocess.TimeoutExpired(["run_all.py", *arguments], timeout)
        answer = _server.stdout.readline()
        assert answer, f"run_all.py {' '.join(arguments)}: the process ended"
        said = [(Path(folder) / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(["run_all.py", *arguments], int(answer), *said)


def run_all_anew(*arguments: str, timeout: float = 240, **changes: str) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own; `changes` are variables of its environment."""
    return subprocess.run(
        [sys.executable, "run_all.py", *arguments],
        cwd=ROOT, env={**os.environ, "CI": "1", **changes}, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        request = json.loads(line)
        kept = dict(os.environ)
        os.environ.clear()
        os.environ.update(request["environment"])
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(Path(request["folder"]) / name, os.O_WRONLY | os.O_CREAT)
            os.dup2(file, number)
            os.close(file)
        status = _run(["run_all.py", *request["arguments"]])
        sys.stdout.flush()
        sys.stderr.flush()
        os.environ.clear()
        os.environ.update(kept)
        answers.write(f"{status}\n")


def _run(arguments: list[str]) -> int:
    sys.argv = arguments
    try:
        runpy.run_path("run_all.py", run_name="__main__")
    except SystemExit as error:
        code: Any = error.code
        return code if isinstance(code, int) else int(code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    _serve()
