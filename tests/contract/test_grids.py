"""The contract of architectures made for images, over the registry and over grids that do and do not divide into windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from architectures.window2d import GridWindowMixer
from bench import conformance_of_grids as conformance
from bench.conformance import ContractBroken, Subject
from bench.models import build_encoder
from bench.registry import ARCHITECTURES

GRIDS = [(8, 8), (7, 9), (3, 5)]
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "swin": [
        {"merge": False}, {"stages": 1, "window": 3}, {"bias": False, "shift": False}, {"depths": (1, 3)}, {"window": 64},
        {"norm": "post", "residual": False}, {"mlp": False, "init": "gpt2"},
    ],
    "resnet": [{"stages": 1}, {"residual": False}, {"depths": (1, 3), "stages": 2}, {"mlp_hidden": 5}],
    "cct": [{"convolutions": 2}, {"positions": False}],
    "vit": [{"norm": "post"}, {"heads": 1}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The tensors here are so small that threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" not in metafunc.fixturenames:
        return
    plugins = metafunc.config.getoption("--plugin")
    subjects, ids = [], []
    for entry in ARCHITECTURES.entries.values():
        if not entry.images or (plugins and entry.source not in plugins):
            continue
        usual = [({}, grid) for grid in GRIDS]
        for settings, grid in [*usual, *((s, (6, 8)) for s in SETTINGS.get(entry.name, []))]:
            subjects.append(Subject(entry, settings, "bidirectional", 16, 4, grid))
            ids.append(f"{entry.name}-{'x'.join(map(str, grid))}-{settings or 'default'}")
    metafunc.parametrize("subject", subjects, ids=ids)


def test_contract(subject: Subject) -> None:
    conformance.check_shape(subject)
    conformance.check_depends_on_all(subject)
    conformance.check_gradients_of_grid(subject)
    conformance.check_seeds_of_grid(subject)
    conformance.check_reference(subject)
    conformance.check_field(subject)


def test_traits_say_what_it_takes(subject: Subject) -> None:
    traits = subject.traits
    assert "grid" in traits.layouts and traits.modes == {"bidirectional"}
    if "sequence" not in traits.layouts:
        with pytest.raises(ValueError, match="needs a grid"):
            build_encoder(subject.entry, {}, 16, 4, False)


@pytest.mark.parametrize("name", [e.name for e in ARCHITECTURES.entries.values() if e.images])
def test_costs(name: str) -> None:
    conformance.check_costs(Subject(ARCHITECTURES.get(name), {}, "bidirectional", 16, 4, (8, 8)))


def test_false_claims_are_found() -> None:
    """Every check finds the fault that it is there for."""
    entry = ARCHITECTURES.get("resnet")

    def lying(config: Any, width: int, depth: int, causal: bool, grid: Any = None) -> nn.Module:
        encoder = entry.build(config, width, depth, causal, grid)
        encoder.receptive_field, encoder.out_width = 9, 17
        encoder.traits = replace(encoder.traits, time_exponent=2.0)
        return encoder

    subject = Subject(replace(entry, build=lying), {}, "bidirectional", 8, 3, (8, 8))
    for check, message in (
        (conformance.check_field, "declared 9"),
        (conformance.check_shape, "stated width 17"),
        (conformance.check_costs, r"traits say T\^2"),
    ):
        with pytest.raises(ContractBroken, match=message):
            check(subject)

    class Blind(nn.Module):
        traits = ARCHITECTURES.get("vit").build(ARCHITECTURES.get("vit").config(), 16, 1, False).traits
        receptive_field = None

        def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
            return x_BTD * (torch.arange(x_BTD.shape[1]) < 5)[:, None]

    blind = Subject(replace(entry, build=lambda *a: Blind()), {}, "bidirectional", 16, 1, (4, 4))
    with pytest.raises(ContractBroken, match="token at place 5"):
        conformance.check_depends_on_all(blind)


class TestWindows:
    """Borders: closed where windows stand still, crossed where they move."""

    def mixer(self, grid: tuple[int, int], window: int, shifted: bool) -> GridWindowMixer:
        torch.manual_seed(0)
        return GridWindowMixer(8, 2, grid, window, shifted, True).double()

    def seen(self, mixer: GridWindowMixer, grid: tuple[int, int]) -> torch.Tensor:
        return conformance.dependence(mixer, grid[0] * grid[1], 8)

    @pytest.mark.parametrize("grid", [(8, 8), (6, 10), (7, 5)])
    @pytest.mark.parametrize("window", [2, 3, 4])
    def test_windows_at_rest_do_not_leak(self, grid: tuple[int, int], window: int) -> None:
        y, x = torch.arange(grid[0]).repeat_interleave(grid[1]), torch.arange(grid[1]).repeat(grid[0])
        block = (y // window) * 100 + x // window
        assert torch.equal(self.seen(self.mixer(grid, window, False), grid), block[:, None] == block)

    @pytest.mark.parametrize("grid", [(8, 8), (6, 10), (7, 5)])
    def test_shifted_windows_cross_the_borders_and_nothing_wraps_around(self, grid: tuple[int, int]) -> None:
        """Written with places alone, no roll: blocks begin at half a window, the first of an axis is half as long."""
        window = 4
        seen = self.seen(self.mixer(grid, window, True), grid)
        y, x = torch.arange(grid[0]).repeat_interleave(grid[1]), torch.arange(grid[1]).repeat(grid[0])
        block_y = (y + window // 2) // window if grid[0] > window else y * 0
        block_x = (x + window // 2) // window if grid[1] > window else x * 0
        assert torch.equal(seen, (block_y[:, None] == block_y) & (block_x[:, None] == block_x))
        at_rest = self.seen(self.mixer(grid, window, False), grid)
        assert (seen & ~at_rest).any()

    def test_swin_without_shifts_keeps_to_its_windows_and_with_them_does_not(self) -> None:
        counts = {}
        for shift in (False, True):
            settings = {"stages": 1, "shift": shift, "window": 4}
            encoder = build_encoder(
                ARCHITECTURES.get("swin"), settings, 16, 2, False, dtype=torch.float64, grid=(8, 8)
            ).eval()
            counts[shift] = conformance.dependence(encoder, 64, 16).sum(1)
        assert counts[False].max() == 16 and counts[True].max() > 16


def test_vit_equals_the_librarys_own_transformer() -> None:
    """The same weights in `nn.TransformerEncoder`, pre-norm with GELU: the same outputs."""
    width, heads, depth = 32, 4, 3
    ours: Any = build_encoder(ARCHITECTURES.get("vit"), {"heads": heads}, width, depth, False, grid=(4, 4)).eval()
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
    theirs = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False).eval()
    for block, other in zip(ours.blocks, theirs.layers, strict=True):
        pairs = [
            (block.mixer.qkv.weight, other.self_attn.in_proj_weight), (block.mixer.qkv.bias, other.self_attn.in_proj_bias),
            *zip(block.mixer.out.parameters(), other.self_attn.out_proj.parameters(), strict=True),
            *zip(block.mlp.up.parameters(), other.linear1.parameters(), strict=True),
            *zip(block.mlp.down.parameters(), other.linear2.parameters(), strict=True),
        ]  # fmt: skip
        for a, b in pairs:
            b.data.copy_(a.data)
    x_BTD = torch.randn(2, 16, width)
    with torch.no_grad():
        assert torch.allclose(ours(x_BTD), theirs(x_BTD), atol=1e-5)
