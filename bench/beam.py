"""Writing a target from a source: greedy, or by a beam that keeps the k likeliest beginnings.

A target's score is its log-probability, its end included, over (its tokens, the end included) ** penalty. All sentences of a
batch go side by side, and one that is done leaves the batch.

Legend: B batch, S source tokens, R sentences still being written, K beginnings of each, C vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.contract import State, select_state
from bench.translator import Writer


@dataclass(frozen=True)
class Written:
    """A target. `score`: see above. `ended`: False where it was cut at its longest; its score is then that of no end."""

    ids: tuple[int, ...]
    score: float
    ended: bool


@dataclass
class _Sentence:
    """One source on its way: its beginnings, and the targets that have ended."""

    place: int
    limit: int
    begun: list[tuple[int, ...]] = field(default_factory=lambda: [()])
    done: list[Written] = field(default_factory=list)


class Search:
    """Some sources on their way to targets.

    Args:
        state: of a model that has read the sources. given_N1: the token that each target goes on from.
        end: id that ends a target; one that no token has for targets that never end.
        limits: tokens of each target, the end not counted, after which it is cut.
        beam: beginnings kept; 1 is greedy. A sentence is done when as many targets have ended.

    Attributes:
        found: the best target of each source; None for those that are still being written.
    """

    def __init__(
        self, model: Writer, state: State, given_N1: Tensor, end: int, limits: Sequence[int], beam: int, penalty: float
    ) -> None:
        self.model, self.end, self.beam, self.penalty = model, end, beam, penalty
        self.state, self.given_N1, self.length = state, given_N1, 0
        self.scores_RK = torch.zeros(len(limits), 1, device=given_N1.device)
        self.found: list[Written | None] = [None] * len(limits)
        self.going = [_Sentence(place, limit) for place, limit in enumerate(limits)]

    @torch.no_grad()
    def step(self) -> None:
        """One more token for every beginning."""
        logits_N1C, self.state = self.model.step(self.given_N1, self.state)
        self.length += 1
        R, K = self.scores_RK.shape
        total_RKC = self.scores_RK[..., None] + logits_N1C[:, -1].float().log_softmax(-1).view(R, K, -1)
        C = total_RKC.shape[2]
        # Each beginning ends in one way, so that 2 x beam candidates leave `beam` that go on.
        best, at = total_RKC.flatten(1).topk(min(2 * self.beam, K * C))
        rows = zip(self.going, best.tolist(), (at // C).tolist(), (at % C).tolist(), strict=True)
        on: list[tuple[_Sentence, int, list[tuple[float, int, int]]]] = []
        for row, (sentence, scores, parents, tokens) in enumerate(rows):
            going: list[tuple[float, int, int]] = []
            for rank, (score, parent, token) in enumerate(zip(scores, parents, tokens, strict=True)):
                if token != self.end:
                    going.append((score, parent, token))
                elif rank < self.beam:
                    sentence.done.append(Written(sentence.begun[parent], score / self.length**self.penalty, True))
            going = going[: self.beam]
            begun = [(*sentence.begun[parent], token) for _, parent, token in going]
            if len(sentence.done) >= self.beam or self.length > sentence.limit:
                cut = float(self.scores_RK[row, 0]) / max(1, self.length - 1) ** self.penalty
                self.found[sentence.place] = _best(sentence, cut)
            else:
                sentence.begun = begun
                on.append((sentence, row, going))
        self.going = [sentence for sentence, _, _ in on]
        if self.going:
            device = self.given_N1.device
            index = [row * K + parent for _, row, going in on for _, parent, _ in going]
            if index != list(range(len(self.given_N1))):  # a greedy search moves nothing until a sentence ends
                self.state = select_state(self.state, torch.tensor(index, device=device))
            self.scores_RK = torch.tensor([[score for score, _, _ in going] for _, _, going in on], device=device)
            self.given_N1 = torch.tensor([[token] for _, _, going in on for _, _, token in going], device=device)


def write(
    model: Writer,
    source_BS: Tensor,
    keep_BS: Tensor | None,
    end: int,
    limits: Sequence[int],
    beam: int = 1,
    penalty: float = 1.0,
) -> list[Written]:
    """The best target found for each source; see `Search`.

    Raises ValueError where the model wants sources of one length and gets others.
    """
    model.eval()
    with torch.no_grad():
        state: State = model.start(source_BS, keep_BS)
    search = Search(model, state, torch.full_like(source_BS[:, :1], end), end, limits, beam, penalty)
    while search.going:
        search.step()
    return [written for written in search.found if written is not None]


def _best(sentence: _Sentence, cut: float) -> Written:
    """The best target that has ended; else the likeliest beginning, which is as long as is allowed and scores `cut`."""
    if sentence.done:
        return max(sentence.done, key=lambda written: written.score)
    return Written(sentence.begun[0], cut, False)


def write_all(
    model: Writer,
    sources: Iterable[tuple[Tensor, Tensor | None]],
    end: int,
    limit: Callable[[int], int],
    beam: int = 1,
    penalty: float = 1.0,
    precision: Callable[[], AbstractContextManager[object]] = nullcontext,
    on_batch: Callable[[int], None] = lambda sentences: None,
) -> list[Written]:
    """Targets of all sources, in their order.

    Args:
        limit: longest target for a source of so many tokens.
        precision: number format of the passes. on_batch: told how many sentences are written.
    """
    found: list[Written] = []
    device = next(model.parameters()).device
    for source_BS, keep_BS in sources:
        for part_BS, part_keep in _of_one_length(source_BS, keep_BS) if model.equal_lengths else [(source_BS, keep_BS)]:
            lengths = [part_BS.shape[1]] * len(part_BS) if part_keep is None else part_keep.sum(1).tolist()
            kept = None if part_keep is None else part_keep.to(device)
            with precision():
                found += write(model, part_BS.to(device), kept, end, [limit(n) for n in lengths], beam, penalty)
            on_batch(len(found))
    return found


def _of_one_length(source_BS: Tensor, keep_BS: Tensor | None) -> Iterator[tuple[Tensor, None]]:
    """A batch in runs of sources of one length, without padding; sources that come by length make few runs."""
    lengths = [source_BS.shape[1]] * len(source_BS) if keep_BS is None else keep_BS.sum(1).tolist()
    start = 0
    for row in range(1, len(lengths) + 1):
        if row == len(lengths) or lengths[row] != lengths[start]:
            yield source_BS[start:row, : lengths[start]], None
            start = row
