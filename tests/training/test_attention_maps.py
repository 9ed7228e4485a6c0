"""Attention weights are those the layers use: they give the layers' own outputs, in every architecture that has them."""

from __future__ import annotations

import pytest
import torch

from architectures.heads import HeadMixer
from bench.attention_maps import attention_maps
from bench.models import build_encoder
from bench.registry import ARCHITECTURES

NAMES = ("attention", "attention_naive", "windowed", "shifted_window")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("causal", [True, False])
def test_weights_times_values_are_the_output(name: str, causal: bool) -> None:
    settings = {} if name.startswith("attention") else {"window": 4}
    encoder = build_encoder(ARCHITECTURES.get(name), settings, 16, 2, causal, seed=0).double()
    x_BTD = torch.randn(2, 9, 16, dtype=torch.double)
    keep_BT = torch.arange(9) < torch.tensor([[9], [6]])
    for mixer in (m for m in encoder.modules() if isinstance(m, HeadMixer)):
        shares = mixer.weights(x_BTD, keep_BT)
        assert shares.shape == (2, mixer.heads, 9, 9)
        torch.testing.assert_close(shares.sum(-1), torch.ones_like(shares[..., 0]))
        assert not shares[1, :, :6, 6:].any()  # nobody looks at padding
        if causal:
            assert not shares.triu(1).any()
        v = mixer._project(x_BTD, 0)[2]
        out = mixer._merge(shares @ v)
        torch.testing.assert_close(out[:, :6], mixer(x_BTD, keep_BT)[:, :6])


def test_maps_of_a_model_and_nothing_for_others() -> None:
    encoder = build_encoder(ARCHITECTURES.get("attention"), {"dropout": 0.5}, 16, 3, False, seed=0).train()
    maps = attention_maps(encoder, torch.randn(1, 5, 16))
    assert [m.shape for m in maps] == [(1, 4, 5, 5)] * 3 and not any(m.requires_grad for m in maps)
    assert encoder.training and not any(m._forward_pre_hooks for m in encoder.modules())
    assert attention_maps(build_encoder(ARCHITECTURES.get("lstm"), {}, 16, 1, False), torch.randn(1, 5, 16)) == []
