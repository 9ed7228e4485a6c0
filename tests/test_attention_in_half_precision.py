"""Attention in bfloat16 and float16 on a CPU: which format trains, and that it changes no more than rounding."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.scaled_dot import FEW, scaled_dot

HALVES = [torch.bfloat16, torch.float16]


def inputs(keys: int, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(keys)
    shapes = [(2, 3, 4, 8), (2, 3, keys, 8), (2, 3, keys, 8)]
    return [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", ["nothing masked", "where to look", "numbers to add"])
def test_few_keys_train_in_float32_and_come_back_as_asked(dtype: torch.dtype, kind: str) -> None:
    look = torch.ones(4, 7, dtype=torch.bool).tril(3)
    masks = {"nothing masked": None, "where to look": look, "numbers to add": look.to(dtype)}
    leaves = inputs(7, dtype)
    wide = [t.detach().float().requires_grad_() for t in leaves]
    mask = masks[kind]
    expected = F.scaled_dot_product_attention(*wide, mask.float() if kind == "numbers to add" else mask, scale=0.3)
    found = scaled_dot(*leaves, mask, scale=0.3)
    assert found.dtype == dtype
    assert torch.equal(found, expected.to(dtype))
    found.sum().backward()
    expected.sum().backward()
    for ours, theirs in zip(leaves, wide, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad.to(dtype))


@pytest.mark.parametrize("dtype", HALVES)
def test_autocast_gives_its_own_format_from_float32(dtype: torch.dtype) -> None:
    leaves = inputs(7, torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        found = scaled_dot(*leaves)
        assert torch.is_autocast_enabled("cpu")
    assert found.dtype == dtype
    assert torch.equal(found, F.scaled_dot_product_attention(*leaves).to(dtype))


@pytest.mark.parametrize(("keys", "gradient"), [(FEW, True), (7, False)])
def test_many_keys_and_inference_are_torchs_own(keys: int, gradient: bool) -> None:
    leaves = inputs(keys, torch.bfloat16)
    with torch.set_grad_enabled(gradient):
        assert torch.equal(scaled_dot(*leaves), F.scaled_dot_product_attention(*leaves))


def test_float32_keeps_the_callers_format_and_bits() -> None:
    for dtype in (torch.float32, torch.float64):
        leaves = inputs(7, dtype)
        found = scaled_dot(*leaves)
        assert found.dtype == dtype
        assert torch.equal(found, F.scaled_dot_product_attention(*leaves))
