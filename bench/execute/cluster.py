"""Trials on the machines of a Ray cluster, or on all GPUs of this one. Ray is imported here only, and only when asked for.

Ray starts one process for each device (a GPU, a group of them, a machine's processors) and says when one is lost; which
trial goes where is decided here, so that a timing has its device to itself. Records are written by the runner alone.

Every device must be alike in what makes timings comparable; those that are not are left out, with a warning.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import logging
import os
import socket
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.execute.executor import Ended, TicketTold, beside, shared, shares
from bench.execute.side_by_side import share_cores
from bench.execute.station import MARK, Kit, Station
from bench.execute.worker import Answer, Pool
from bench.trial import Trial
from results.files import write_whole

ROOT = Path(__file__).resolve().parents[2]
# What machines need of the checkout is code: results, pages and tests stay here.
NOT_SENT = [".git", ".venv*", "results/runs", "results/reference", "reports/site", "docs", "tests", "**/__pycache__"]
ALIKE = ("device_name", "cpu", "cores", "threads", "memory", "python", "torch", "cuda", "cudnn", "tf32", "driver")
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "SEQBENCH_CACHE")  # as they are where the command runs
MOST_LOSSES = 3  # machines that one trial may lose before it is taken to be what kills them
LOOK_SECONDS = 2.0  # between two looks at who has joined, and at how far trials are
PATIENCE = 120.0  # seconds without a single device, after which there is no point in waiting
STRAGGLER = 10.0  # seconds to wait for one device more before the plan is made
STORE_BYTES = 256 * 2**20  # for answers and weights on their way here, of a Ray started for this command


class Served(Station):
    """A station in a process that Ray has started, made like one that the command itself would have started."""

    def __init__(self, kit: Kit) -> None:
        for name, value in kit.environment.items():  # Ray's own number of threads would change results
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if kit.lanes > 1:
            share_cores(kit.lanes)
        vars(sys.modules["__main__"]).pop("__file__", None)  # Ray's own program, which children would import
        super().__init__(kit)


class ClusterError(RuntimeError):
    """The cluster cannot be used as asked; the message is one line that names the fix."""


@dataclass
class Place:
    """A device of the cluster and the process that serves it.

    Attributes:
        node: as Ray names it. machine: what it shares its capacity with: a CPU's other nodes, a GPU nothing.
        station: Ray's handle of a Served.
        running: lane -> ticket of the trial in it. whole: whether one of them must be alone.
        warm: names of children that it has.
    """

    node: str
    machine: str
    station: Any
    running: dict[int, int] = field(default_factory=dict)
    whole: bool = False
    warm: set[str] = field(default_factory=set)


@dataclass
class _Flight:
    """A trial that was started: its place (None while it waits for one), lane, and how many machines it has lost."""

    trial: Trial
    place: Place | None = None
    lane: int = 0
    lost: int = 0


class Cluster:
    """Implements `bench.execute.executor.Executor`.

    Args:
        address: of a cluster, HOST:PORT; "" for the one that this machine belongs to, or a new one of it alone.
        pool: packages, plug-ins and folders, as a child on this machine would have them.
        device: "auto", "cpu" or "cuda".
        lanes: trainings that may share a device. devices: that a training spreads over.
        say: told one sentence on what is not as it should be.
    """

    def __init__(
        self, address: str, pool: Pool, device: str, lanes: int, devices: int, say: Callable[[str], None]
    ) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise ClusterError(f"--device {device}: on a cluster it is auto, cpu or cuda, not one of a machine's GPUs")
        plugins = tuple((Path(p).name, Path(p).read_bytes()) if p.endswith(".py") else (p, None) for p in pool.plugins)
        environment = {name: os.environ.get(name) for name in VARIABLES}
        self.kit = Kit(pool.packages, plugins, pool.data.local, environment, lanes, devices)
        self.lanes, self.at_once, self.say = lanes, lanes, say
        self.ray = connect(address)
        atexit.register(self.close)  # however the command ends, no folder stays on a machine
        self.places: list[Place] = []
        self.coming: dict[Any, Place] = {}
        self.flights: dict[int, _Flight] = {}
        self.queue: deque[int] = deque()
        self.calls: dict[Any, int] = {}
        self.run = self.mark = ""
        self.known: dict[str, Any] = {}
        self.paths: tuple[str, ...] = (pool.data.local,) if pool.data.local else ()
        self.looked = self.served = time.monotonic()
        self.left_out: set[str] = set()
        self.slots = 1
        try:
            totals = [self._of(node, "GPU") for node in self._nodes()]
            self.device = ("cuda" if any(totals) else "cpu") if device == "auto" else device
            most = max((self._count(node) for node in self._nodes()), default=0)
            if not most:
                what = "GPU" if devices == 1 else f"machine with {devices} GPUs"
                raise ClusterError(
                    f"the cluster has no {what if self.device == 'cuda' else 'CPU to give'}; see ray status"
                )
        except BaseException:
            self.close()
            raise

    # Who is there.

    def describe(self, known: dict[str, Any], paths: tuple[str, ...]) -> dict[str, Any]:
        """What a plan needs: `known`, this machine's registry, with the environment and memory of the cluster's devices.

        Args:
            paths: files and folders that trials read; every machine must have them.

        Raises ClusterError where code, data or plug-ins are not the same everywhere, or no device becomes free.
        """
        self.paths += paths
        found: list[tuple[Place, dict[str, Any]]] = []
        deadline = time.monotonic() + PATIENCE
        self._staff()
        while self.coming:
            ready, _ = self.ray.wait(list(self.coming), timeout=STRAGGLER if found else LOOK_SECONDS)
            if not ready and (found or time.monotonic() > deadline):
                break  # others join when they are ready
            for call in ready:
                place = self.coming.pop(call)
                try:
                    found.append((place, self.ray.get(call)))
                except self.ray.exceptions.RayError as error:
                    self.say(f"warning: a device of the cluster cannot be used: {_one_line(error)}")
        if not found:
            raise ClusterError(f"no device of the cluster became free within {PATIENCE:.0f} s; see ray status")
        for _, hello in found:
            if problem := _unfit(hello, known):
                raise ClusterError(problem)
        groups = Counter(_alike(hello) for _, hello in found)
        chosen, _ = max(groups.items(), key=lambda item: (item[1], item[0]))
        best = min((h for _, h in found if _alike(h) == chosen), key=lambda h: str(h["environment"]["environment_id"]))
        own = known["environment"]
        # By what all have in common: which of them answered first must not make another run of the same command.
        identity = hashlib.sha256(repr(chosen).encode()).hexdigest()[:16]
        environment = {
            **best["environment"], "git_commit": own["git_commit"], "git_dirty": own["git_dirty"],
            "environment_id": identity,
        }  # fmt: skip
        self.known = {**known, "environment": environment, "memory": best["memory"]}
        for place, hello in found:
            self._accept(place, hello)
        return self.known

    def attach(self, run: Path) -> None:
        """Where trials' files belong from now on."""
        self.run, self.mark = str(run.resolve()), uuid.uuid4().hex
        (run / MARK).write_text(self.mark)
        seen = [self._attach(place) for place in self.places]
        if not all(seen):
            self.say(
                f"{seen.count(False)} of {len(seen)} devices do not see {run}: files of their trials are sent here, and a "
                "training that loses its machine begins anew"
            )

    def _attach(self, place: Place) -> bool:
        try:
            return bool(self.ray.get(place.station.attach.remote(self.run, self.mark), timeout=PATIENCE))
        except self.ray.exceptions.RayError:  # lost already: its first trial will tell
            return True

    def _staff(self) -> None:
        """Start a process for every device that has none."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.looked = time.monotonic()
        nodes = self._nodes()
        alive = {str(node["NodeID"]) for node in nodes}
        self.places = [place for place in self.places if place.node in alive or place.running]  # a trial says it itself
        served = Counter(place.node for place in [*self.places, *self.coming.values()])
        for node in nodes:
            name = str(node["NodeID"])
            machine = str(node["NodeManagerAddress"]) if self.device == "cpu" else ""
            for _ in range(self._count(node) - served[name] if name not in self.left_out else 0):
                cpus = self._of(node, "CPU") if self.device == "cpu" else 0
                options = {
                    "num_cpus": cpus, "num_gpus": self.kit.devices if self.device == "cuda" else 0, "max_restarts": 0,
                    "max_concurrency": self.lanes + 2,
                    "scheduling_strategy": NodeAffinitySchedulingStrategy(name, soft=False),
                }  # fmt: skip
                station = self.ray.remote(Served).options(**options).remote(self.kit)
                place = Place(name, machine or uuid.uuid4().hex, station)
                self.coming[station.describe.remote(self.device, self.paths)] = place

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]

    @staticmethod
    def _of(node: dict[str, Any], what: str) -> float:
        return float(node["Resources"].get(what, 0.0))

    def _count(self, node: dict[str, Any]) -> int:
        """Devices of a node, or groups of them."""
        if self.device == "cuda":
            return int(self._of(node, "GPU")) // self.kit.devices
        return int(self._of(node, "CPU") >= 1)

    def _accept(self, place: Place, hello: dict[str, Any]) -> None:
        problem = _unfit(hello, self.known) or _difference(hello, self.known)
        if problem:
            self.left_out.add(place.node)
            self.say(f"warning: a device of the cluster is left out: {problem}")
            self._dismiss(place)
            return
        self.places.append(place)
        if self.run:
            self._attach(place)
        machines = len({p.machine for p in self.places})
        self.slots = max(self.slots, machines * self.lanes)

    # Trials.

    @property
    def full(self) -> bool:
        return bool(self.queue)

    def start(self, ticket: int, trial: Trial) -> None:
        self.flights[ticket] = _Flight(trial)
        self.queue.append(ticket)
        self._dispatch()

    def wait(self, on_progress: TicketTold) -> Ended:
        while True:
            self._dispatch()
            if self.places or self.coming:
                self.served = time.monotonic() if self.places else self.served
                ready, _ = self.ray.wait([*self.calls, *self.coming], timeout=LOOK_SECONDS)
            else:
                time.sleep(LOOK_SECONDS / 4)
                ready = []
            for call in ready:
                if call in self.coming:
                    self._welcome(call)
                elif (ended := self._ended(call)) is not None:
                    return ended
            if time.monotonic() - self.looked > LOOK_SECONDS:
                self._staff()
                self._tell(on_progress)
            if not self.places and time.monotonic() - self.served > PATIENCE:
                raise ClusterError(
                    "every machine of the cluster was lost; finished trials are kept, the same command goes on from them"
                )

    def _welcome(self, call: Any) -> None:
        place = self.coming.pop(call)
        with contextlib.suppress(self.ray.exceptions.RayError):  # lost again before it had begun
            self._accept(place, self.ray.get(call))

    def _dispatch(self) -> None:
        """Trials go out in their order: one that needs a whole device is not overtaken for ever by those that do not."""
        while self.queue:
            flight = self.flights[self.queue[0]]
            place = self._place_for(flight.trial)
            if place is None:
                return
            ticket = self.queue.popleft()
            flight.place = place
            flight.lane = next(n for n in range(self.lanes) if n not in place.running)
            place.running[flight.lane] = ticket
            place.whole = not shares(flight.trial)
            place.warm.add(flight.trial.worker)
            call = place.station.run.remote(flight.lane, ticket, flight.trial)
            self.calls[call] = ticket

    def _place_for(self, trial: Trial) -> Place | None:
        """The least busy device that has room: all of it for a timing, a lane for the rest."""
        free: list[tuple[int, int, bool, int, Place]] = []
        for place in self.places:
            beside = [p for p in self.places if p.machine == place.machine]
            load = sum(len(p.running) for p in beside)
            alone = not shares(trial) or any(p.whole and p.running for p in beside)
            if load == 0 or (not alone and load < self.lanes):
                free.append((load, len(place.running), trial.worker not in place.warm, len(free), place))
        return min(free)[-1] if free else None

    def _ended(self, call: Any) -> Ended | None:
        """The answer; None where its machine was lost, and the trial waits for another."""
        ticket = self.calls.pop(call)
        flight = self.flights[ticket]
        assert flight.place is not None
        try:
            ended, files = self.ray.get(call)
        except self.ray.exceptions.RayTaskError as error:  # a fault of this program, not of the machine
            ended, files = Ended(ticket, Answer("error", _one_line(error), trace=str(error)), _now(), 0.0), {}
        except self.ray.exceptions.RayError:
            return self._lost(ticket, flight)
        flight.place.running.pop(flight.lane, None)
        del self.flights[ticket]
        self._keep(files, ended.answer)
        if flight.lost:
            ended.answer.notes.append(f"run again after the machine it ran on was lost ({flight.lost}x)")
            ended.answer.extra["machines_lost"] = flight.lost
        shared(ended.answer, flight.trial, self.lanes, self.known["environment"]["cores"])
        return ended

    def _lost(self, ticket: int, flight: _Flight) -> Ended | None:
        place, flight.place = flight.place, None
        if place in self.places:
            self.places.remove(place)
            self._dismiss(place)
        flight.lost += 1
        if flight.lost < MOST_LOSSES:
            self.queue.appendleft(ticket)
            return None
        del self.flights[ticket]
        reason = f"the machine was lost each of the {MOST_LOSSES} times that it ran"
        return Ended(ticket, Answer("error", reason, extra={"machines_lost": flight.lost}), _now(), 0.0)

    def _keep(self, files: dict[str, bytes], answer: Answer) -> None:
        """Write what came back where the trial would have written it."""
        for name, content in files.items():
            path = Path(self.run) / name
            try:
                if not path.exists() or path.read_bytes() != content:
                    write_whole(path, lambda file, content=content: file.write(content))  # type: ignore[misc]
            except OSError as error:
                answer.notes.append(f"{name} was not kept: {error.strerror}")
                if answer.extra.get("checkpoint") == name:
                    answer.extra["checkpoint"] = ""

    def _tell(self, on_progress: TicketTold) -> None:
        """How far the trial is that was started last."""
        for ticket, flight in reversed(self.flights.items()):
            if flight.place is not None and ticket in self.calls.values():
                try:
                    done, of, words = self.ray.get(flight.place.station.progress.remote(), timeout=LOOK_SECONDS)[
                        flight.lane
                    ]
                except self.ray.exceptions.RayError:
                    continue
                if words:
                    on_progress(ticket, done, of, beside(words, len(self.calls)))
                    return

    def _dismiss(self, place: Place) -> None:
        with contextlib.suppress(Exception):  # gone already
            self.ray.kill(place.station)

    def close(self) -> None:
        """End every process and leave the cluster as it was."""
        if not self.ray.is_initialized():
            return
        calls = [place.station.close.remote() for place in self.places]
        if calls:
            self.ray.wait(calls, num_returns=len(calls), timeout=5)
        for place in [*self.places, *self.coming.values()]:
            self._dismiss(place)
        if self.run:
            (Path(self.run) / MARK).unlink(missing_ok=True)
        self.ray.shutdown()


def connect(address: str) -> Any:
    """Ray, connected. Raises ClusterError where it is not installed, or the address does not answer."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")  # trials have limits of their own, and end as rows
    try:
        import ray
    except ImportError:
        raise ClusterError('--executor ray needs Ray: pip install -e ".[cluster]"') from None
    if "://" in address:
        raise ClusterError(f"--address {address}: give HOST:PORT, and run the command on a machine of the cluster")
    if address and address != "auto":
        _reach(address)
    code = {"working_dir": str(ROOT), "excludes": NOT_SENT}
    quiet: dict[str, Any] = {"runtime_env": code, "logging_level": logging.ERROR, "log_to_driver": False}
    try:
        try:
            ray.init(address=address or "auto", **quiet)
        except ConnectionError:
            if address:
                raise
            ray.init(include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(f"--address {address or 'auto'}: {_one_line(error)}") from error
    return ray


def _reach(address: str) -> None:
    """Find out at once whether anybody listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"--address {address}: write it as HOST:PORT, as `ray start --head` tells it")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        why = error.strerror or str(error)
        raise ClusterError(
            f"--address {address}: nobody answers there ({why}); is `ray start --head` running?"
        ) from error


def _unfit(hello: dict[str, Any], known: dict[str, Any]) -> str:
    """Why a machine cannot take part at all: in one line, or ""."""
    if problem := hello.get("problem"):
        return f"on a machine of the cluster: {problem}"
    if missing := hello["missing"]:
        return (
            f"{missing[0]} is not on every machine of the cluster; put it at the same path on each, or on a shared disk"
        )
    for kind in ("architectures", "tasks"):
        theirs = {entry["name"]: entry["hash"] for entry in hello[kind]}
        for entry in known[kind]:
            if theirs.get(entry["name"]) != entry["hash"]:
                what = "is another" if entry["name"] in theirs else "is not known"
                return f"'{entry['name']}' {what} on a machine of the cluster; install the same plug-ins on each"
    if hello["training_hash"] != known["training_hash"] or hello["engine_hash"] != known["engine_hash"]:
        return "a machine of the cluster runs other code than this one; is another Seqbench installed there?"
    return ""


def _alike(hello: dict[str, Any]) -> tuple[str, ...]:
    """What two devices must have in common, memory to the GiB."""
    facts = {**hello["environment"], "memory": round(hello["environment"]["memory_bytes"] / 2**30)}
    return tuple(str(facts[name]) for name in ALIKE)


def _difference(hello: dict[str, Any], known: dict[str, Any]) -> str:
    for name, own, others in zip(ALIKE, _alike(hello), _alike(known), strict=True):
        if own != others:
            return f"its {name.replace('_', ' ')} is {own}, that of the others {others}"
    return ""


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return (lines[-1] if "Traceback" in str(error) else lines[0] if lines else type(error).__name__)[:300]


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="seconds")
