"""Measuring, held to answers that are known: counted graphs, planted times, bytes by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.contract import select_state, state_bytes
from bench.execute import measurements
from bench.measure.device import CPUDevice, Peak, is_out_of_memory, open_device
from bench.measure.graph import MAX_OPERATIONS, Counter, Untraceable, trace
from bench.measure.kernels import kernels_of, telling
from bench.measure.memory import measure_memory
from bench.measure.path import NotConnected, layers_to_connect, receptive_field
from bench.measure.timing import OverTime, sample_times, spread
from bench.models import build_encoder
from bench.registry import ARCHITECTURES
from bench.trial import Trial


class FakeDevice:
    """Returns planted times, and counts what it was asked for: drives on a CPU what is written for any device."""

    name = "fake"

    def __init__(self, times: Any) -> None:
        self.times = iter(times)
        self.released = 0

    def seconds(self, step: Callable[[], object]) -> float:
        step()
        return float(next(self.times))

    def peak(self, step: Callable[[], object]) -> Peak:
        step()
        return Peak(1000, 2000, "allocator")

    def release(self) -> None:
        self.released += 1


class TestTiming:
    def sample(self, times: Any, **options: Any) -> Any:
        return sample_times(lambda: None, FakeDevice(times), **{"seconds": 0.1, "limit": 1.0, **options})

    def test_warm_up_is_thrown_away(self) -> None:
        times = self.sample(itertools.chain([0.9, 0.03], itertools.repeat(0.01)))
        assert times.first_call == 0.9
        assert set(times.samples) == {0.01}
        assert math.isclose(sum(times.samples), 0.1, abs_tol=0.011)

    def test_slow_steps_are_repeated_little(self) -> None:
        assert self.sample(itertools.chain([0.8], itertools.repeat(0.7))).samples == (0.7, 0.7, 0.7)

    def test_quick_steps_are_not_repeated_for_ever(self) -> None:
        assert len(self.sample(itertools.repeat(1e-6)).samples) == 100

    def test_over_time(self) -> None:
        with pytest.raises(OverTime, match=r"1\.5 s, the limit is 1 s"):
            self.sample([0.1, 1.7, 1.5])
        assert self.sample(itertools.chain([0.1, 5.0], itertools.repeat(0.01))).samples[0] == 0.01  # a hiccup
        assert (
            self.sample(itertools.chain([3.0], itertools.repeat(0.9))).first_call == 3.0
        )  # compilation may take longer than a call

    def test_unstable_steps_are_marked_and_get_more_time(self) -> None:
        steady = self.sample(itertools.chain([1], itertools.repeat(0.01)))
        shaky = self.sample(itertools.chain([1], itertools.cycle([0.005, 0.015])))
        assert not steady.unstable
        assert shaky.unstable
        assert sum(shaky.samples) > 1.5 * sum(steady.samples)

    @given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=30), st.floats(0.1, 10))
    def test_spread_has_no_unit(self, samples: list[float], factor: float) -> None:
        assert math.isclose(spread(samples), spread([factor * s for s in samples]), rel_tol=1e-6, abs_tol=1e-9)
        assert spread(samples[:1]) == 0


class TestGraph:
    def count(self, module: nn.Module, length: int, width: int = 8, backward: bool = False) -> Any:
        return trace(module.to("meta"), length, width, backward)

    def test_linear(self) -> None:
        counts = self.count(nn.Linear(8, 8), 10)
        assert counts.flops == 2 * 10 * 8 * 8
        assert counts.mixing_flops == 0
        assert counts.span == counts.operations == 1
        assert self.count(nn.Linear(8, 8), 10, backward=True).flops == 3 * 2 * 10 * 8 * 8

    def test_chain_and_branches(self) -> None:
        class Chain(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                a = x + 1  # 1
                b = (x * 2).view(-1).view(x.shape).transpose(1, 2).transpose(1, 2)  # 1, views are free
                c = torch.arange(8, device=x.device).float().exp()  # no dependence: no operation
                return (a.tanh() + b) * c  # 2, 3, 4

        counts = self.count(Chain(), 10)
        assert (counts.span, counts.operations) == (4, 5)

    def test_writes_to_slices_do_not_wait_for_each_other(self) -> None:
        class Slices(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                out = torch.empty_like(x)
                for t in range(x.shape[1]):
                    out[:, t] = x[:, t].exp()
                return out + 1

        counts = self.count(Slices(), 16)
        assert counts.span == 3  # exp, write, add: whatever the length

    def test_writes_in_turn_do_wait(self) -> None:
        class Turn(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                h = x[:, 0].clone()
                for t in range(x.shape[1]):
                    h.add_(x[:, t])
                return x + h[:, None]

        assert self.count(Turn(), 16).span == 18

    def test_attention_by_hand(self) -> None:
        """Two products of T x T x D, four projections; all T^2 pairs, as the reference computes them."""
        T, D = 32, 16
        encoder = build_encoder(ARCHITECTURES.get("attention"), {"mlp_hidden": 16}, D, 1, True, device="meta")
        counts = trace(encoder, T, D, backward=False)
        assert counts.mixing_flops == 2 * (2 * T * T * D)
        assert counts.flops == counts.mixing_flops + 2 * T * (4 * D * D + 2 * D * 16)

    def test_lstm_by_hand(self) -> None:
        """nn.LSTM, whose fused kernel torch's own counter reports as nothing."""

        class Plain(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.lstm = nn.LSTM(8, 8, batch_first=True)

            def forward(self, x: Tensor) -> Tensor:
                return self.lstm(x)[0]

        short, long = (self.count(Plain(), n) for n in (10, 20))
        assert short.flops == 10 * 2 * (4 * 8 * 8) * 2
        assert short.mixing_flops == 0
        assert (long.span - short.span) / 10 == 7

    def test_long_recurrences_are_continued_exactly(self) -> None:
        encoder = build_encoder(ARCHITECTURES.get("gru"), {}, 8, 1, True, device="meta")
        counter = Counter(encoder, 8, backward=False)
        line, method = counter.count(400)
        assert method == "affine"
        assert line == trace(encoder, 400, 8, backward=False)
        assert counter.count(20)[1] == "traced"

    def test_what_is_no_line_is_not_continued(self) -> None:
        class Quadratic(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                for _ in range(x.shape[1] ** 2 // 2):
                    x = x + 1
                return x

        with pytest.raises(Untraceable, match=f"more than {MAX_OPERATIONS:,} operations"):
            Counter(Quadratic().to("meta"), 8, backward=False).count(64)


class TestMemory:
    def test_bytes_by_hand(self) -> None:
        """Linear, GELU: saved are the input, the linear's output (for GELU); weights not."""
        module = nn.Sequential(nn.Linear(16, 16), nn.GELU())
        x = torch.randn(2, 5, 16)
        device = FakeDevice([])
        split = measure_memory(module, x, torch.randn(2, 5, 16), device)
        assert split.activations == 2 * (2 * 5 * 16 * 4)
        assert split.weights == split.gradients == (16 * 16 + 16) * 4
        assert split.optimizer == 2 * split.weights
        assert split.peak == Peak(1000, 2000, "allocator")
        assert all(p.grad is None for p in module.parameters())

    def test_a_storage_counts_once(self) -> None:
        class Twice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.ones(16))

            def forward(self, x: Tensor) -> Tensor:
                return (x * self.scale) * (x.view(x.shape) * self.scale)

        x = torch.randn(1, 8, 16)
        split = measure_memory(Twice(), x, x, FakeDevice([]))
        assert split.activations == 3 * x.numel() * 4  # x once, and the two products

    def test_stored_scores_are_seen(self) -> None:
        """4 heads x T x T probabilities a layer: quadratic at the long end, where the fused kernel is linear."""
        found = {}
        for name in ("attention", "attention_naive"):
            for T in (512, 1024):
                encoder = build_encoder(ARCHITECTURES.get(name), {}, 16, 1, True)
                x = torch.randn(1, T, 16)
                found[name, T] = measure_memory(encoder, x, x, FakeDevice([])).activations
        naive = math.log2(found["attention_naive", 1024] / found["attention_naive", 512])
        fused = math.log2(found["attention", 1024] / found["attention", 512])
        assert 1.9 < naive < 2.0
        assert abs(fused - 1) < 0.01

    def test_peak_on_this_machine(self) -> None:
        device = CPUDevice()

        def step() -> None:
            torch.ones(64 << 18)  # 64 MiB

        peak = device.peak(step)
        if peak.method == "unavailable":
            pytest.skip("this system does not tell the resident set's peak")
        assert 60 << 20 < peak.used < 100 << 20

    def test_out_of_memory_is_recognised(self) -> None:
        with pytest.raises(RuntimeError) as caught:
            torch.empty(1 << 60)
        assert is_out_of_memory(caught.value)
        assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
        assert not is_out_of_memory(RuntimeError("shape mismatch"))
        assert not is_out_of_memory(ValueError("out of memory"))


class TestPath:
    def build(self, name: str, **settings: Any) -> Any:
        return lambda depth: build_encoder(ARCHITECTURES.get(name), settings, 8, depth, True, dtype=torch.float64)

    @pytest.mark.parametrize("T", [8, 20])
    def test_convolution_by_hand(self, T: int) -> None:
        assert layers_to_connect(self.build("conv1d", kernel=3), T, 8) == math.ceil((T - 1) / 2)

    def test_dilated_by_hand(self) -> None:
        # kernel 3, dilations 1, 2, 4, ...: 2 (2^L - 1) tokens back
        assert layers_to_connect(self.build("tcn", kernel=3), 31, 8) == 4
        assert layers_to_connect(self.build("tcn", kernel=3), 32, 8) == 5

    def test_never_connected(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bench.measure.path.MAX_LAYERS", 4)
        with pytest.raises(NotConnected, match="does not depend on the first"):
            layers_to_connect(lambda depth: nn.Linear(8, 8).double(), 10, 8)

    def test_field_of_a_point(self) -> None:
        assert receptive_field(nn.Linear(8, 8).double(), 10, 8, range(10)) == 1


class TestKernels:
    def test_names_on_cpu(self) -> None:
        q = torch.randn(1, 2, 16, 8)
        names, _ = kernels_of(lambda: nn.functional.scaled_dot_product_attention(q, q, q), "cpu")
        assert names == ("_scaled_dot_product_flash_attention_for_cpu",)

    def test_a_loop_is_named_as_one(self) -> None:
        gru = nn.GRU(8, 8, batch_first=True)
        names, operations = kernels_of(lambda: gru(torch.randn(1, 64, 8)), "cpu")
        assert names == ("addmm, step by step",)
        assert operations > 64
        assert telling({"add": 5, "mm": 3}) == ()


def test_devices_that_are_not_there() -> None:
    assert open_device("cpu").name == "cpu"
    with pytest.raises(ValueError, match="use cpu, cuda or cuda:N"):
        open_device("tpu")
    if not torch.cuda.is_available():
        assert open_device("auto").name == "cpu"
        with pytest.raises(ValueError, match="use --device cpu"):
            open_device("cuda")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_cache_is_what_was_appended(sizes: list[int]) -> None:
    """Any chunking, dropping as it goes: live keys are those appended, whatever buffers lie below; branches are apart."""
    from architectures.cache import KVCache

    cache = KVCache.empty(2, 1, 4, torch.device("cpu"), torch.float32)
    everything = torch.randn(2, 1, sum(sizes), 4)
    at = 0
    for size in sizes:
        new = everything[:, :, at : at + size]
        other = cache.append(-new, -new)
        cache = cache.append(new, new).drop_before(at - 3)
        assert torch.equal(other.tensors()[0][:, :, -size:], -new)
        at += size
        assert torch.equal(cache.tensors()[0], everything[:, :, cache.start : at])
    assert state_bytes(cache) == 2 * 2 * (at - cache.start) * 4 * 4
    picked = select_state({"layers": [cache]}, torch.tensor([1]))["layers"][0]
    assert torch.equal(picked.tensors()[1], everything[1:, :, cache.start : at])


@pytest.mark.parametrize(("threads", "phases"), [(2, ["forward", "forward_1_thread"]), (1, ["forward"])])
def test_one_thread_is_timed_once(monkeypatch: pytest.MonkeyPatch, threads: int, phases: list[str]) -> None:
    timed: list[str] = []
    session = SimpleNamespace(send=lambda *_: None, timing=lambda phase, *_, **__: timed.append(phase))
    monkeypatch.setattr(measurements, "encoder_of", lambda _: torch.nn.Identity())
    monkeypatch.setattr(measurements, "inputs_of", lambda _: torch.zeros(1, 4, 8))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    trial = Trial(
        kind="cell", architecture="a", task="", mode="causal", regime="batch1", width=8, depth=1, parameters=1, batch=1,
        length=4, dtype="float32", device="cpu", seed=1, phases=("forward", "forward_1_thread"), seconds=0.04, limit=0.3,
        worker="a",
    )  # fmt: skip
    measurements._cell(trial, session)  # type: ignore[arg-type]
    assert timed == phases
