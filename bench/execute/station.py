"""One device of a cluster: lanes that run trials in children, as the local executor does. Knows nothing of who asks.

A trial's files (weights, predictions, a training's state) go to the run folder where the machine can see it; where it
cannot, to a folder of its own, and what is to be kept goes back with the answer.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.execute.child import Workplace
from bench.execute.executor import Ended, Lane
from bench.execute.worker import Answer, Pool
from bench.trial import Trial
from results.files import PARTIAL

MARK = "shared.mark"  # file in the run folder, by whose content a machine knows that it sees the same folder
NOT_KEPT = ("state.pt", "worker.log")  # of a training that has not ended, and what plug-ins printed


@dataclass(frozen=True)
class Kit:
    """What a station needs to run trials as they would run where the command was given.

    Attributes:
        plugins: file name -> content, of plug-ins that are files; modules have no content and must be installed.
        local: folder of the user's data sets. environment: variables, None where they are not set.
        lanes: trials that may run side by side. devices: of each trial.
    """

    packages: tuple[str, ...]
    plugins: tuple[tuple[str, bytes | None], ...]
    local: str
    environment: Mapping[str, str | None]
    lanes: int = 1
    devices: int = 1


class Station:
    """Children and folders of one device (or of the few that a trial spreads over)."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.folder = Path(tempfile.mkdtemp(prefix="seqbench-"))
        self.lanes: list[Lane] = []
        self.heard: list[tuple[int, int, str]] = [(0, 0, "")] * kit.lanes

    def describe(self, device: str, paths: tuple[str, ...]) -> dict[str, Any]:
        """Registry and environment as a child here sees them, memory, and which of `paths` are not here.

        `problem` is the reason where the child could not answer.
        """
        from bench.kinds.common import machine_memory

        worker = self._pool("").start()
        try:
            answer = worker.call("describe", {"device": device, "devices": self.kit.devices}, timeout=300)
        finally:
            worker.close()
        found = answer.result if answer.status == "ok" else {"problem": answer.reason.removeprefix("ValueError: ")}
        missing = [path for path in paths if not Path(path).exists()]
        return {**found, "memory": machine_memory(), "missing": missing}

    def attach(self, run: str, mark: str) -> bool:
        """Take trials of this run from now on. Returns whether the run's folder is seen from here."""
        try:
            shared = (Path(run) / MARK).read_text() == mark
        except OSError:
            shared = False
        for number in range(self.kit.lanes):
            self.lanes.append(Lane(self._pool(run if shared else str(self.folder / f"run-{number}"))))
        return shared

    def run(self, number: int, ticket: int, trial: Trial) -> tuple[Ended, dict[str, bytes]]:
        """One trial in one lane; and the files to be kept, by their place in the run folder."""
        lane, self.heard[number] = self.lanes[number], (0, 0, "")

        def told(done: int, of: int, words: str) -> None:
            self.heard[number] = (done, of, words)

        try:
            ended = lane.run(ticket, trial, told)
            return ended, self._files(Path(lane.pool.data.run))
        except OSError as error:  # a full disk, no more processes
            now = datetime.now(UTC).isoformat(timespec="seconds")
            return Ended(ticket, Answer("error", f"the machine it ran on: {error}"), now, 0.0), {}

    def progress(self) -> list[tuple[int, int, str]]:
        return self.heard

    def close(self) -> None:
        for lane in self.lanes:
            lane.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _pool(self, run: str) -> Pool:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cache = os.environ.get("SEQBENCH_CACHE") or str(base / "seqbench")
        plugins = []
        for number, (name, content) in enumerate(self.kit.plugins):
            if content is not None:
                path = self.folder / f"plugin-{number}" / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
                name = str(path)
            plugins.append(name)
        if run:
            Path(run).mkdir(exist_ok=True)
        log = str(self.folder / "worker.log")
        return Pool(self.kit.packages, tuple(plugins), log, Workplace(self.kit.local, cache, run))

    def _files(self, run: Path) -> dict[str, bytes]:
        if not run.is_relative_to(self.folder):
            return {}
        found = {}
        for path in run.rglob("*"):
            if path.is_file() and path.name not in NOT_KEPT and not path.name.endswith(PARTIAL):
                found[str(path.relative_to(run))] = path.read_bytes()
                path.unlink()
        return found
