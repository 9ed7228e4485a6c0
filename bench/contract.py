"""What an encoder is, and what a task is. Types, and the little that all who use them share; every claim made here has
a test in `tests/contract`.

Shape legend, used in names throughout: B batch, T tokens, S tokens of a chunk, D width, H heads, K width of a head,
F features of an input vector, C outputs of a head.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

Mode = Literal["causal", "bidirectional"]
Layout = Literal["sequence", "grid"]
Path = Literal["constant", "logarithmic", "linear"]

# Nested tuples, lists and dicts whose leaves are tensors (batch first), numbers, or objects with `tensors` and `select`.
State = Any


@dataclass(frozen=True)
class Traits:
    """What an architecture claims about itself. The theory column of every report is read from here.

    Attributes:
        modes: "causal": output t depends on inputs <= t only. "bidirectional": on both sides.
        layouts: "sequence" takes any T; "grid" needs rows and columns.
        keeps_length: False where tokens are merged, so that only pooled tasks fit.
        time_exponent: forward FLOPs of the token-to-token part grow as T ** time_exponent.
        memory_exponent: activation bytes kept for backward grow as T ** memory_exponent.
        parallel_in_time: True where the longest chain of dependent operations does not grow with T.
        path: how the longest path between two tokens grows with T (Vaswani et al. 2017, table 1, last column).
        max_length: longest T it accepts; None for no limit.
    """

    modes: frozenset[Mode]
    time_exponent: float
    memory_exponent: float
    parallel_in_time: bool
    path: Path
    layouts: frozenset[Layout] = frozenset({"sequence"})
    keeps_length: bool = True
    max_length: int | None = None


BOTH_MODES: frozenset[Mode] = frozenset({"causal", "bidirectional"})


@runtime_checkable
class Encoder(Protocol):
    """A module built by `factory(config, width, depth, causal, grid)`: the same width in and out, no vocabulary, no head.

    State is returned, never kept on the module. `keep_BT` is True at real tokens; padding is on the right, every
    sequence has at least one real token, and outputs at padding are zero. None means no padding.

    An encoder of grids gets the rows and columns of its tokens as `grid` and takes no padding. One that merges tokens
    (`traits.keeps_length` False) gives fewer of them, maybe wider: it says how wide with `out_width` (see `out_width`).
    """

    traits: Traits
    receptive_field: int | None
    """Input tokens that one output can depend on; None for all (or all before it)."""

    def __call__(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor: ...


def out_width(encoder: object, width: int) -> int:
    """Width of what an encoder gives: its own `out_width` where it has one, else the width that it was built with."""
    return int(getattr(encoder, "out_width", width))


@runtime_checkable
class StreamingEncoder(Encoder, Protocol):
    """A causal encoder that can go on from a state: step by step equals all at once."""

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> State: ...

    def step(self, x_BSD: Tensor, state: State) -> tuple[Tensor, State]: ...


Between = Callable[[int, Tensor], Tensor]
"""Called with a layer's number and what it has so far, (B, T, D): gives what the layer goes on with."""


@runtime_checkable
class Layered(StreamingEncoder, Protocol):
    """An encoder that lets something happen within each layer, behind the mixer: there a decoder looks at the source.
    One that does not is followed by a single look, behind its last layer."""

    layers: int  # a list of modules of that name makes no encoder of this kind: see `is_layered`

    def __call__(self, x_BTD: Tensor, keep_BT: Tensor | None = None, between: Between | None = None) -> Tensor: ...

    def step(self, x_BSD: Tensor, state: State, between: Between | None = None) -> tuple[Tensor, State]: ...


def is_layered(encoder: object) -> bool:
    """Whether an encoder is `Layered`: `layers` is an everyday name, so what stands behind it is looked at too."""
    return isinstance(encoder, Layered) and isinstance(encoder.layers, int)


@runtime_checkable
class VectorTask(Protocol):
    """A source of encoder inputs with no labels, for suites that measure cost only. Built like a Task."""

    def inputs(self, batch: int, length: int, width: int, generator: torch.Generator) -> Tensor:
        """Vectors (B, T, D) in float32 on the generator's device."""
        ...


IGNORE = -100
"""Target of a position that counts in no loss and no score."""

Better = Literal["lower", "higher", "none"]


@dataclass(frozen=True)
class Batch:
    """Examples side by side.

    Attributes:
        inputs: token ids (B, T) int64, vectors (B, T, F) float32, or images (B, C, rows, columns): uint8 as a PicturedTask
            gives them, float32 once it has prepared them.
        targets: by `TaskShape.output`. "token": ids (B, T) int64, IGNORE where nothing is asked. "sequence": classes
            (B,) int64, or values (B,) float32 where the loss is the squared error; where training mixes examples, shares of
            classes (B, classes) float32.
        keep_BT: True at real tokens, padding is on the right; None where nothing is padded.
        given_BU: where a decoder writes the targets (B, U): ids it has been given before each of them, int64; any id where
            the target is IGNORE. None elsewhere.
    """

    inputs: Tensor
    targets: Tensor
    keep_BT: Tensor | None = None
    given_BU: Tensor | None = None

    @property
    def arguments(self) -> tuple[Tensor | None, ...]:
        """What a model is called with."""
        both = (self.inputs, self.keep_BT)
        return both if self.given_BU is None else (*both, self.given_BU)

    def to(self, device: torch.device | str) -> Batch:
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Every tensor of it through `change`."""
        keep_BT = None if self.keep_BT is None else change(self.keep_BT)
        given_BU = None if self.given_BU is None else change(self.given_BU)
        return Batch(change(self.inputs), change(self.targets), keep_BT, given_BU)


DecoderKind = Literal["matched", "shared", "prefix"]
CrossKind = Literal["none", "additive", "dot"]


@dataclass(frozen=True)
class DecoderPlan:
    """How targets are written from an encoded source, the same for every architecture.

    Attributes:
        kind: "matched": causal layers of the encoder's own architecture. "shared": of one for all, `of`. "prefix": no
            encoder; one causal stack reads `source <end> target`.
        cross: how layers look at the source. "none": one vector of fixed size joins every input (Cho et al. 2014).
            "additive": Bahdanau et al. 2015. "dot": several heads (Vaswani et al. 2017). Says nothing for "prefix".
        feeding: what was read from the source joins the next input (Luong et al. 2015, input feeding): one step at a time.
        teacher_forcing: share of positions at which a model that learns is given the reference's token; at the others it
            goes on from its own guess, one step at a time. Drawn anew for every step, the same for a whole batch.
        backwards: the source is read from its end (Sutskever et al. 2014).
        tied: the head shares the weights of the target embedding; with one vocabulary, of the source's too.
        heads: of "dot". dropout: of what cross-attention gives. attention_dropout: of its weights.
    """

    kind: DecoderKind = "matched"
    of: str = ""
    cross: CrossKind = "dot"
    feeding: bool = False
    teacher_forcing: float = 1.0
    backwards: bool = False
    tied: bool = False
    heads: int = 4
    dropout: float = 0.0
    attention_dropout: float = 0.0


Positions2D = Literal["none", "learned", "sincos"]


@dataclass(frozen=True)
class PatchPlan:
    """How an image becomes tokens, row by row: the same for every architecture.

    Attributes:
        patch: rows and columns from one token to the next.
        reach: rows and columns that a token is made from; `patch` for patches side by side (Dosovitskiy et al. 2021), more
            for patches that overlap, as a convolutional stem has them.
        class_token: one learned token more, before the others.
        positions: added to tokens. "learned": a vector each; "sincos": sines and cosines of row and column (Beyer et al.
            2022), fixed.
    """

    patch: int = 4
    reach: int = 4
    class_token: bool = False
    positions: Positions2D = "learned"

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of tokens. Raises ValueError where patches do not fit into the image."""
        if self.reach < self.patch or (self.reach - self.patch) % 2:
            raise ValueError(f"patch_reach {self.reach}: use the patch, {self.patch}, or an even number of pixels more")
        for size, what in ((rows, "rows"), (columns, "columns")):
            if size < self.patch:
                raise ValueError(
                    f"an image of {size} {what} is smaller than a patch of {self.patch}; set recipe.patch or size"
                )
            if size % self.patch:
                fits = ", ".join(str(n) for n in range(1, size + 1) if size % n == 0)
                raise ValueError(
                    f"{size} {what} do not divide into patches of {self.patch}; recipe.patch may be {fits}"
                )
        return rows // self.patch, columns // self.patch


@dataclass(frozen=True)
class TaskShape:
    """What a model needs to know of a task, and all that it may know.

    Attributes:
        length: tokens of the longest training input. longest: of the longest input of any split.
        outputs: numbers a head gives: classes, or 1 for a value.
        output: one prediction a token, or one a sequence (outputs pooled).
        vocabulary: input ids are below it; 0 where inputs are vectors of `features` numbers.
        tied: the head shares its weights with the embedding (needs outputs == vocabulary).
        loss: mean over what counts, in nats or squared units.
        separator: id between the two texts of an input; None where inputs are no pairs.
        towers: encode the two texts apart and compare what comes out; set by the recipe, not by the task.
        target_length: tokens of the longest target of any split, for tasks whose targets a decoder writes; 0 for others.
        end: id that ends a target, and that a decoder is given first.
        joint: source and target have one vocabulary.
        decoder: how the decoder is built, by the recipe; None where the task has none.
        image: channels, rows and columns where inputs are images; lengths are then of pixels, until a recipe says how
            images become tokens: see `patched`. patches: how they do; None before, and where inputs are no images.
    """

    length: int
    longest: int
    outputs: int
    output: Literal["token", "sequence"]
    vocabulary: int = 0
    features: int = 0
    tied: bool = False
    loss: Literal["cross_entropy", "squared_error"] = "cross_entropy"
    separator: int | None = None
    towers: bool = False
    target_length: int = 0
    end: int = 0
    joint: bool = False
    decoder: DecoderPlan | None = None
    image: tuple[int, int, int] | None = None
    patches: PatchPlan | None = None

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of tokens; None where inputs are no images."""
        return self.patches.grid(*self.image[1:]) if self.image is not None and self.patches is not None else None

    def patched(self, plan: PatchPlan) -> TaskShape:
        """The shape of a task of images read through `plan`. Raises ValueError where patches do not fit."""
        assert self.image is not None
        rows, columns = plan.grid(*self.image[1:])
        tokens = rows * columns + plan.class_token
        return replace(self, patches=plan, length=tokens, longest=tokens)


@dataclass(frozen=True)
class Score:
    """One number that says how well a task was done on a split. `note`: what a reader must know of it, mostly nothing."""

    metric: str
    value: float
    unit: str
    better: Better
    note: str = ""


@dataclass(frozen=True)
class Reference:
    """A number to hold results against: an analytic floor, chance, or what somebody published.

    Attributes:
        splits: evaluation splits it holds for; empty for all.
        source: how it is derived, or where it was published.
    """

    label: str
    metric: str
    value: float
    kind: Literal["floor", "ceiling", "chance", "published"]
    source: str
    splits: tuple[str, ...] = ()


@dataclass
class Outcome:
    """Sums over everything that counts in one split, in float64; a task turns them into scores.

    Attributes:
        loss: summed loss. count: predictions it is summed over.
        correct: predictions whose largest output is the target; 0 for squared errors.
        sequences, perfect: sequences, and those with every counted prediction correct.
        loss_T, correct_T, count_T: the same sums by position; only where there is an output a token.
        predictions, targets: one a sequence, in the order of the split; only where there is an output a sequence.
    """

    loss: float = 0.0
    count: int = 0
    correct: int = 0
    sequences: int = 0
    perfect: int = 0
    loss_T: list[float] = field(default_factory=list)
    correct_T: list[int] = field(default_factory=list)
    count_T: list[int] = field(default_factory=list)
    predictions: list[float] = field(default_factory=list)
    targets: list[float] = field(default_factory=list)

    @property
    def mean_loss(self) -> float:
        return self.loss / max(1, self.count)

    @property
    def accuracy(self) -> float:
        return self.correct / max(1, self.count)


@dataclass(frozen=True)
class Places:
    """Where a task may look for data.

    Attributes:
        local: folder with local copies of data sets; None where the user named none.
        cache: folder for what can be made again: tokenisers, encoded text, downloads.
    """

    local: FilePath | None
    cache: FilePath


class DataMissing(Exception):
    """A data set is not here and cannot be fetched; the message is one line that names every way to get it."""


@runtime_checkable
class Task(Protocol):
    """A data set or a generator, cut into splits, with its scores. Built by `factory(config, mode, places)`.

    Training uses "train" through `train_batch`. `splits` are for evaluation: "tune" (all choices are made on it), "test"
    (read once, by no choice), and any number of further tests, "test_<what>", such as other lengths.
    """

    shape: TaskShape
    primary: str
    """The metric that choices are made by and that the leaderboard ranks by; `scores` gives it for every split."""
    splits: tuple[str, ...]
    fingerprint: str
    """Hash of the data and of every setting that changes them."""
    references: tuple[Reference, ...]
    facts: dict[str, Any]
    """What a reader should know, as plain data: source, licence, sizes of the splits, tokeniser."""

    def train_batch(self, index: int, batch: int, seed: int) -> Batch:
        """Batch number `index` of an endless stream: the same numbers give the same batch, so nothing need be kept to
        go on in the middle. Draws from `stream(seed, index)` or from an order that `seed` and the epoch decide."""
        ...

    def eval_batches(self, split: str, batch: int) -> Iterator[Batch]:
        """Every example of a split once, always the same; the last batch may be smaller."""
        ...

    def scores(self, split: str, outcome: Outcome) -> tuple[Score, ...]:
        """The split's scores, the primary one first."""
        ...


@runtime_checkable
class TextTask(Task, Protocol):
    """A task whose tokens are text, so that a model can be made to speak."""

    prompt: str
    """What generation starts from where the user says nothing."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...


@runtime_checkable
class Tokenized(Protocol):
    """A task whose tokeniser is kept beside saved weights, so that another task can go on from them."""

    @property
    def tokenizer_state(self) -> dict[str, Any]:
        """Plain data that `tasks.text.restore` builds it from."""
        ...


@runtime_checkable
class TranslationTask(Task, Protocol):
    """A task whose targets a decoder writes (`shape.target_length`), judged by what it writes without being shown them."""

    watched: str
    """The metric by which looks while training are judged: writing every translation takes too long for that."""

    def sources(self, split: str, batch: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Source ids (B, T) and which of them are real, in the order of `shown(split)`."""
        ...

    def encode(self, text: str) -> list[int]:
        """Source ids of a text."""
        ...

    def write(self, ids: list[int]) -> str:
        """Text of target ids, the end left out."""
        ...

    def pieces(self, ids: list[int], side: Literal["source", "target"]) -> list[str]:
        """Each token as a person reads it."""
        ...

    def shown(self, split: str) -> dict[str, list[Any]]:
        """Lists with one entry an example: "sources" and "references" as text, "tokens" of the source."""
        ...

    def judge(self, split: str, written: list[str]) -> tuple[Score, ...]:
        """Scores of translations in the order of `shown(split)`, the primary one first."""
        ...


@runtime_checkable
class PicturedTask(Task, Protocol):
    """A task whose inputs are images. Batches hold pixels as they are stored; what a model is shown is made from them on
    the device."""

    classes: tuple[str, ...]
    """Names of the classes, in the order of the targets."""

    def prepare(self, batch: Batch, draw: tuple[int, int] | None = None) -> Batch:
        """Pixels as normalised float32, by the same numbers for all. `draw`, (batch number, seed), asks for the task's
        augmentation too: what is drawn depends on these two numbers alone, on any device."""
        ...

    def pixels(self, images: Tensor) -> Tensor:
        """Prepared images as a person sees them, uint8 (B, C, rows, columns)."""
        ...


def prepared(task: Task, batch: Batch, draw: tuple[int, int] | None = None) -> Batch:
    """A batch as a model is shown it: that of a PicturedTask made ready, any other as it is."""
    return task.prepare(batch, draw) if isinstance(task, PicturedTask) else batch


@runtime_checkable
class ReadableTask(Task, Protocol):
    """A task whose examples a person can read, one prediction each: what was predicted is kept beside the records."""

    unlabelled: tuple[str, ...]
    """Splits without labels, for which predictions are made and nothing is scored; targets are zeros."""

    def shown(self, split: str) -> dict[str, list[Any]]:
        """Lists in the order of evaluation: "texts" (each a list), "targets", "tokens" (how many), "rows" (their places)."""
        ...

    def words(self, ids: list[int]) -> list[str]:
        """Each token as a person reads it."""
        ...


def stream(*names: object) -> torch.Generator:
    """A generator on the CPU that depends on the names alone, and on each of them."""
    digest = hashlib.blake2b("/".join(map(str, names)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


@runtime_checkable
class _StateLeaf(Protocol):
    def tensors(self) -> tuple[Tensor, ...]: ...

    def select(self, index_B: Tensor) -> Any: ...


def state_tensors(state: State) -> Iterable[Tensor]:
    """Every tensor in a state, in order."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, _StateLeaf):
        yield from state.tensors()
    elif isinstance(state, dict):
        for value in state.values():
            yield from state_tensors(value)
    elif isinstance(state, (list, tuple)):
        for value in state:
            yield from state_tensors(value)


def state_bytes(state: State) -> int:
    """Bytes that the state needs to go on, spare capacity of buffers not counted."""
    return sum(t.numel() * t.element_size() for t in state_tensors(state))


def select_state(state: State, index_B: Tensor) -> State:
    """The state of sequences `index_B` of the batch (beam search reorders with it)."""
    if isinstance(state, Tensor):
        return state.index_select(0, index_B)
    if isinstance(state, _StateLeaf):
        return state.select(index_B)
    if isinstance(state, dict):
        return {key: select_state(value, index_B) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(select_state(value, index_B) for value in state)
    return state
