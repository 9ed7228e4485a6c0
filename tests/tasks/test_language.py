"""Language modelling: what is asked, how often, and that ids and text are two ways to write the same."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.text
from bench.contract import IGNORE, Batch, DataMissing, Mode, Outcome, Places, TextTask
from bench.models import build_task
from bench.registry import TASKS
from tasks.language import LanguageConfig, LanguageTask
from tasks.text import BytePairs, Characters, Corpus, Words, encoded, learn, restore

MODES: tuple[Mode, ...] = ("causal", "bidirectional")
TEXT = "".join(f"line {i}: the quick brown fox, naïve café 𝔘 jumps\n  twice over {i * i}\n" for i in range(200))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(None, tmp_path / "cache")


def build(name: str, places: Places, mode: Mode = "causal", **config: Any) -> LanguageTask:
    task = build_task(TASKS.get(name), config, mode, places)
    assert isinstance(task, LanguageTask)
    return task


def numbered(train: int, tune: int, test: int, mode: Mode, config: LanguageConfig) -> LanguageTask:
    """A task whose token number i is i, so that batches show where they come from."""
    sizes = {"train": train, "tune": tune, "test": test}
    tokenizer = Characters("".join(map(chr, range(0x4E00, 0x4E00 + max(sizes.values())))))
    parts = {part: np.arange(size, dtype=np.uint16) for part, size in sizes.items()}
    return LanguageTask(Corpus(tokenizer, parts, "digest"), config, mode, {})


def same(left: Batch, right: Batch) -> bool:
    return torch.equal(left.inputs, right.inputs) and torch.equal(left.targets, right.targets)


# Sequences


@given(
    size=st.integers(2, 200),
    context=st.integers(1, 70),
    batch=st.integers(1, 9),
    limit=st.integers(0, 210),
    mode=st.sampled_from(MODES),
)
@settings(deadline=None, max_examples=150)
def test_every_prediction_is_asked_once(size: int, context: int, batch: int, limit: int, mode: Mode) -> None:
    task = numbered(300, size, 2, mode, LanguageConfig(context=context, tune_tokens=limit))
    batches = list(task.eval_batches("tune", batch))
    first = 1 if mode == "causal" else 0
    expected = list(range(first, size))[: limit or None]
    if mode == "causal":
        assert torch.cat([b.targets.flatten() for b in batches]).tolist() == expected
        assert all(torch.equal(b.inputs + 1, b.targets) for b in batches)
    else:
        assert sum(b.inputs.numel() for b in batches) == len(expected)
        asked = torch.cat([b.targets.flatten() for b in batches])
        positions = torch.arange(len(expected))
        assert torch.equal(asked[asked != IGNORE], positions[asked != IGNORE])
        assert all((b.targets != IGNORE).any(1).all() for b in batches)
    assert all(b.keep_BT is None and 1 <= len(b.inputs) <= batch and b.inputs.shape[1] <= context for b in batches)
    assert task.facts["evaluated_tokens"]["tune"] == len(expected)
    assert task.facts["lengths"]["tune"] == context


def test_training_sequences_are_the_next_tokens_from_everywhere() -> None:
    task = numbered(50, 9, 9, "causal", LanguageConfig(context=8))
    starts = set()
    for index in range(60):
        batch = task.train_batch(index, 6, seed=1)
        assert batch.inputs.shape == (6, 8) and batch.inputs.dtype == batch.targets.dtype == torch.int64
        assert torch.equal(batch.inputs + 1, batch.targets)
        assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])
        starts.update(batch.inputs[:, 0].tolist())
    assert starts == set(range(50 - 8))  # the last one ends with the last token of the split


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_depends_on_its_numbers_alone(mode: Mode) -> None:
    task = numbered(500, 50, 50, mode, LanguageConfig(context=16))
    again = numbered(500, 50, 50, mode, LanguageConfig(context=16))
    torch.manual_seed(0)
    batch = task.train_batch(7, 4, seed=3)
    torch.manual_seed(1)
    again.train_batch(6, 4, seed=3)
    assert same(batch, again.train_batch(7, 4, seed=3))
    assert not same(batch, task.train_batch(8, 4, seed=3)) and not same(batch, task.train_batch(7, 4, seed=4))


def test_other_lengths_are_further_tests_of_the_same_text() -> None:
    task = numbered(300, 40, 100, "causal", LanguageConfig(context=16, test_contexts=(8, 64)))
    assert task.splits == ("tune", "test", "test_8", "test_64")
    assert (task.shape.length, task.shape.longest) == (16, 64)
    for split, length in (("test", 16), ("test_8", 8), ("test_64", 64)):
        batches = list(task.eval_batches(split, 3))
        assert batches[0].inputs.shape[1] == length == task.facts["lengths"][split]
        assert torch.cat([b.targets.flatten() for b in batches]).tolist() == list(range(1, 100))


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"context": 0}, "context"),
        ({"context": 400}, "context"),
        ({"test_contexts": (8, 8)}, "test_contexts"),
        ({"test_contexts": (100,)}, "test_contexts"),
        ({"test_contexts": (0,)}, "test_contexts"),
        ({"tune_tokens": -1}, "tune_tokens"),
    ],
)
def test_settings_the_text_cannot_serve(config: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        numbered(300, 50, 50, "causal", LanguageConfig(**config))


# Hidden tokens


def test_masking_is_as_in_bert(places: Places) -> None:
    """Shares within four standard errors of Devlin et al.'s; 'random' can by chance be the token itself."""
    task = build("docs_lm", places, "bidirectional", context=128)
    mask = task.shape.vocabulary - 1
    batch = task.train_batch(0, 2000, seed=0)
    asked = batch.targets != IGNORE
    shown, true = batch.inputs[asked], batch.targets[asked]
    n = len(true)
    swapped = 0.1 * (1 - 1 / mask)

    def within(count: int, of: int, share: float) -> None:
        assert abs(count - of * share) < 4 * math.sqrt(of * share * (1 - share)), (count / of, share)

    within(n, asked.numel(), 0.15)
    within(int((shown == mask).sum()), n, 0.8)
    within(int(((shown != mask) & (shown != true)).sum()), n, swapped)
    within(int((shown == true).sum()), n, 0.2 - swapped)
    assert true.max() < mask
    assert len(shown[(shown != mask) & (shown != true)].unique()) > 0.9 * mask  # random tokens come from all


def test_only_hidden_tokens_count_and_the_others_are_shown() -> None:
    task = numbered(400, 50, 300, "bidirectional", LanguageConfig(context=32))
    for start, batch in enumerate(task.eval_batches("test", 1)):
        truth = torch.arange(start * 32, start * 32 + batch.inputs.shape[1])[None]
        asked = batch.targets != IGNORE
        assert torch.equal(batch.inputs[~asked], truth[~asked])
        assert torch.equal(batch.targets[asked], truth[asked])


def test_what_is_hidden_in_evaluation_never_changes() -> None:
    config = LanguageConfig(context=16)
    task = numbered(400, 100, 100, "bidirectional", config)

    def flat(batch: int, split: str = "test") -> tuple[torch.Tensor, torch.Tensor]:
        batches = list(task.eval_batches(split, batch))
        return torch.cat([b.inputs.flatten() for b in batches]), torch.cat([b.targets.flatten() for b in batches])

    once = flat(4)
    task.train_batch(0, 4, seed=0)
    for other in (flat(4), flat(1), flat(100)):
        assert torch.equal(once[0], other[0]) and torch.equal(once[1], other[1])
    assert not torch.equal(once[1], flat(4, "tune")[1])


def test_a_sequence_of_one_token_asks_for_it() -> None:
    task = numbered(10, 3, 3, "bidirectional", LanguageConfig(context=1))
    assert all((task.train_batch(i, 5, 0).targets != IGNORE).all() for i in range(5))


# Shape, scores, facts


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tokenizer", ["char", "word", "bpe"])
def test_task_without_download(mode: Mode, tokenizer: str, places: Places) -> None:
    task = build("docs_lm", places, mode, tokenizer=tokenizer, vocabulary=512)
    assert isinstance(task, TextTask)
    shape = task.shape
    assert shape.tied and shape.outputs == shape.vocabulary and shape.output == "token" and shape.length == 64
    assert tokenizer == "char" or shape.vocabulary == 512 + (mode == "bidirectional")
    for batch in (task.train_batch(0, 4, 0), *itertools.islice(task.eval_batches("test", 4), 3)):
        assert batch.inputs.min() >= 0 and batch.inputs.max() < shape.vocabulary
        assert batch.targets.max() < shape.vocabulary
    assert task.prompt == "\n" and task.encode(task.prompt)
    assert task.facts["python"] in task.facts["read_from"]
    assert set(task.facts["sizes"]) == {"train", "tune", "test"}
    assert task.primary == task.scores("tune", Outcome(loss=1.0, count=1))[0].metric


def test_scores(places: Places) -> None:
    task = build("docs_lm", places, tokenizer="bpe", vocabulary=512)
    text = task.decode(task.corpus.parts["test"].tolist())
    given_first = task.decode(task.corpus.parts["test"][:1].tolist())
    targets = len(task.corpus.parts["test"]) - 1
    scores = {s.metric: s.value for s in task.scores("test", Outcome(loss=3.0 * targets, count=targets, correct=7))}
    assert scores["loss"] == pytest.approx(3.0)
    assert scores["perplexity"] == pytest.approx(math.exp(3))
    assert scores["accuracy"] == 7 / targets
    bits = 3.0 * targets / math.log(2) / (len(text) - len(given_first))
    assert scores["bits_per_character"] == pytest.approx(bits, rel=1e-12)
    assert task.scores("test", Outcome(loss=1e6, count=1))[1].value == pytest.approx(math.exp(700))
    masked = build("docs_lm", places, "bidirectional").scores("test", Outcome(loss=3.0, count=2))
    assert [s.metric for s in masked] == ["loss", "perplexity", "accuracy"]


def test_token_frequencies_are_what_a_constant_model_reaches(places: Places) -> None:
    task = build("docs_lm", places)
    counts = torch.bincount(torch.from_numpy(task.corpus.parts["train"].astype(np.int64)), minlength=task.mask) + 1
    logits = counts.log()
    for reference in task.references:
        (split,) = reference.splits
        targets = torch.cat([b.targets.flatten() for b in task.eval_batches(split, 64)])
        loss = torch.nn.functional.cross_entropy(logits.expand(len(targets), -1), targets).item()
        assert reference.value == pytest.approx(loss, rel=1e-4)


def test_fingerprint_follows_what_changes_the_data(places: Places, tmp_path: Path) -> None:
    def of(mode: Mode = "causal", **config: Any) -> str:
        return build("docs_lm", places, mode, **config).fingerprint

    changed = [
        of("bidirectional"),
        of(context=32),
        of(tune_tokens=100),
        of(test_contexts=(128,)),
        of(tokenizer="bpe"),
        of(tokenizer="bpe", vocabulary=300),
    ]
    assert len({of(), *changed}) == 7
    assert build("docs_lm", Places(None, tmp_path / "other")).fingerprint == of()


def test_documentation_does_not_leak_into_its_tests(places: Places) -> None:
    """Topics quote each other: before paragraphs were kept once, 15 % of the test split was in the training split."""
    task = build("docs_lm", places)
    train, test = (task.decode(task.corpus.parts[part].tolist()) for part in ("train", "test"))
    seen = {train[i : i + 40] for i in range(len(train) - 40)}
    assert sum(test[i : i + 40] in seen for i in range(len(test) - 40)) < 0.03 * len(test)


# Tokenisers


@given(st.text(alphabet=sorted(set(TEXT)), max_size=300))
@settings(deadline=None)
def test_characters_invert(text: str) -> None:
    tokenizer = Characters.learn(TEXT)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids.tolist()) == text
    assert tokenizer.characters[ids].sum() == len(text)


BPE = BytePairs.learn(TEXT, 400)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300) | st.text(sorted(set(TEXT))))
@settings(deadline=None)
def test_byte_pairs_invert_any_text(text: str) -> None:
    ids = BPE.encode(text)
    assert BPE.decode(ids.tolist()) == text
    assert BPE.characters[ids].sum() == len(text)


def test_byte_pairs() -> None:
    assert BPE.size == 400 and len(BPE.encode(TEXT)) < len(TEXT) / 2
    assert BytePairs.learn(TEXT, 400) == BPE
    long = TEXT * 20  # more than one chunk
    assert BPE.decode(BPE.encode(long).tolist()) == long
    lone = next(i for i in range(BPE.size) if BPE._bytes[i] == b"\xc3")
    assert BPE.decode([lone]) == "\ufffd"  # a model can say half a character


def test_words() -> None:
    tokenizer = Words.learn("b a  a\nc a b\n", 0)
    assert tokenizer.words == ("<unk>", "<eos>", "a", "b", "c")
    ids = tokenizer.encode("a  z\n\n b")
    assert ids.tolist() == [2, 0, 1, 1, 3]
    assert tokenizer.decode(ids.tolist()) == "a <unk>\n\nb"
    assert tokenizer.characters[ids].tolist() == [2, 6, 1, 1, 2]
    assert Words.learn("b a  a\nc a b\n", 4).words == ("<unk>", "<eos>", "a", "b")
    assert Words.learn("a <unk> b\n", 0).words.count("<unk>") == 1


def test_learnt_on_the_training_split_only(tmp_path: Path) -> None:
    """What is only in the test split is unknown, to all that can know something as unknown."""
    parts = {"train": "abab ab\n" * 50, "tune": "aZ\n", "test": "bZ Zb\n"}
    for kind, unknown in (("char", "\ufffd"), ("word", "<unk>")):
        corpus = encoded(lambda: parts, "key", kind, 0, tmp_path)  # type: ignore[arg-type]
        assert unknown in corpus.tokenizer.decode(corpus.parts["test"].tolist())
        assert unknown not in corpus.tokenizer.decode(corpus.parts["train"].tolist())
        other = {**parts, "test": "quite another\n", "tune": "text\n"}
        assert encoded(lambda p=other: p, "key 2", kind, 0, tmp_path).tokenizer == corpus.tokenizer  # type: ignore


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_state_restores(kind: Any) -> None:
    tokenizer = learn(kind, TEXT, 300)
    again = restore(tokenizer.state)
    assert again == tokenizer and again.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()


def test_vocabularies_too_small() -> None:
    with pytest.raises(ValueError, match="vocabulary"):
        learn("bpe", TEXT, 255)
    with pytest.raises(ValueError, match="vocabulary"):
        learn("word", TEXT, 2)


def test_hidden_tokens_can_be_read(places: Places) -> None:
    task = build("docs_lm", places, "bidirectional")
    assert task.decode([*task.encode("ab"), task.mask, *task.encode("c")]) == "ab[MASK]c"


# Cache


def cached(folder: Path, kind: Any = "bpe") -> tuple[Corpus, int]:
    """The corpus, and how often its text was read."""
    reads = []

    def read() -> dict[str, str]:
        reads.append(1)
        return {"train": TEXT, "tune": TEXT[:100], "test": TEXT[100:300]}

    return encoded(read, "key", kind, 300, folder), len(reads)


def equal(left: Corpus, right: Corpus) -> bool:
    parts = all(np.array_equal(left.parts[p], right.parts[p]) for p in left.parts)
    return parts and left.digest == right.digest and left.tokenizer == right.tokenizer


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_cache_is_read(tmp_path: Path, kind: str) -> None:
    first, reads = cached(tmp_path, kind)
    again, more = cached(tmp_path, kind)
    assert (reads, more) == (1, 0) and equal(first, again)
    assert not list(tmp_path.rglob(".*"))  # nothing half-written is left


@pytest.mark.parametrize("suffix", ["json", "npy"])
@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink, lambda p: p.write_bytes(b"")])
def test_damaged_cache_is_made_again(tmp_path: Path, suffix: str, damage: Callable[[Path], object]) -> None:
    first, _ = cached(tmp_path)
    (path,) = tmp_path.rglob(f"*.{suffix}")
    damage(path)
    again, reads = cached(tmp_path)
    assert reads == 1 and equal(first, again)
    assert cached(tmp_path)[1] == 0


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    corpus, reads = cached(tmp_path / "file")
    assert reads == 1 and equal(corpus, cached(tmp_path)[0])


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(tasks.text.np, "save", full)
    assert cached(tmp_path)[1] == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# Files of one's own


def test_text_of_ones_own(tmp_path: Path, places: Places) -> None:
    path = tmp_path / "secret place" / "mine.txt"
    path.parent.mkdir()
    path.write_text(TEXT, encoding="utf-8")
    task = build("text_lm", places, path=str(path), tokenizer="char")
    joined = "".join(task.decode(task.corpus.parts[part].tolist()) for part in ("train", "tune", "test"))
    sizes = [task.facts["sizes"][part]["characters"] for part in ("train", "tune", "test")]
    assert len(joined) == len(TEXT) and sizes[0] == len(TEXT) * 8 // 10
    assert "secret" not in str(task.facts) and "mine.txt" in str(task.facts)
    three = build("text_lm", places, path=str(path), tune_path=str(path), test_path=str(path))
    assert len({len(ids) for ids in three.corpus.parts.values()}) == 1


def test_text_without_line_ends_has_a_prompt(tmp_path: Path, places: Places) -> None:
    (tmp_path / "a.txt").write_text("abcabc" * 200)
    task = build("text_lm", places, path=str(tmp_path / "a.txt"), tokenizer="char")
    assert task.prompt == "a"


def test_paths_that_are_wrong(tmp_path: Path, places: Places) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"ab\xff")
    for config, message in (
        ({}, "path: text_lm needs"),
        ({"path": str(tmp_path / "none.txt")}, "path: cannot read"),
        ({"path": str(bad)}, "path: .* not UTF-8"),
        ({"path": str(bad), "tune_path": "a"}, "tune_path, test_path"),
    ):
        with pytest.raises(ValueError, match=message):
            build("text_lm", places, **config)  # type: ignore[arg-type]


# The published texts


def test_published_texts_that_are_nowhere(tmp_path: Path) -> None:
    for name in ("char_lm", "word_lm"):
        with pytest.raises(DataMissing, match=f"{name} needs"):
            build(name, Places(tmp_path, tmp_path))


originals = pytest.mark.skipif(
    "SEQBENCH_DATA" not in os.environ, reason="set SEQBENCH_DATA to a folder with the original files"
)


@pytest.fixture
def real(tmp_path: Path) -> Places:
    return Places(Path(os.environ["SEQBENCH_DATA"]), tmp_path)


@originals
def test_tinyshakespeare(real: Places) -> None:
    task = build("char_lm", real)
    sizes = [task.facts["sizes"][part]["tokens"] for part in ("train", "tune", "test")]
    assert sum(sizes) == 1_115_394 and sizes[2] == 111_540  # the sizes that nanoGPT's prepare.py prints
    assert task.shape.vocabulary == 65 + 1  # and <unk>
    assert all((ids < 65).all() for ids in task.corpus.parts.values())
    assert ("nanoGPT CPU recipe", 1.88) in [(r.label, r.value) for r in task.references]
    wider = build("char_lm", real, tune=0.1)
    assert wider.facts["sizes"]["test"] == task.facts["sizes"]["test"] and wider.fingerprint != task.fingerprint


@originals
def test_wikitext(real: Places) -> None:
    task = build("word_lm", real)
    sizes = [task.facts["sizes"][part]["tokens"] for part in ("train", "tune", "test")]
    assert sizes == [2_088_628, 217_646, 245_569]
    assert task.shape.vocabulary == 33_278
    assert build("word_lm", real, "bidirectional").shape.vocabulary == 33_279


@originals
@pytest.mark.parametrize("name", ["char_lm", "word_lm"])
def test_hub_and_folder_have_the_same_fingerprint(
    name: str, real: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    import tasks.sources

    def load_dataset(path: str, **arguments: Any) -> dict[str, dict[str, list[str]]]:
        assert real.local is not None
        if path == "text":
            return {"train": {"text": [(real.local / "tinyshakespeare/input.txt").read_text(encoding="utf-8")]}}
        files = {"train": "train", "validation": "valid", "test": "test"}
        rows = {}
        for split, file in files.items():
            with (real.local / f"wikitext-2/wiki.{file}.tokens").open(encoding="utf-8") as lines:
                rows[split] = {"text": [line if line.strip() else "" for line in lines]}
        return rows

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(tasks.sources, "answers", lambda host: True)
    remote = build(name, Places(None, tmp_path / "hub"))
    local = build(name, real)
    assert remote.fingerprint == local.fingerprint
    assert remote.facts["read_from"] != local.facts["read_from"]
    # What is encoded once needs neither the hub nor `datasets` again.
    monkeypatch.delattr(datasets, "load_dataset")
    assert build(name, Places(None, tmp_path / "hub")).fingerprint == remote.fingerprint
