"""What a trial measures with and reports through: a device that adds up measured time, and the way to the parent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.execute.failures import Send
from bench.measure.device import Device, Peak, open_device
from bench.measure.memory import MemorySplit
from bench.measure.timing import Times, sample_times
from bench.trial import Trial
from results.schema import Better, Measurement


class _Metered:
    """A device that adds up the time spent in measured steps, those that end in an exception too."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.name = device.name
        self.total = 0.0

    def seconds(self, step: Callable[[], object]) -> float:
        start = time.perf_counter()
        try:
            return self.device.seconds(step)
        finally:
            self.total += time.perf_counter() - start

    def peak(self, step: Callable[[], object]) -> Peak:
        return self.device.peak(step)

    def release(self) -> None:
        self.device.release()


class Session:
    """Sends the measurements of one trial; entered around it, however it ends."""

    def __init__(self, trial: Trial, send: Send) -> None:
        self.trial = trial
        self.send = send
        self.device = _Metered(open_device(trial.device))
        self.unstable: list[str] = []
        self.first_calls: dict[str, float] = {}
        self.kernels: tuple[str, ...] = ()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.send("measured", self.device.total)
        if self.trial.device != "cpu":
            self.device.release()  # cached blocks of this trial must not stand in the way of the next one's

    def value(
        self,
        phase: str,
        metric: str,
        value: float,
        unit: str,
        better: Better,
        method: str = "measured",
        split: str = "none",
    ) -> None:
        self.send("measurement", Measurement(phase, metric, unit, better, value=value, method=method, split=split))

    def memory(self, phase: str, split: MemorySplit) -> None:
        """Send where the memory of a phase went."""
        self.value(phase, "activation_memory", split.activations, "B", "lower", "saved for backward")
        self.value(phase, "weight_memory", split.weights, "B", "lower")
        self.value(phase, "gradient_memory", split.gradients, "B", "lower")
        self.value(phase, "optimizer_memory", split.optimizer, "B", "lower", "AdamW")
        if split.peak.method != "unavailable":
            self.value(phase, "peak_memory", split.peak.used, "B", "lower", split.peak.method)
        if split.peak.reserved is not None:
            self.value(phase, "peak_reserved_memory", split.peak.reserved, "B", "lower", split.peak.method)

    def extra(self, key: str, value: Any) -> None:
        """Plain data for the record; what was sent stays there if the trial fails later."""
        self.send("extra", key, value)

    @contextmanager
    def sparing(self, key: str, words: str) -> Iterator[None]:
        """Around what is worth less than the trial: an error within becomes a note, `words` and why."""
        try:
            yield
        except Exception as error:
            why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            self.send("note", key, f"{words}: {why}")

    def samples(self, phase: str, metric: str, samples: list[float], unit: str, better: Better) -> None:
        self.send("measurement", Measurement(phase, metric, unit, better, samples=tuple(samples)))

    def timing(
        self, phase: str, step: Callable[[], object], slack: float = 1.0, check: Callable[[], None] = lambda: None
    ) -> None:
        """Time one phase and, if `check` does not raise, send its samples. `slack` widens the limit of one call."""
        limit = self.trial.limit * slack
        times = sample_times(step, self.device, seconds=self.trial.seconds, limit=limit)
        check()
        self.book(phase, times)
        self.samples(phase, "time", list(times.samples), "s", "lower")

    def book(self, phase: str, times: Times) -> None:
        self.first_calls[phase] = times.first_call
        if times.unstable:
            self.unstable.append(phase)

    def result(self) -> dict[str, Any]:
        return {
            "unstable": self.unstable,
            "first_call_s": self.first_calls,
            "kernels": self.kernels,
        }
