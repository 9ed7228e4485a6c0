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


@torch.no_grad()
def write(
    model: Writer,
    source_BS: Tensor,
    keep_BS: Tensor | None,
    end: int,
    limits: Sequence[int],
    beam: int = 1,
    penalty: float = 1.0,
) -> list[Written]:
    """The best target found for each source.

    Args:
        limits: tokens of each target, the end not counted, after which it is cut.
        beam: beginnings kept; 1 is greedy. A sentence is done when as many targets have ended.

    Raises ValueError where the model wants sources of one length and gets others.
    """
    model.eval()
    device = source_BS.device
    found: list[Written | None] = [None] * len(source_BS)
    sentences = [_Sentence(place, limit) for place, limit in enumerate(limits)]
    state: State = model.start(source_BS, keep_BS)
    scores_RK = torch.zeros(len(sentences), 1, device=device)
    given_N1 = torch.full((len(sentences), 1), end, device=device)
    length = 0
    while sentences:
        logits_N1C, state = model.step(given_N1, state)
        length += 1
        R, K = scores_RK.shape
        total_RKC = scores_RK[..., None] + logits_N1C[:, -1].float().log_softmax(-1).view(R, K, -1)
        C = total_RKC.shape[2]
        # Each beginning ends in one way, so that 2 x beam candidates leave `beam` that go on.
        best, at = total_RKC.flatten(1).topk(min(2 * beam, K * C))
        rows = zip(sentences, best.tolist(), (at // C).tolist(), (at % C).tolist(), strict=True)
        on: list[tuple[_Sentence, int, list[tuple[float, int, int]]]] = []
        for row, (sentence, scores, parents, tokens) in enumerate(rows):
            going: list[tuple[float, int, int]] = []
            for rank, (score, parent, token) in enumerate(zip(scores, parents, tokens, strict=True)):
                if token != end:
                    going.append((score, parent, token))
                elif rank < beam:
                    sentence.done.append(Written(sentence.begun[parent], score / length**penalty, True))
            going = going[:beam]
            begun = [(*sentence.begun[parent], token) for _, parent, token in going]
            if len(sentence.done) >= beam or length > sentence.limit:
                cut = float(scores_RK[row, 0]) / max(1, length - 1) ** penalty
                found[sentence.place] = _best(sentence, cut)
            else:
                sentence.begun = begun
                on.append((sentence, row, going))
        sentences = [sentence for sentence, _, _ in on]
        if sentences:
            index = torch.tensor([row * K + parent for _, row, going in on for _, parent, _ in going], device=device)
            state = select_state(state, index)
            scores_RK = torch.tensor([[score for score, _, _ in going] for _, _, going in on], device=device)
            given_N1 = torch.tensor([[token] for _, _, going in on for _, _, token in going], device=device)
    return [written for written in found if written is not None]


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
