"""Cross-entropy in chunks: as torch has it, whatever the shape, number format and smoothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from bench.contract import IGNORE, TaskShape
from bench.measure.memory import SavedBytes
from bench.training import large_logits
from bench.training.large_logits import summed_cross_entropy
from bench.training.losses import loss_sum


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40),
    classes=st.integers(2, 30),
    chunk=st.integers(1, 200),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
    ignored=st.floats(0, 1),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 1000),
)
def test_as_torch_has_it(
    rows: int, classes: int, chunk: int, smoothing: float, ignored: float, dtype: torch.dtype, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = (5 * torch.randn(rows, classes, generator=draw)).to(dtype)
    targets = torch.randint(classes, (rows,), generator=draw)
    targets[torch.rand(rows, generator=draw) < ignored] = IGNORE
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_logits, "CHUNK", chunk)
        found = summed_cross_entropy(ours, targets, IGNORE, smoothing)
    expected = F.cross_entropy(plain.float(), targets, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)
    (found / 7).backward()
    (expected / 7).backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert ours.grad is not None and plain.grad is not None
    close = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-2, "atol": 1e-3}
    torch.testing.assert_close(ours.grad, plain.grad, **close)


def test_large_logits_take_it_and_small_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = TaskShape(8, 8, 16, "token", vocabulary=16)
    logits, targets = torch.randn(4, 8, 16), torch.randint(16, (4, 8))
    small = loss_sum(logits, targets, shape)
    calls = []
    monkeypatch.setattr("bench.training.losses.LARGE", logits.numel())
    monkeypatch.setattr(
        "bench.training.losses.summed_cross_entropy",
        lambda *given: (calls.append(1), summed_cross_entropy(*given))[1],
    )
    torch.testing.assert_close(loss_sum(logits, targets, shape), small)
    assert calls == [1]
    loss_sum(logits[:3], targets[:3], shape)
    assert calls == [1]


def test_a_gradient_asked_for_twice() -> None:
    loss = summed_cross_entropy(torch.randn(3, 5, requires_grad=True), torch.tensor([0, 1, 2]), IGNORE)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        loss.backward()


def test_without_a_gradient_none_is_made() -> None:
    with torch.no_grad():
        found = summed_cross_entropy(torch.zeros(3, 5), torch.tensor([0, 1, IGNORE]), IGNORE)
    assert float(found) == pytest.approx(2 * torch.tensor(5.0).log().item())


def test_the_gradient_that_is_kept_counts_as_memory_kept_for_backward() -> None:
    head = torch.nn.Linear(4, 50, bias=False)
    with SavedBytes(head) as saved:
        summed_cross_entropy(head(torch.zeros(6, 4)), torch.zeros(6, dtype=torch.long), IGNORE)
    assert saved.total == 4 * (6 * 4 + 6 * 50)  # the head's input and the gradient of its logits
