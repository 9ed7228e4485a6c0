"""The run folder: `results/runs/<run_id>/` with records.jsonl, plan.json, environment.json and summary.json.

records.jsonl is only ever appended to, a whole line a trial, flushed and synced, so a crash loses at most the trial in
flight. A torn last line (power cut, full disk) is skipped when reading, reported, and cut off before the next append.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.files import sweep, write_whole
from results.schema import SAFE_ID, Keep, Record, RecordError

MOST_BYTES = 1 << 26  # of one line or side file: a hundred times what the longest run writes


class StoreError(RuntimeError):
    """The run folder cannot be read or written; the message is one line that names the fix."""


@dataclass(frozen=True)
class Run:
    """A run folder. `Run.create` makes one, `Run.open` reads one that is there."""

    folder: Path

    @classmethod
    def create(cls, root: Path, run_id: str) -> Run:
        _check_name(run_id)
        folder = root / run_id
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot create {folder}: {error.strerror}; choose another place with --out DIR"
            ) from error
        return cls(folder)

    @classmethod
    def open(cls, folder: Path) -> Run:
        folder = folder.resolve()  # "." has a name too
        if not (folder / "plan.json").is_file():
            raise StoreError(f"{folder} is not a run folder (no plan.json); see the runs with --list")
        _check_name(folder.name)
        return cls(folder)

    @property
    def run_id(self) -> str:
        return self.folder.name

    @property
    def records_path(self) -> Path:
        return self.folder / "records.jsonl"

    @property
    def created(self) -> str:
        """When the run began, ISO 8601; empty where its plan is damaged, so that one bad run does not hide the others."""
        return str(self.left("plan.json").get("created", ""))

    def lock(self) -> Any:
        """Keep other writers out for as long as the returned file is open. Raises StoreError where one is at work."""
        path = self.folder / "writer.lock"
        try:
            file = open(path, "a")  # noqa: SIM115 - open as long as the caller holds it
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}; choose another place with --out DIR") from error
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # Windows: no lock, two writers at once are the user's to avoid
        except OSError as error:
            file.close()
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                words = f"another process is writing to {self.folder}; wait for it, or use --fresh or --out DIR"
            else:
                words = f"cannot lock {path}: {error.strerror}; choose a place on a local disk with --out DIR"
            raise StoreError(words) from None
        sweep(self.folder)
        return file

    def inside(self, path: str) -> Path | None:
        """A file of the run that a record names; None where there is none, or where the name leads out of the folder."""
        found = (self.folder / path).resolve() if path and "\0" not in path else None
        return found if found is not None and found.is_relative_to(self.folder.resolve()) and found.is_file() else None

    def forget_state(self, trial_id: str) -> None:
        """Remove what a training kept to go on from, now that its record is written. What it kept for good stays."""
        folder = self.folder / "checkpoints" / trial_id
        with contextlib.suppress(OSError):  # left over at worst
            (folder / "state.pt").unlink(missing_ok=True)
            folder.rmdir()

    def append(self, record: Record) -> None:
        """Add one line and sync it to disk."""
        data = (record.to_json() + "\n").encode()
        try:
            with open(self.records_path, "ab+") as file:
                self._cut_torn_tail(file)
                start = file.tell()
                try:
                    written = os.write(file.fileno(), data)
                    if written != len(data):
                        raise OSError(28, "No space left on device")
                    os.fsync(file.fileno())
                except OSError:
                    os.ftruncate(file.fileno(), start)  # never leave half a line behind
                    raise
        except OSError as error:
            raise StoreError(
                f"cannot write {self.records_path}: {error.strerror}; finished trials are safe, "
                "free some space or fix permissions and run the same command again to go on"
            ) from error

    @staticmethod
    def _cut_torn_tail(file: Any) -> None:
        """Drop bytes after the last newline: the half-written line of a writer that was killed. Where nothing but the
        newline is missing, that is added: readers have taken the record for done."""
        end = file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            file.seek(position - 1)
            if file.read(1) == b"\n":
                break
            position -= 1
        if position != end:
            file.seek(position)
            try:
                Record.from_json(_decoded(file.read()), "ends")
                os.write(file.fileno(), b"\n")
            except RecordError:
                os.ftruncate(file.fileno(), position)
            file.seek(0, os.SEEK_END)

    def read(self, keep: Keep = "all") -> tuple[list[Record], list[str]]:
        """All records in order of writing, and one sentence for each line that had to be skipped. Less is faster.

        Raises StoreError where the file itself cannot be read.
        """
        records: list[Record] = []
        skipped: list[str] = []
        try:
            with no_garbage():
                for number, line in self._lines():
                    try:
                        records.append(Record.from_json(_decoded(line), keep))
                    except RecordError as error:
                        skipped.append(f"{self.records_path.name} line {number}: {error}; skipped")
        except OSError as error:
            raise StoreError(f"cannot read {self.records_path}: {error.strerror}") from error
        return records, skipped

    def current(self, keep: Keep = "all") -> list[Record]:
        """The last record of each trial that the plan has now; without those of earlier sources, settings or protocols."""
        return of_plan(self.read(keep)[0], self.read_json("plan.json"))

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Lines with their numbers; of one that is too long to be a record, the beginning."""
        if not self.records_path.exists():
            return
        with open(self.records_path, "rb") as file:
            number = 0
            while line := file.readline(MOST_BYTES):
                number += 1
                while not line.endswith(b"\n") and (rest := file.readline(MOST_BYTES)):
                    line = line[:MOST_BYTES] + (b"\n" if rest.endswith(b"\n") else b"")
                if line.strip():
                    yield number, line

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a side file whole, see `write_text`."""
        self.write_text(name, json.dumps(content, indent=1, sort_keys=True, default=str) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a side file whole: a reader sees the old one or the new one, never half of it."""
        path = self.folder / name
        try:
            write_whole(path, text)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}; choose another place with --out DIR") from error

    def read_json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.exists():
            return {}
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError(f"{path.stat().st_size:,} bytes")
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{path} is damaged ({error}); remove it and run the suite again") from error
        if not isinstance(content, dict):
            raise StoreError(f"{path} is damaged (not an object); remove it and run the suite again")
        return content

    def left(self, name: str) -> dict[str, Any]:
        """A side file as an earlier session left it; nothing where it is damaged: it is written again."""
        try:
            return self.read_json(name)
        except StoreError:
            return {}

    def earlier(self) -> dict[str, Any]:
        """Sessions and seconds that summary.json counts so far; nothing where it is damaged: no trial depends on it."""
        kept = self.left("summary.json")
        sections = kept.get("sections")
        found = {k: v for k in ("sessions", "wall_s", "measured_s") if isinstance(v := kept.get(k), int | float)}
        times = sections.items() if isinstance(sections, dict) else ()
        return {**found, "sections": {str(k): v for k, v in times if isinstance(v, int | float)}}


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(f"not UTF-8 (byte {error.start})") from error


def _check_name(run_id: str) -> None:
    if not SAFE_ID.fullmatch(run_id):
        raise StoreError(f"run id {run_id!r}: use letters, digits, '.', '_' and '-' only")


@contextlib.contextmanager
def no_garbage() -> Iterator[None]:
    """Do not look for garbage meanwhile: what is read is kept, and looking through it again and again doubles the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def of_plan(records: list[Record], plan: dict[str, Any]) -> list[Record]:
    """The last record of each trial that a plan names; of all trials where it names none."""
    wanted = plan.get("trial_ids")
    kept = None if wanted is None else set(wanted)
    return [r for r in latest(records) if kept is None or r.trial_id in kept]


def latest(records: list[Record]) -> list[Record]:
    """The last record of each trial: a retry replaces the failure before it."""
    return list({record.trial_id: record for record in records}.values())


def list_runs(root: Path) -> list[Run]:
    """Run folders under `root`, newest first by creation time in their plan, then by name."""
    if not root.is_dir():
        return []
    runs = [Run(f) for f in root.iterdir() if SAFE_ID.fullmatch(f.name) and (f / "plan.json").is_file()]
    return sorted(runs, key=lambda run: (run.created, run.run_id), reverse=True)
