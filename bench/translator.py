"""Models that write: an encoder that reads the source and a causal decoder that writes the target, or one causal stack that
does both. Any registered architecture serves as either, with no code of its own.

Training shows a model all of the target at once (`forward`); writing goes on from a state (`start`, `step`). Both give the
same numbers.

Legend: B batch, S source tokens, U target tokens, D width, C target vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.attention_maps import attention_maps
from bench.contract import Between, DecoderPlan, Layered, State, StreamingEncoder, TaskShape, is_layered
from bench.cross import CrossAttention, Keys, make_cross
from bench.frontends import make_front_end, pool
from bench.training.recipe import Embedding, Pooling


class Writer(nn.Module):
    """Embeddings and head of both kinds of model."""

    equal_lengths = False
    """Whether `start` wants sources without padding."""

    def __init__(self, shape: TaskShape, width: int, embedding: Embedding) -> None:
        super().__init__()
        self.plan = cast(DecoderPlan, shape.decoder)
        self.front = make_front_end(shape, width, embedding)
        # One vocabulary is one table only where the plan ties: untied models have as many as with two vocabularies.
        shared = shape.joint and self.plan.tied
        self.target = self.front if shared else make_front_end(_target_shape(shape), width, embedding)
        self.head = nn.Linear(width, shape.outputs, bias=not self.plan.tied)
        if self.plan.tied:
            self.head.weight = cast(nn.Embedding, self.target).weight

    def forward(self, source_BS: Tensor, keep_BS: Tensor | None, given_BU: Tensor) -> Tensor:
        """Logits (B, U, C) of the token after each given one."""
        raise NotImplementedError

    def start(self, source_BS: Tensor, keep_BS: Tensor | None) -> State:
        """The state of having read the source and written nothing."""
        raise NotImplementedError

    def step(self, given_BU: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, U, C) after the next given tokens."""
        raise NotImplementedError

    def alignments(self, source_BS: Tensor, keep_BS: Tensor | None, given_BU: Tensor) -> list[Tensor]:
        """How much each target token takes of each source token, (B, H, U, S), one a layer; none where nothing looks."""
        raise NotImplementedError

    @property
    def layer_parameters(self) -> int:
        """Parameters of all but embeddings and head."""
        outside = {id(p) for part in (self.front, self.target, self.head) for p in part.parameters()}
        return sum(p.numel() for p in self.parameters() if id(p) not in outside)

    def _front(self, source_BS: Tensor, keep_BS: Tensor | None) -> Tensor:
        return self.front(reversed_real(source_BS, keep_BS) if self.plan.backwards else source_BS)

    def _upright(self, weights_BHUS: Tensor, keep_BS: Tensor | None) -> Tensor:
        """Columns in the order of the source as it was given."""
        if not self.plan.backwards:
            return weights_BHUS
        B, H, U, S = weights_BHUS.shape
        index_BS = reversed_real(torch.arange(S, device=weights_BHUS.device).expand(B, S), keep_BS)
        return weights_BHUS.gather(3, index_BS[:, None, None].expand(B, H, U, S))


def _target_shape(shape: TaskShape) -> TaskShape:
    return TaskShape(shape.target_length, shape.target_length, shape.outputs, "token", vocabulary=shape.outputs)


class EncoderDecoder(Writer):
    """Args:
    decoder: a causal encoder. Where it is `Layered`, each of its layers looks at the source behind its mixer; any other
        looks once, behind its last layer.
    pooling: how the source becomes one vector, for `cross` "none".
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        shape: TaskShape,
        width: int,
        pooling: Pooling,
        embedding: Embedding,
    ) -> None:
        super().__init__(shape, width, embedding)
        self.encoder, self.decoder, self.pooling = encoder, decoder, pooling
        self.layered = is_layered(decoder)
        layers = cast(Layered, decoder).layers if self.layered else 1
        looks = self.plan.cross != "none"
        self.crosses = nn.ModuleList(make_cross(self.plan, width) for _ in range(layers if looks else 0))
        self.summary = None if looks else nn.Linear(width, width)
        self.feed = nn.Linear(width, width, bias=False) if self.plan.feeding else None

    def forward(self, source_BS: Tensor, keep_BS: Tensor | None, given_BU: Tensor) -> Tensor:
        if self.training and self.plan.teacher_forcing < 1:
            return self._from_own_guesses(self.start(source_BS, keep_BS), given_BU)
        if self.feed is not None:
            return self._one_by_one(self.start(source_BS, keep_BS), given_BU)
        source = self._read(source_BS, keep_BS)
        x_BUD = self._enter(given_BU, source)
        if not self.layered:
            return self.head(self._look(0, self.decoder(x_BUD), source)[0])
        return self.head(cast(Layered, self.decoder)(x_BUD, None, self._between(source)))

    def start(self, source_BS: Tensor, keep_BS: Tensor | None) -> State:
        weight = self.head.weight
        empty = cast(StreamingEncoder, self.decoder).initial_state(len(source_BS), weight.device, weight.dtype)
        taken = [weight.new_zeros(len(source_BS), 1, weight.shape[1])] if self.feed is not None else []
        return {"source": self._read(source_BS, keep_BS), "decoder": empty, "taken": taken}

    def step(self, given_BU: Tensor, state: State) -> tuple[Tensor, State]:
        if self.feed is None:
            logits_BUC, state, _ = self._step(given_BU, state)
            return logits_BUC, state
        logits = []
        for given_B1 in given_BU.split(1, dim=1):
            logits_B1C, state, taken = self._step(given_B1, state)
            state = {**state, "taken": taken}
            logits.append(logits_B1C)
        return torch.cat(logits, dim=1), state

    @torch.no_grad()
    def alignments(self, source_BS: Tensor, keep_BS: Tensor | None, given_BU: Tensor) -> list[Tensor]:
        if self.feed is not None:
            return self._alignments_one_by_one(source_BS, keep_BS, given_BU)
        source = self._read(source_BS, keep_BS)
        found: list[Tensor] = []
        if not self.crosses:
            return []
        between = self._watched(source, found)
        x_BUD = self._enter(given_BU, source)
        if self.layered:
            cast(Layered, self.decoder)(x_BUD, None, between)
        else:
            between(0, self.decoder(x_BUD))
        return [self._upright(w, source["keep"]) for w in found]

    # Parts.

    def _cross(self, layer: int) -> CrossAttention:
        return cast(CrossAttention, self.crosses[layer])

    def _read(self, source_BS: Tensor, keep_BS: Tensor | None) -> dict[str, Any]:
        """All that is kept of a source."""
        memory_BSD = self.encoder(self._front(source_BS, keep_BS), keep_BS)
        if self.summary is not None:
            return {"summary": self.summary(pool(memory_BSD, keep_BS, self.pooling))[:, None], "keep": keep_BS}
        keys: list[Keys] = [self._cross(i).keys(memory_BSD) for i in range(len(self.crosses))]
        return {"keys": keys, "keep": keep_BS}

    def _enter(self, given_BU: Tensor, source: dict[str, Any]) -> Tensor:
        x_BUD = self.target(given_BU)
        return x_BUD + source["summary"] if self.summary is not None else x_BUD

    def _look(self, layer: int, x_BUD: Tensor, source: dict[str, Any]) -> tuple[Tensor, Tensor]:
        if self.summary is not None:
            return x_BUD, x_BUD
        found: tuple[Tensor, Tensor] = self._cross(layer)(x_BUD, source["keys"][layer], source["keep"])
        return found

    def _between(self, source: dict[str, Any], taken: list[Tensor] | None = None) -> Between | None:
        if self.summary is not None:
            return None

        def between(layer: int, x_BUD: Tensor) -> Tensor:
            x_BUD, y_BUD = self._look(layer, x_BUD, source)
            if taken is not None:
                taken[:] = [y_BUD]  # the last layer's is what is fed
            return x_BUD

        return between

    def _watched(self, source: dict[str, Any], found: list[Tensor]) -> Between:
        """Looks between layers that add to `found` what each takes of the source's tokens, (B, H, U, S)."""

        def between(layer: int, x_BUD: Tensor) -> Tensor:
            found.append(self._cross(layer).shares_of(x_BUD, source["keys"][layer], source["keep"]))
            return self._look(layer, x_BUD, source)[0]

        return between

    def _step(self, given_BU: Tensor, state: State) -> tuple[Tensor, State, list[Tensor]]:
        source = state["source"]
        taken: list[Tensor] = []
        x_BUD = self._enter(given_BU, source)
        if self.feed is not None:
            x_BUD = x_BUD + self.feed(state["taken"][0])
        decoder = cast(Layered, self.decoder)
        if self.layered:
            y_BUD, inner = decoder.step(x_BUD, state["decoder"], self._between(source, taken))
        else:
            y_BUD, inner = decoder.step(x_BUD, state["decoder"])
            y_BUD, read_BUD = self._look(0, y_BUD, source)
            taken = [read_BUD]
        return self.head(y_BUD), {**state, "decoder": inner}, taken

    def _one_by_one(self, state: State, given_BU: Tensor) -> Tensor:
        return self.step(given_BU, state)[0]

    def _from_own_guesses(self, state: State, given_BU: Tensor) -> Tensor:
        """Logits after the given tokens, some of them replaced by what the model took for the likeliest."""
        U = given_BU.shape[1]
        chance_U = torch.rand(U, device="cpu")  # the CPU's draws: no waiting for a GPU
        forced = (chance_U < self.plan.teacher_forcing).tolist()
        logits: list[Tensor] = []
        for u in range(U):
            own = u > 0 and not forced[u]  # what every sentence begins with is always given
            logits_B1C, state = self.step(logits[-1].argmax(-1) if own else given_BU[:, u : u + 1], state)
            logits.append(logits_B1C)
        return torch.cat(logits, dim=1)

    def _alignments_one_by_one(self, source_BS: Tensor, keep_BS: Tensor | None, given_BU: Tensor) -> list[Tensor]:
        state = self.start(source_BS, keep_BS)
        rows: list[list[Tensor]] = []
        source = state["source"]
        for given_B1 in given_BU.split(1, dim=1):
            found: list[Tensor] = []
            between = self._watched(source, found)
            x_B1D = self._enter(given_B1, source) + cast(nn.Linear, self.feed)(state["taken"][0])
            if self.layered:
                cast(Layered, self.decoder).step(x_B1D, state["decoder"], between)
            else:
                between(0, cast(StreamingEncoder, self.decoder).step(x_B1D, state["decoder"])[0])
            rows.append(found)
            _, state = self.step(given_B1, state)
        return [self._upright(torch.cat(layer, dim=2), source["keep"]) for layer in zip(*rows, strict=True)]


class PrefixModel(Writer):
    """One causal stack over `source <end> target`: a language model that is given the source (as in Wang et al. 2021)."""

    equal_lengths = True

    def __init__(self, encoder: nn.Module, shape: TaskShape, width: int, embedding: Embedding) -> None:
        super().__init__(shape, width, embedding)
        self.encoder = encoder

    def forward(self, source_BS: Tensor, keep_BS: Tensor | None, given_BU: Tensor) -> Tensor:
        (B, S), U = source_BS.shape, given_BU.shape[1]
        both_BPD = torch.cat([self._front(source_BS, keep_BS), self.target(given_BU)], dim=1)
        if keep_BS is None:
            return self.head(self.encoder(both_BPD)[:, S:])
        # The target follows right behind the real source, padding goes to the end.
        length_B1 = keep_BS.sum(1, keepdim=True)
        p_1P = torch.arange(S + U, device=source_BS.device)[None]
        from_BP = torch.where(p_1P < length_B1, p_1P, (p_1P - length_B1 + S).clamp(max=S + U - 1))
        packed_BPD = both_BPD.gather(1, from_BP[..., None].expand_as(both_BPD))
        y_BPD = self.encoder(packed_BPD, p_1P < length_B1 + U)
        return self.head(y_BPD.gather(1, _places(length_B1, U)[..., None].expand(B, U, y_BPD.shape[2])))

    def start(self, source_BS: Tensor, keep_BS: Tensor | None) -> State:
        if keep_BS is not None:
            raise ValueError("a decoder-only model goes on from sources of one length only: batch them by length")
        stack = cast(StreamingEncoder, self.encoder)
        x_BSD = self._front(source_BS, None)
        return stack.step(x_BSD, stack.initial_state(len(source_BS), x_BSD.device, x_BSD.dtype))[1]

    def step(self, given_BU: Tensor, state: State) -> tuple[Tensor, State]:
        y_BUD, state = cast(StreamingEncoder, self.encoder).step(self.target(given_BU), state)
        return self.head(y_BUD), state

    @torch.no_grad()
    def alignments(self, source_BS: Tensor, keep_BS: Tensor | None, given_BU: Tensor) -> list[Tensor]:
        """Of layers that weigh tokens. Rows sum to less than 1: the rest goes to the target before it."""
        (B, S), U = source_BS.shape, given_BU.shape[1]
        length_B1 = source_BS.new_full((B, 1), S) if keep_BS is None else keep_BS.sum(1, keepdim=True)
        rows_B1U1 = _places(length_B1, U)[:, None, :, None]
        real_BS = torch.arange(S, device=source_BS.device) < length_B1
        found = []
        for weights_BHPP in attention_maps(self, source_BS, keep_BS, given_BU):
            H, P = weights_BHPP.shape[1:3]
            weights_BHUS = weights_BHPP.gather(2, rows_B1U1.expand(B, H, U, P))[..., :S] * real_BS[:, None, None]
            found.append(self._upright(weights_BHUS, keep_BS))
        return found


def _places(length_B1: Tensor, targets: int) -> Tensor:
    """Where the target's tokens stand behind sources of these lengths, (B, U)."""
    return length_B1 + torch.arange(targets, device=length_B1.device)


def reversed_real(ids_BS: Tensor, keep_BS: Tensor | None) -> Tensor:
    """Real tokens from last to first, padding where it was."""
    if keep_BS is None:
        return ids_BS.flip(1)
    s_1S = torch.arange(ids_BS.shape[1], device=ids_BS.device)[None]
    return ids_BS.gather(1, torch.where(keep_BS, keep_BS.sum(1, keepdim=True) - 1 - s_1S, s_1S))


def positions(model: Any) -> int | None:
    """The longest sequence that every stack of a model accepts; None where nothing bounds it."""
    found = [limit for stack in stacks(model) if (limit := cast(Any, stack).traits.max_length) is not None]
    return min(found, default=None)


def before_target(model: Any, source_tokens: int) -> int:
    """Positions that a target's first token has before it: the source's, where one stack reads and writes one text."""
    return source_tokens if isinstance(model, PrefixModel) else 0


def stacks(model: Any) -> Iterator[nn.Module]:
    """Encoder and decoder of a model, or the one stack that it has."""
    yield cast(nn.Module, model.encoder)
    if isinstance(model, EncoderDecoder):
        yield model.decoder
