"""Models that write: all at once and step by step give the same numbers, nothing leaks, beams are what they claim to be."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import bench.beam
from bench.attention_maps import attention_maps
from bench.beam import Search, Written, write, write_all
from bench.contract import DecoderKind, DecoderPlan, TaskShape
from bench.models import build_encoder, build_writer
from bench.registry import ARCHITECTURES, Entry
from bench.translator import Writer, before_target, positions, reversed_real

END = 1
LENGTHS = (7, 3, 5)


def causal(entry: Entry) -> bool:
    encoder: Any = build_encoder(entry, {}, 16, 1, "bidirectional" not in _traits(entry), device="meta")
    return "causal" in encoder.traits.modes and hasattr(encoder, "step")


def _traits(entry: Entry) -> frozenset[str]:
    for is_causal in (True, False):
        try:
            found: Any = build_encoder(entry, {}, 16, 1, is_causal, device="meta")
        except ValueError:
            continue
        return frozenset(found.traits.modes)
    return frozenset()


WRITERS = [e.name for e in ARCHITECTURES.entries.values() if not e.images and causal(e)]
# Settings that change how a decoder's layers ask the source.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "convs2s": ("conv1d", {"stack": "convs2s", "gated": True, "mlp": False, "norm": "none", "positions": "learned"})
}
PLANS = {
    "none": DecoderPlan(cross="none"),
    "additive": DecoderPlan(cross="additive"),
    "dot": DecoderPlan(cross="dot", heads=2),
    "reversed": DecoderPlan(cross="dot", heads=2, backwards=True),
    "shared": DecoderPlan("shared", "attention", cross="dot", heads=2),
    "prefix": DecoderPlan("prefix"),
}
FED = DecoderPlan(cross="additive", feeding=True)


def shape(plan: DecoderPlan, vocabulary: int = 11) -> TaskShape:
    return TaskShape(8, 8, vocabulary, "token", vocabulary=13, target_length=9, end=END, decoder=plan)


def model(name: str, plan: DecoderPlan, vocabulary: int = 11, seed: int = 0) -> Writer:
    name, settings = VARIANTS.get(name, (name, {}))
    entry = ARCHITECTURES.get(name)
    mode: Any = "bidirectional" if "bidirectional" in _traits(entry) else "causal"
    found = build_writer(entry, settings, 16, 2, mode, shape(plan, vocabulary), "mean", seed=seed)
    return found.double().eval()


def source(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    keep_BS = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    ids_BS = torch.randint(2, 13, (len(lengths), max(lengths)), generator=generator)
    return ids_BS, None if keep_BS.all() else keep_BS


def given(batch: int, length: int = 6, vocabulary: int = 11) -> Tensor:
    return torch.randint(2, vocabulary, (batch, length), generator=torch.Generator().manual_seed(3))


CASES = [(name, plan) for name in [*WRITERS, *VARIANTS] for plan in PLANS] + [
    (name, "fed") for name in ("rnn", "lstm", "gru")
]


def plan_of(name: str) -> DecoderPlan:
    return FED if name == "fed" else PLANS[name]


@pytest.mark.parametrize(("name", "plan"), CASES)
class TestWriters:
    def test_step_by_step_is_all_at_once(self, name: str, plan: str) -> None:
        net = model(name, plan_of(plan))
        ids_BS, keep_BS = source((5, 5, 5)) if net.equal_lengths else source()
        given_BU = given(3)
        with torch.no_grad():
            whole_BUC = net(ids_BS, keep_BS, given_BU)
            state = net.start(ids_BS, keep_BS)
            pieces = []
            for chunk in given_BU.split([1, 1, 3, 1], dim=1):
                logits, state = net.step(chunk, state)
                pieces.append(logits)
        torch.testing.assert_close(torch.cat(pieces, 1), whole_BUC, rtol=0, atol=1e-8)

    def test_later_targets_do_not_leak_and_the_source_is_read(self, name: str, plan: str) -> None:
        net = model(name, plan_of(plan))
        ids_BS, keep_BS = source()
        given_BU = given(3)
        changed = given_BU.clone()
        changed[:, 3:] = 2 + (changed[:, 3:] - 1) % 9
        with torch.no_grad():
            whole, other = net(ids_BS, keep_BS, given_BU), net(ids_BS, keep_BS, changed)
            torch.testing.assert_close(other[:, :3], whole[:, :3], rtol=0, atol=1e-10)
            assert (other[:, 3:] - whole[:, 3:]).abs().max() > 1e-6
            elsewhere = net(2 + (ids_BS - 1) % 11, keep_BS, given_BU)
        # A decoder-only model of short reach sees the source at its first tokens only.
        assert (elsewhere - whole).abs().amax((1, 2)).min() > 1e-9

    def test_padding_changes_nothing(self, name: str, plan: str) -> None:
        net = model(name, plan_of(plan))
        ids_BS, keep_BS = source()
        given_BU = given(3)
        assert keep_BS is not None
        garbage_BS = torch.where(keep_BS, ids_BS, 12)
        with torch.no_grad():
            together = net(garbage_BS, keep_BS, given_BU)
            for row, length in enumerate(LENGTHS):
                alone = net(ids_BS[row : row + 1, :length], None, given_BU[row : row + 1])
                torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-8)

    def test_every_parameter_learns(self, name: str, plan: str) -> None:
        net = model(name, plan_of(plan)).train()
        ids_BS, keep_BS = source()
        out = net(ids_BS, keep_BS, given(3))
        out.backward(torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(9)))
        for parameter_name, parameter in net.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("cross", ["none", "additive", "dot"])
class TestOwnGuesses:
    """Teacher forcing below 1: a model that learns goes on from its own guesses."""

    def test_without_any_token_given_it_learns_from_what_it_writes(self, name: str, cross: Any) -> None:
        net = model(name, DecoderPlan(cross=cross, heads=2, teacher_forcing=0.0)).train()
        ids_BS, keep_BS = source()
        given_BU = given(3)
        found = net(ids_BS, keep_BS, given_BU)
        with torch.no_grad():
            own_BU = torch.cat([given_BU[:, :1], found.argmax(-1)[:, :-1]], 1)
            torch.testing.assert_close(net.eval()(ids_BS, keep_BS, own_BU), found, rtol=0, atol=1e-8)
            given_all = net(ids_BS, keep_BS, given_BU)  # no model that is looked at goes on from guesses
        assert (given_all[:, 1:] - found[:, 1:]).abs().max() > 1e-6

    def test_half_the_tokens_are_given_and_every_parameter_learns(self, name: str, cross: Any) -> None:
        net = model(name, DecoderPlan(cross=cross, heads=2, teacher_forcing=0.5)).train()
        ids_BS, keep_BS = source()
        given_BU = given(3)
        torch.manual_seed(5)
        forced = torch.rand(6) < 0.5
        assert 0 < forced[1:].sum() < 5
        torch.manual_seed(5)
        found = net(ids_BS, keep_BS, given_BU)
        found.backward(torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(9)))
        for parameter_name, parameter in net.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, parameter_name
        mixed_BU = given_BU.clone()
        for u in range(1, 6):
            if not forced[u]:
                mixed_BU[:, u] = found[:, u - 1].argmax(-1)
        with torch.no_grad():
            torch.testing.assert_close(net.eval()(ids_BS, keep_BS, mixed_BU), found, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "plan"), [("gru", "additive"), ("attention", "dot"), ("conv1d", "reversed"), ("lstm", "fed")]
)
def test_shares_sum_to_one_over_the_real_source(name: str, plan: str) -> None:
    net = model(name, plan_of(plan))
    ids_BS, keep_BS = source()
    maps = net.alignments(ids_BS, keep_BS, given(3))
    assert len(maps) == 2 and keep_BS is not None
    for weights_BHUS in maps:
        assert weights_BHUS.shape[0] == 3 and weights_BHUS.shape[2:] == (6, 7)
        torch.testing.assert_close(weights_BHUS.sum(-1), torch.ones_like(weights_BHUS[..., 0]))
        assert (weights_BHUS * ~keep_BS[:, None, None]).abs().max() == 0


@pytest.mark.parametrize("kind", ["matched", "prefix"])
def test_alignments_are_in_the_order_of_the_source(kind: DecoderKind) -> None:
    """Reading backwards turns nothing around for the reader: the same weights stand over the same words."""
    net = model("attention", replace(PLANS["reversed"], kind=kind))
    ids_BS, keep_BS = source()
    upright = net.alignments(ids_BS, keep_BS, given(3))
    object.__setattr__(net, "plan", replace(net.plan, backwards=False))
    backwards = net.alignments(reversed_real(ids_BS, keep_BS), keep_BS, given(3))
    assert keep_BS is not None
    for a, b in zip(upright, backwards, strict=True):
        turned = torch.stack([reversed_real(b[:, h, u], keep_BS) for h in range(b.shape[1]) for u in range(6)], 1)
        torch.testing.assert_close(a.flatten(1, 2), turned)


@pytest.mark.parametrize("cross", ["additive", "dot"])
def test_weights_of_looks_are_dropped_while_learning(cross: Any) -> None:
    """And are on average what they are without."""
    plain, dropping = (model("gru", DecoderPlan(cross=cross, heads=2, attention_dropout=p)) for p in (0.0, 0.5))
    ids_BS, keep_BS = source()
    with torch.no_grad():
        whole = plain(ids_BS, keep_BS, given(3))
        assert torch.equal(dropping(ids_BS, keep_BS, given(3)), whole)
        assert not torch.allclose(dropping.train()(ids_BS, keep_BS, given(3)), whole)
        torch.manual_seed(0)
        taken = [dropping.crosses[0](torch.ones(3, 2000, 16).double(), keys_of(dropping), keep_BS)[1] for _ in range(2)]
        expected = plain.crosses[0](torch.ones(3, 1, 16).double(), keys_of(plain), keep_BS)[1]
    assert torch.allclose(torch.cat(taken, 1).mean(1, keepdim=True), expected, atol=0.05)


def keys_of(net: Any) -> Any:
    """What the first layer keeps of the source that `source` gives."""
    ids_BS, keep_BS = source()
    return net.crosses[0].keys(net.encoder(net._front(ids_BS, keep_BS), keep_BS))


def test_a_decoder_that_all_share_gets_the_dropout_that_it_has() -> None:
    """An encoder's attention dropout says nothing to a shared decoder that looks at no weights of its own."""
    plan = DecoderPlan("shared", "gru", cross="dot", heads=2)
    settings = {"attention_dropout": 0.1, "mlp_dropout": 0.2, "dropout": 0.3}
    net = build_writer(ARCHITECTURES.get("attention"), settings, 16, 2, "bidirectional", shape(plan), "mean")
    block: Any = net.decoder.blocks[0]  # type: ignore[union-attr]
    assert (block.dropout, block.mlp.dropout) == (0.3, 0.2)


def test_a_decoder_only_model_looks_at_the_source_within_its_one_stack() -> None:
    """The same shares as in the whole map of `source target`, each sentence alone; rows also look at the target."""
    net = model("attention", PLANS["prefix"])
    ids_BS, keep_BS = source()
    maps = net.alignments(ids_BS, keep_BS, given(3))
    assert len(maps) == 2 and keep_BS is not None
    for row, length in enumerate(LENGTHS):
        alone = attention_maps(net, ids_BS[row : row + 1, :length], None, given(3)[row : row + 1])
        for weights_BHUS, whole_1HPP in zip(maps, alone, strict=True):
            expected = whole_1HPP[0, :, length:, :length]
            torch.testing.assert_close(weights_BHUS[row, ..., :length], expected)
            assert not weights_BHUS[row, ..., length:].any()
            assert (expected.sum(-1) < 1).all() and (expected.sum(-1) > 0).all()
    assert model("gru", PLANS["prefix"]).alignments(ids_BS, keep_BS, given(3)) == []


def test_only_recurrences_can_be_fed() -> None:
    with pytest.raises(ValueError, match="input feeding"):
        model("attention", FED)


# Beams.


def rescored(net: Writer, ids_1S: Tensor, written: Written, penalty: float) -> float:
    """By the parallel pass."""
    whole = torch.tensor([[*written.ids, END]])
    given_1U = torch.tensor([[END, *written.ids]])
    with torch.no_grad():
        logp_1UC = net(ids_1S, None, given_1U).log_softmax(-1)
    return float(logp_1UC.gather(-1, whole[..., None]).sum()) / whole.shape[1] ** penalty


def greedy(net: Writer, ids_1S: Tensor, limit: int) -> tuple[int, ...]:
    """As plainly as can be: the whole pass again for every token."""
    found: list[int] = []
    with torch.no_grad():
        while len(found) <= limit:
            token = int(net(ids_1S, None, torch.tensor([[END, *found]]))[0, -1].argmax())
            if token == END or len(found) == limit:
                break
            found.append(token)
    return tuple(found)


@pytest.mark.parametrize(("name", "plan"), [("gru", "none"), ("attention", "dot"), ("conv1d", "prefix"), ("lstm", "fed"),
                                            ("windowed", "additive")])  # fmt: skip
class TestBeams:
    def test_one_beam_is_greedy(self, name: str, plan: str) -> None:
        for seed in range(4):
            net = model(name, plan_of(plan), seed=seed)
            ids_BS, _ = source((5, 5, 5), seed)
            for row, found in enumerate(write(net, ids_BS, None, END, [6, 6, 6])):
                assert found.ids == greedy(net, ids_BS[row : row + 1], 6)

    @pytest.mark.parametrize("penalty", [0.0, 1.0])
    def test_scores_are_those_of_the_parallel_pass(self, name: str, plan: str, penalty: float) -> None:
        ended = 0
        for seed in range(6):
            net = model(name, plan_of(plan), vocabulary=4, seed=seed)
            ids_BS, _ = source((5, 5), seed)
            for row, found in enumerate(write(net, ids_BS, None, END, [6, 6], beam=3, penalty=penalty)):
                if found.ended:
                    ended += 1
                    assert found.score == pytest.approx(rescored(net, ids_BS[row : row + 1], found, penalty), abs=1e-5)
        assert ended

    def test_a_wide_beam_finds_the_best_of_all(self, name: str, plan: str) -> None:
        for seed in range(4):
            net = model(name, plan_of(plan), vocabulary=4, seed=seed)
            ids_1S, _ = source((5,), seed)
            every = [ids for n in range(4) for ids in itertools.product((0, 2, 3), repeat=n)]
            scores = {ids: rescored(net, ids_1S, Written(ids, 0.0, True), 1.0) for ids in every}
            (found,) = write(net, ids_1S, None, END, [3], beam=500)
            assert found.ended and found.ids == max(scores, key=scores.__getitem__)
            assert found.score == pytest.approx(max(scores.values()), abs=1e-5)

    def test_batched_is_alone(self, name: str, plan: str) -> None:
        net = model(name, plan_of(plan))
        ids_BS, keep_BS = source()
        together = write_all(net, [(ids_BS, keep_BS)], END, lambda n: n + 2, beam=3)
        for row, length in enumerate(LENGTHS):
            (alone,) = write(net, ids_BS[row : row + 1, :length], None, END, [length + 2], beam=3)
            assert alone.ids == together[row].ids and alone.score == pytest.approx(together[row].score, abs=1e-6)


def test_a_search_that_nothing_ends_goes_on_with_all_its_beginnings() -> None:
    """What timing asks for: no sentence leaves, though the model would end it at once."""
    net = model("gru", PLANS["dot"])
    with torch.no_grad():
        net.head.bias[END] = 1e4
        state = net.start(*source((5, 5)))
    search = Search(net, state, torch.full((2, 1), END), -1, [9, 9], 3, 1.0)
    for step in range(4):
        search.step()
        assert len(search.given_N1) == 6 and [len(s.begun) for s in search.going] == [3, 3], step
    assert search.found == [None, None]


def test_a_greedy_search_copies_no_state_until_a_sentence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[int] = []
    whole = bench.beam.select_state
    monkeypatch.setattr(
        bench.beam, "select_state", lambda state, index: (copied.append(len(index)), whole(state, index))[1]
    )
    net = model("attention", PLANS["dot"])
    with torch.no_grad():
        net.head.bias[END] = -1e4
    write(net, source((5, 5))[0], None, END, [6, 3], beam=1)
    assert copied == [1]  # the second sentence is cut at 3


@pytest.mark.parametrize(("plan", "before"), [("dot", 0), ("none", 0), ("prefix", 5)])
def test_a_source_takes_positions_from_a_target_only_where_both_are_one_text(plan: str, before: int) -> None:
    made = shape(PLANS[plan])
    settings = {"positions": "learned", "max_length": 20}
    net = build_writer(ARCHITECTURES.get("attention"), settings, 16, 2, "bidirectional", made, "mean")
    assert positions(net) == 20 and before_target(net, 5) == before
    assert positions(model("gru", PLANS[plan])) is None


def test_a_target_without_end_is_cut_and_says_so() -> None:
    net = model("gru", PLANS["dot"])
    with torch.no_grad():
        net.head.bias[END] = -1e4
    ids_BS, _ = source((5, 5))
    for found in write(net, ids_BS, None, END, [4, 2], beam=2):
        assert not found.ended
    assert [len(found.ids) for found in write(net, ids_BS, None, END, [4, 2], beam=2)] == [4, 2]


def test_sources_of_several_lengths_are_refused_where_one_is_needed() -> None:
    net = model("gru", PLANS["prefix"])
    with pytest.raises(ValueError, match="one length"):
        net.start(*source())
