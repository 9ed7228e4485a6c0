"""Sampling against distributions worked out here; streaming against the parallel pass."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.contract import stream
from bench.decode import generate, probabilities
from bench.registry import ARCHITECTURES
from bench.sampler import Sampler
from tests.training.toys import model

LOGITS = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (Sampler(), [0.4, 0.3, 0.2, 0.1]),
        (Sampler(temperature=0), [1, 0, 0, 0]),
        (Sampler(temperature=0.5), [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        (Sampler(top_k=2), [4 / 7, 3 / 7, 0, 0]),
        (Sampler(top_k=9), [0.4, 0.3, 0.2, 0.1]),
        (Sampler(top_p=0.4), [1, 0, 0, 0]),
        (Sampler(top_p=0.41), [4 / 7, 3 / 7, 0, 0]),
        (Sampler(top_p=0.71), [4 / 9, 3 / 9, 2 / 9, 0]),
        (Sampler(top_k=3, top_p=0.5), [4 / 7, 3 / 7, 0, 0]),
    ],
    ids=lambda v: v.name if isinstance(v, Sampler) else "",
)
def test_known_distributions(sampler: Sampler, expected: list[float]) -> None:
    assert probabilities(LOGITS, sampler)[0].tolist() == pytest.approx(expected)


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=9), st.floats(0.1, 3), st.integers(0, 9), st.floats(0.05, 1))
def test_always_a_distribution_that_keeps_the_likeliest(
    logits: list[float], temperature: float, top_k: int, top_p: float
) -> None:
    p_C = probabilities(torch.tensor([logits]), Sampler(temperature=temperature, top_k=top_k, top_p=top_p))[0]
    assert float(p_C.sum()) == pytest.approx(1)
    assert any(p > 0 and logit >= max(logits) - 1e-6 for p, logit in zip(p_C.tolist(), logits, strict=True))


@pytest.mark.parametrize(
    "name", [e.name for e in ARCHITECTURES.entries.values() if e.source == "built-in" and not e.images]
)
def test_greedy_streaming_equals_the_parallel_pass(name: str) -> None:
    """Each token is what one pass over everything before it says; a beam of one, in other words."""
    net = model(name, seed=1).double().eval()
    prompt_BS = torch.tensor([[1, 2, 3], [4, 5, 6]])
    found_BS = generate(net, prompt_BS, 20, Sampler(temperature=0), stream("x"))
    whole_BS = prompt_BS
    with torch.no_grad():
        for _ in range(20):
            whole_BS = torch.cat([whole_BS, net(whole_BS)[:, -1:].argmax(-1)], 1)
    assert torch.equal(found_BS, whole_BS[:, 3:])


def test_samples_depend_on_the_seed_alone() -> None:
    net = model()
    draws = [generate(net, torch.tensor([[1]]), 30, Sampler(), stream("s", seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_generation_ends_at_the_longest_length() -> None:
    net = model("attention", positions="learned", max_length=8)
    assert generate(net, torch.tensor([[1, 2]]), 30, Sampler(), stream("s")).shape == (1, 6)
