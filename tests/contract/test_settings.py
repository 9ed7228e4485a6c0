"""The contract again over the settings that ablations change, each in both modes; and what each setting promises."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from architectures.positions import RelativeBias, bucket
from bench import conformance
from bench.conformance import Subject
from bench.contract import Mode
from bench.measure.memory import SavedBytes
from bench.models import build_encoder, count_parameters
from bench.registry import ARCHITECTURES

HEADED: dict[str, dict[str, Any]] = {
    "attention": {}, "attention_naive": {}, "windowed": {"window": 8}, "shifted_window": {"window": 8},
}  # fmt: skip
OF_HEADS: list[dict[str, Any]] = [
    {"positions": "none"}, {"positions": "sinusoidal"}, {"positions": "learned"}, {"positions": "relative"},
    {"positions": "relative", "scale": False, "heads": 8}, {"scale": False}, {"heads": 1}, {"heads": 8},
]  # fmt: skip
OF_BLOCKS: list[dict[str, Any]] = [
    {"norm": "post"}, {"norm": "none"}, {"residual": False}, {"mlp": False}, {"dropout": 0.1}, {"init": "gpt2"},
    {"norm": "post", "residual": False, "mlp": False, "dropout": 0.1},
]  # fmt: skip
CONVS2S: dict[str, Any] = {"stack": "convs2s", "gated": True, "mlp": False, "norm": "none"}
VARIANTS = [(name, {**window, **s}) for name, window in HEADED.items() for s in OF_HEADS]
VARIANTS += [(name, s) for name in ("gru", "conv1d", "attention") for s in OF_BLOCKS]
VARIANTS += [
    ("conv1d", {"kernel": 3}),
    ("tcn", {"kernel": 5}),
    ("conv1d", {"gated": True, "mlp": False, "norm": "none"}),
    ("conv1d", CONVS2S),
    ("conv1d", {**CONVS2S, "positions": "learned", "drop_carried": True, "dropout": 0.1}),
]
VARIANTS += [("conv1d", {"positions": "learned"}), ("conv1d", {"positions": "sinusoidal"})]
MODES: tuple[Mode, ...] = ("causal", "bidirectional")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The tensors here are so small that threads only wait for each other, on a busy machine for minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def words(settings: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in settings.items())


def encoder_of(name: str, settings: dict[str, Any], width: int = 16, depth: int = 3, causal: bool = True) -> Any:
    return build_encoder(ARCHITECTURES.get(name), settings, width, depth, causal, dtype=torch.float64)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=[f"{n}-{words(s)}" for n, s in VARIANTS])
def test_contract(name: str, settings: dict[str, Any], mode: Mode) -> None:
    subject = Subject(ARCHITECTURES.get(name), settings, mode)
    conformance.check_shape(subject)
    conformance.check_causality(subject, 24)
    conformance.check_padding(subject)
    conformance.check_gradients(subject)
    conformance.check_streaming(subject)
    # Three blocks of windowed attention and a rest, so that a block with keys on both sides is among them.
    for length in (1, 53 if "window" in settings else 9):
        conformance.check_reference(subject, length)
    conformance.check_receptive_field(subject, 32)
    conformance.check_seeds(subject)


@pytest.mark.parametrize("name", ["conv1d", "tcn"])
@pytest.mark.parametrize("mode", MODES)
def test_kernel_of_one(name: str, mode: Mode) -> None:
    """One tap sees the token alone, so a bidirectional one looks nowhere: all but causality is asked of it."""
    subject = Subject(ARCHITECTURES.get(name), {"kernel": 1}, mode)
    for check in (conformance.check_shape, conformance.check_padding, conformance.check_gradients):
        check(subject)
    conformance.check_streaming(subject)
    conformance.check_reference(subject, 9)
    conformance.check_receptive_field(subject)


@pytest.mark.parametrize("name", ["conv1d", "attention"])
def test_learned_positions_say_where_they_stop(name: str) -> None:
    subject = Subject(ARCHITECTURES.get(name), {"positions": "learned", "max_length": 12}, "causal")
    encoder = subject.build()
    assert subject.traits.max_length == encoder.traits.max_length == 12
    encoder(subject.inputs(1, 12))
    with pytest.raises(ValueError, match="length 13 is past the 12 learned positions"):
        encoder(subject.inputs(1, 13))


@pytest.mark.parametrize("name", HEADED)
def test_relative_bias_costs_what_is_claimed(name: str) -> None:
    """Work and span as without it; bytes kept for backward as the traits say."""
    subject = Subject(ARCHITECTURES.get(name), {**HEADED[name], "positions": "relative"}, "causal")
    conformance.check_costs(subject)
    encoder, saved = subject.build(), []
    for length in (512, 1024):
        with SavedBytes(encoder) as counter:
            encoder(subject.inputs(1, length))
        saved.append(counter.total)
    assert math.log2(saved[1] / saved[0]) == pytest.approx(subject.traits.memory_exponent, abs=0.15)


@pytest.mark.parametrize("name", HEADED)
def test_relative_bias_streams_past_the_pieces_of_long_chunks(name: str) -> None:
    subject = Subject(ARCHITECTURES.get(name), {**HEADED[name], "positions": "relative"}, "causal")
    conformance.check_streaming(subject, 600, (1, 300))
    conformance.check_streaming(subject, 37, (1,) * 36)


class TestRelativeBias:
    @staticmethod
    def row(distance: int, causal: bool) -> int:
        """T5, section 2.1, and its code, in whole numbers: 32 rows; one direction's rows are half for single distances,
        half in equal steps of the logarithm up to 128."""
        rows = 32 if causal else 16
        first = 16 if not causal and distance < 0 else 0
        far = max(distance, 0) if causal else abs(distance)
        if far < rows // 2:
            return first + far
        single = steps = rows // 2
        # Step n begins at single * (128 / single) ** (n / steps): compare both sides to the power of `steps`.
        begun = [n for n in range(steps) if far**steps >= single ** (steps - n) * 128**n]
        return first + single + max(begun)

    @pytest.mark.parametrize("causal", [True, False])
    def test_buckets_are_those_of_the_paper(self, causal: bool) -> None:
        distances = torch.arange(-300, 301)
        assert bucket(distances, causal).tolist() == [self.row(d, causal) for d in distances.tolist()]

    def test_buckets_as_known(self) -> None:
        """Values of the published implementation (`_relative_position_bucket`), worked out by hand."""
        found = bucket(torch.tensor([-5, 0, 1, 15, 16, 18, 19, 127, 128, 10_000]), causal=True)
        assert found.tolist() == [0, 0, 1, 15, 16, 16, 17, 31, 31, 31]
        found = bucket(torch.tensor([0, 7, 8, 11, 12, 16, 64, 128, -1, -7, -8, -500]), causal=False)
        assert found.tolist() == [0, 7, 8, 8, 9, 10, 14, 15, 17, 23, 24, 31]

    @pytest.mark.parametrize("causal", [True, False])
    def test_bias_is_of_the_distance_alone(self, causal: bool) -> None:
        """Any cut out of the whole table of pairs is that cut of it, and every diagonal is one number a head."""
        bias = RelativeBias(3, causal)
        whole = bias(0, 40, 0, 40)
        assert whole.shape == (1, 3, 40, 40)
        for i, j in ((0, 0), (7, 2), (39, 0), (3, 39)):
            expected = bias.table_RH[self.row(i - j, causal)]
            assert torch.equal(whole[0, :, i, j], expected)
        for offset in range(-39, 40):
            diagonal = whole.diagonal(offset, dim1=2, dim2=3)
            assert torch.equal(diagonal, diagonal[..., :1].expand_as(diagonal))
        assert torch.equal(bias(11, 5, 3, 20), whole[:, :, 11:16, 3:23])
        assert torch.equal(bias(1011, 5, 1003, 20), whole[:, :, 11:16, 3:23])

    @pytest.mark.parametrize("name", HEADED)
    @pytest.mark.parametrize("causal", [True, False])
    def test_gradient_reaches_the_rows_that_are_in_reach(self, name: str, causal: bool) -> None:
        encoder = encoder_of(name, {**HEADED[name], "positions": "relative"}, depth=1, causal=causal)
        x = torch.randn(1, 200, 16, dtype=torch.float64)
        encoder(x).backward(torch.randn_like(x))
        i, j = torch.arange(200)[:, None], torch.arange(200)[None]
        mixer = encoder.blocks[0].mixer
        rows = set(bucket((i - j)[mixer.sees(i, j)], causal).tolist())
        assert {row for row in range(32) if mixer.relative.table_RH.grad[row].abs().max() > 0} == rows

    def test_a_strong_bias_decides_who_is_heard(self) -> None:
        """With the whole weight on distance 1 each token gets the value of the token before it."""
        mixer = encoder_of("attention", {"positions": "relative", "heads": 2}).blocks[0].mixer
        with torch.no_grad():
            mixer.relative.table_RH[1] = 1e4
            q, k, v = (torch.randn(1, 2, 9, 8, dtype=torch.float64) for _ in range(3))
            assert torch.allclose(mixer.mix(q, k, v, None)[:, :, 1:], v[:, :, :-1])


@pytest.mark.parametrize("name", HEADED)
def test_unscaled_scores_are_those_of_larger_queries(name: str) -> None:
    """Leaving out the division by sqrt(K) is the same as multiplying all queries by it."""
    plain, unscaled = (encoder_of(name, {**HEADED[name], "scale": scale}) for scale in (True, False))
    with torch.no_grad():
        for block in plain.blocks:
            block.mixer.qkv.weight[:16] *= 2.0  # width 16, 4 heads, K = 4
            block.mixer.qkv.bias[:16] *= 2.0
        x = torch.randn(2, 30, 16, dtype=torch.float64)
        assert torch.allclose(plain(x), unscaled(x), atol=1e-10)


class TestBlocks:
    """Each form of the block against the formula that names it, written out."""

    @pytest.mark.parametrize("norm", ["pre", "post", "none"])
    @pytest.mark.parametrize("residual", [True, False])
    @pytest.mark.parametrize("mlp", [True, False])
    def test_formula(self, norm: str, residual: bool, mlp: bool) -> None:
        encoder = encoder_of("conv1d", {"norm": norm, "residual": residual, "mlp": mlp}, depth=2)
        x = torch.randn(2, 9, 16, dtype=torch.float64)
        y = x
        for block in encoder.blocks:
            for part in [block.mixer, block.mlp] if mlp else [block.mixer]:
                f = part(nn.functional.layer_norm(y, (16,)) if norm == "pre" else y)
                y = y + f if residual else f
                y = nn.functional.layer_norm(y, (16,)) if norm == "post" else y
        y = nn.functional.layer_norm(y, (16,)) if norm == "pre" else y
        assert torch.allclose(encoder(x), y, atol=1e-10)
        norms = sum(isinstance(m, nn.LayerNorm) for m in encoder.modules())
        assert norms == {"pre": 2 * (1 + mlp) + 1, "post": 2 * (1 + mlp), "none": 0}[norm]
        assert any("mlp" in key for key in encoder.state_dict()) == mlp

    @pytest.mark.parametrize("causal", [True, False])
    def test_formula_of_convs2s(self, causal: bool) -> None:
        """Gehring et al. 2017, sections 3.2 and 3.3, with a look at the source that gives `asks @ look`."""
        encoder = encoder_of("conv1d", CONVS2S, depth=2, causal=causal)
        e, look, half = torch.randn(2, 9, 16, dtype=torch.float64), torch.randn(16, 16, dtype=torch.float64), 0.5**0.5
        x = e
        for block in encoder.blocks:
            y = block.mixer(x)
            y = (y + (y + e) * half @ look) * half
            x = (x + y) * half
        found = encoder(e, None, lambda layer, asks: asks + asks @ look)
        assert torch.allclose(found, x if causal else (x + e) * half, atol=1e-10)

    @pytest.mark.parametrize("drop_carried", [True, False])
    @pytest.mark.parametrize("causal", [True, False])
    def test_where_convs2s_drops(self, causal: bool, drop_carried: bool) -> None:
        """With convolutions that give nothing: the embeddings once, a decoder's output once, and its stream where asked."""
        settings = {**CONVS2S, "dropout": 0.3, "drop_carried": drop_carried}
        encoder = encoder_of("conv1d", settings, depth=3, causal=causal).train()
        for block in encoder.blocks:
            nn.init.zeros_(block.mixer.core.weight)
            nn.init.zeros_(block.mixer.core.bias)
        y = encoder(torch.ones(50, 20, 16, dtype=torch.float64))
        times = 1 + causal * (1 + 3 * drop_carried)
        assert (y == 0).double().mean().item() == pytest.approx(1 - 0.7**times, abs=0.02)

    def test_settings_that_convs2s_does_not_have(self) -> None:
        with pytest.raises(ValueError, match="set gated: true, mlp: false, norm: none"):
            encoder_of("conv1d", {"stack": "convs2s"})
        with pytest.raises(ValueError, match="set stack: convs2s"):
            encoder_of("conv1d", {"drop_carried": True})

    def test_defaults_keep_their_names(self) -> None:
        """Weights that are kept on disk are found by name."""
        names = list(encoder_of("attention", {}, depth=1).state_dict())
        parts = ("mixer_norm", "mixer.qkv", "mixer.out", "mlp_norm", "mlp.up", "mlp.down")
        assert names == [f"blocks.0.{p}.{w}" for p in parts for w in ("weight", "bias")] + ["norm.weight", "norm.bias"]

    def test_hidden_width_without_mlp_changes_nothing(self) -> None:
        counts = {count_parameters(encoder_of("gru", {"mlp": False, "mlp_hidden": h})) for h in (None, 1, 99)}
        assert len(counts) == 1


class TestDropout:
    @pytest.mark.parametrize("share", [-0.1, 1.0])
    def test_shares_that_make_no_sense(self, share: float) -> None:
        with pytest.raises(ValueError, match="dropout"):
            encoder_of("gru", {"dropout": share})

    @pytest.mark.parametrize("name", ["gru", "conv1d", "attention"])
    def test_only_in_training_and_as_the_seed_says(self, name: str) -> None:
        plain, dropping = encoder_of(name, {}).eval(), encoder_of(name, {"dropout": 0.1})
        x = torch.randn(2, 20, 16, dtype=torch.float64)

        def trained(seed: int) -> Tensor:
            torch.manual_seed(seed)
            return dropping.train()(x)

        assert torch.equal(dropping.eval()(x), plain(x))
        assert torch.equal(trained(0), trained(0))
        assert not torch.allclose(trained(0), trained(1))
        assert not torch.allclose(trained(0), plain(x))

    @pytest.mark.parametrize(("name", "settings"), [("attention", {}), ("conv1d", {**CONVS2S, "drop_carried": True})])
    def test_reference_and_step_drop_as_forward_does(self, name: str, settings: dict[str, Any]) -> None:
        encoder = encoder_of(name, {**settings, "dropout": 0.5}).train()
        x = torch.randn(2, 20, 16, dtype=torch.float64)
        outputs = []
        for way in ("forward", "reference", "step"):
            torch.manual_seed(0)
            encoder.use_reference = way == "reference"
            empty = encoder.initial_state(2, x.device, x.dtype)
            outputs.append(encoder.step(x, empty)[0] if way == "step" else encoder(x))
        assert torch.allclose(outputs[0], outputs[1]) and torch.allclose(outputs[0], outputs[2])

    @pytest.mark.parametrize("name", HEADED)
    @pytest.mark.parametrize("positions", ["rotary", "relative"])
    @pytest.mark.parametrize("way", ["forward", "reference", "step"])
    def test_of_attention_weights(self, name: str, positions: str, way: str) -> None:
        """With values of one everywhere a head gives the sum of its weights, 1 on average: not 1 in training, 1 else."""
        settings = {**HEADED[name], "positions": positions, "attention_dropout": 0.3}
        encoder = encoder_of(name, settings, depth=2)
        encoder.use_reference = way == "reference"
        mixer = encoder.blocks[1].mixer
        with torch.no_grad():
            mixer.qkv.weight[32:], mixer.qkv.bias[32:] = 0.0, 1.0
            mixer.out.weight.copy_(torch.eye(16))
            mixer.out.bias.zero_()
        x = torch.randn(400, 20, 16, dtype=torch.float64)

        def sums() -> Tensor:
            if way == "step":
                state = mixer.initial_state(400, x.device, x.dtype)
                first, state = mixer.step(x[:, :8], state)
                return torch.cat([first, mixer.step(x[:, 8:], state)[0]], dim=1)
            return mixer.reference(x) if way == "reference" else mixer(x)

        torch.manual_seed(0)
        with torch.no_grad():
            dropped, whole = sums(), (encoder.eval(), sums())[1]
        assert torch.allclose(whole, torch.ones_like(whole))
        assert dropped.std() > 0.1 and dropped.mean().item() == pytest.approx(1, abs=0.02)
        # A token that sees itself alone has one weight: it stays, divided by the share that is kept, or goes.
        alone = dropped[:, 0]
        assert set(alone.flatten().round(decimals=9).tolist()) == {0.0, round(1 / 0.7, 9)}
        assert (alone == 0).double().mean().item() == pytest.approx(0.3, abs=0.05)

    def test_within_the_mlp(self) -> None:
        encoder = encoder_of("conv1d", {"mlp_dropout": 0.3, "norm": "none"}, depth=1).train()
        mlp = encoder.blocks[0].mlp
        with torch.no_grad():
            mlp.up.weight.zero_()
            mlp.up.bias.fill_(5.0)
            mlp.down.weight.copy_(torch.eye(16, 64))
            mlp.down.bias.zero_()
        hidden = mlp(torch.randn(100, 20, 16, dtype=torch.float64)) / nn.functional.gelu(torch.tensor(5.0).double())
        assert torch.allclose(hidden[hidden != 0], torch.tensor(1 / 0.7, dtype=torch.float64))
        assert (hidden == 0).double().mean().item() == pytest.approx(0.3, abs=0.02)
        with pytest.raises(ValueError, match=r"mlp_dropout 1\.0"):
            encoder_of("conv1d", {"mlp_dropout": 1.0})
        with pytest.raises(ValueError, match=r"attention_dropout -0\.1"):
            encoder_of("attention", {"attention_dropout": -0.1})

    def test_the_input_is_dropped_once(self) -> None:
        """With a mixer that gives nothing the output is the input: some numbers zero, the others made up for them."""
        encoder = encoder_of("conv1d", {"dropout": 0.3, "norm": "none", "mlp": False}, depth=2).train()
        for block in encoder.blocks:
            nn.init.zeros_(block.mixer.core.weight)
            nn.init.zeros_(block.mixer.core.bias)
        x = torch.randn(50, 20, 16, dtype=torch.float64)
        for way in ("forward", "step"):
            y = encoder(x) if way == "forward" else encoder.step(x, encoder.initial_state(50, x.device, x.dtype))[0]
            assert torch.allclose(y[y != 0], x[y != 0] / 0.7)
            assert (y == 0).double().mean().item() == pytest.approx(0.3, abs=0.02)

    @pytest.mark.parametrize("mlp", [True, False])
    def test_expected_value_is_kept(self, mlp: bool) -> None:
        """Where everything after it is linear the mean over masks is the output without: a convolution, no norm, no MLP;
        with one, an MLP whose first layer is cut, so that it gives its bias."""
        encoder = encoder_of("conv1d", {"dropout": 0.3, "norm": "none", "mlp": mlp}, width=8, depth=1)
        if mlp:
            nn.init.zeros_(encoder.blocks[0].mlp.up.weight)
        x = torch.randn(1, 5, 8, dtype=torch.float64)
        torch.manual_seed(0)
        with torch.no_grad():
            draws = encoder.train()(x.expand(20_000, -1, -1))
            expected = encoder.eval()(x)[0]
        error = draws.std(0) / math.sqrt(len(draws))
        assert ((draws.mean(0) - expected).abs() < 5 * error).all()


class TestInit:
    @pytest.mark.parametrize("name", ["gru", "conv1d", "attention"])
    @pytest.mark.parametrize("mlp", [True, False])
    def test_gpt2(self, name: str, mlp: bool) -> None:
        depth = 3
        encoder = encoder_of(name, {"init": "gpt2", "mlp": mlp}, width=128, depth=depth)
        small = 0.02 / math.sqrt(depth * (2 if mlp else 1))
        seen = 0
        for path, module in encoder.named_modules():
            if isinstance(module, (nn.Linear, nn.Conv1d)):
                adds = path.endswith((".out", ".down", ".core"))
                assert module.weight.std().item() == pytest.approx(small if adds else 0.02, rel=0.03)
                assert abs(module.weight.mean().item()) < 4 * 0.02 / math.sqrt(module.weight.numel())
                assert not module.bias.any()
                seen += 1
        assert seen == depth * ({"gru": 0, "conv1d": 1, "attention": 2}[name] + (2 if mlp else 0))

    def test_recurrent_cores_keep_their_values(self) -> None:
        torches, ours = (encoder_of("lstm", {"init": init}).state_dict() for init in ("torch", "gpt2"))
        core = "blocks.0.mixer.core.weight_hh_l0"
        assert torch.equal(torches[core], ours[core])

    def test_the_stream_grows_no_more_with_depth(self) -> None:
        """What the division by sqrt(2 depth) is for: with no norm after them the sum of all layers is as large."""
        x = torch.randn(4, 32, 64, dtype=torch.float64)
        added: dict[str, list[float]] = {"torch": [], "gpt2": []}
        for init, sizes in added.items():
            for depth in (2, 8):
                encoder = encoder_of("conv1d", {"init": init}, width=64, depth=depth)
                encoder.norm = nn.Identity()
                sizes.append((encoder(x) - x).std().item())
        growth = {init: long / short for init, sizes in added.items() for short, long in pairwise(sizes)}
        assert growth["gpt2"] < 1.2 < 1.5 < growth["torch"]


@pytest.mark.gpu
@pytest.mark.parametrize("name", HEADED)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_relative_bias_on_cuda(name: str, causal: bool, dtype: torch.dtype) -> None:
    """Outputs and all gradients, the table's included, against the reference in float64 on the CPU."""
    settings = {**HEADED[name], "positions": "relative", "scale": False}
    entry = ARCHITECTURES.get(name)
    ours = build_encoder(entry, settings, 64, 2, causal, device="cuda", dtype=dtype).train()
    plain: Any = build_encoder(entry, settings, 64, 2, causal).to(dtype).double().train()
    plain.use_reference = True
    for T in (37, 128, 333):
        x, grad = torch.randn(2, 2, T, 64).to(dtype).unbind(0)
        results = []
        for encoder in (ours, plain):
            weight = next(encoder.parameters())
            encoder.zero_grad()
            y = encoder(x.to(weight))
            y.backward(grad.to(weight))
            tables = [block.mixer.relative.table_RH.grad for block in encoder.blocks]
            results.append([t.detach().double().cpu() for t in (y, *tables)])
        for found, expected in zip(*results, strict=True):
            assert (found - expected).norm() / expected.norm() < (5e-3 if dtype == torch.float32 else 0.1)
