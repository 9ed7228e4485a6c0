"""Parallel text: what is read, what is left out and said, what a decoder is given and asked for, how it is scored."""

from __future__ import annotations

import gzip
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import IGNORE, DataMissing, Outcome, Places, Task, TranslationTask
from bench.models import build_task
from bench.registry import TASKS
from tasks.alike import alike
from tasks.bleu import FEWEST, bleu, bleu_of_words
from tasks.parallel import (
    MULTI30K_PARTS,
    Parallel,
    aligned,
    catalogue,
    cut,
    left_out,
    multi30k,
    tab_separated,
    with_text,
)
from tasks.skipped import Skipped
from tasks.translation import WORD, ParallelFileConfig, ParallelTask, TranslationConfig, _line, parallel_file

WORDS = ("ein", "hund", "läuft", "über", "die", "wiese", "und", "der", "mann", "schläft")


def pairs(count: int, seed: int = 0, longest: int = 12) -> list[tuple[str, str]]:
    source = np.random.default_rng(seed)
    found = []
    for i in range(count):
        words = [WORDS[k] for k in source.integers(0, len(WORDS), source.integers(1, longest))]
        found.append((" ".join(words), " ".join(reversed(words)) + f" {i % 7}"))
    return found


def task(cache: Path, test: list[tuple[str, str]] | None = None, **settings: Any) -> ParallelTask:
    parts = {"train": pairs(200), "tune": pairs(30, 1), "test": pairs(40, 2) if test is None else test}
    config = TranslationConfig(**{"tokenizer": "word", "vocabulary": 0, **settings})
    return ParallelTask("made_up", Parallel(parts, ("de", "xx"), {"text": "made up"}), config, cache)


@pytest.mark.parametrize(
    "settings", [{}, {"joint": False}, {"tokenizer": "bpe", "vocabulary": 300}, {"tokenizer": "char"}]
)
def test_it_is_a_task_that_writes(tmp_path: Path, settings: dict[str, Any]) -> None:
    work = task(tmp_path, **settings)
    assert isinstance(work, Task) and isinstance(work, TranslationTask)
    assert work.splits == ("tune", "test")
    again = task(tmp_path, **settings)
    assert again.fingerprint == work.fingerprint  # from the cache this time


@pytest.mark.parametrize("joint", [True, False])
def test_what_is_given_is_what_is_asked_for_moved_by_one(tmp_path: Path, joint: bool) -> None:
    work = task(tmp_path, joint=joint)
    source, target = work.tokenizers["source"], work.tokenizers["target"]
    expected = {(s, t) for s, t in work.pairs["test"]}
    found = []
    for batch in work.eval_batches("test", 7):
        assert batch.given_BU is not None
        keep = batch.keep_BT if batch.keep_BT is not None else torch.ones_like(batch.inputs, dtype=torch.bool)
        for ids, real, asked, given_ids in zip(batch.inputs, keep, batch.targets, batch.given_BU, strict=True):
            wanted = asked[asked != IGNORE].tolist()
            assert wanted[-1] == work.shape.end and work.shape.end not in wanted[:-1]
            assert given_ids[: len(wanted)].tolist() == [work.shape.end, *wanted[:-1]]
            found.append((source.decode(ids[real].tolist()), target.decode(wanted[:-1])))
    assert len(found) == len(work.pairs["test"]) and set(found) == expected
    shown = work.shown("test")
    assert list(zip(shown["sources"], shown["references"], strict=True)) == found  # the order of evaluation
    sources = [row for ids, _ in work.sources("test", 7) for row in ids]
    assert len(sources) == len(found)


def test_every_training_pair_comes_once_an_epoch(tmp_path: Path) -> None:
    work = task(tmp_path)
    count = len(work.pairs["train"])
    tokens = sum(int((work.train_batch(i, 32, seed=5).targets != IGNORE).sum()) for i in range(-(-count // 32)))
    assert tokens == int(work.lines["train"]["target"].lengths.sum()) + count


def test_the_reference_itself_is_perfect_and_nothing_else(tmp_path: Path) -> None:
    work = task(tmp_path, test=pairs(60, 2))
    references = work.shown("test")["references"]
    perfect = {score.metric: score.value for score in work.judge("test", references)}
    assert perfect["BLEU"] == pytest.approx(100) and perfect["tokenised_BLEU"] == pytest.approx(100)
    assert perfect["chrF"] == pytest.approx(100)
    assert next(iter(perfect)) == work.primary
    worse = {score.metric: score.value for score in work.judge("test", ["hund"] * len(references))}
    assert worse["BLEU"] < 5


def test_words_are_written_as_people_write_them(tmp_path: Path) -> None:
    """So that a perfect output is worth 100, and a word that the vocabulary lacks is one wrong word by either tokeniser."""
    lines = [f"a man in a t-shirt – isn't it , he asks no {i} ." for i in range(8)]
    tidy = [line.replace(" ,", ",").replace(" .", ".") for line in lines]
    work = task(tmp_path, test=[(line, line) for line in tidy], vocabulary=40)
    words = work.tokenizers["target"]
    whole = task(tmp_path / "whole", test=[(line, line) for line in tidy])
    whole.pairs["train"] += [(line, line) for line in tidy]
    known = ParallelTask("known", Parallel({**{p: list(v) for p, v in whole.pairs.items()}}, ("de", "xx"), {}),
                         whole.config, tmp_path / "known")  # fmt: skip
    target = known.tokenizers["target"]
    written = [known.write(target.encode(_line(line, known.config)).tolist()) for line in tidy]
    assert written == tidy
    lost = work.write(words.encode("ein xylophon 3").tolist())
    assert lost == "ein ⁇ 3"
    assert bleu_of_words([lost], ["ein xylophon 3"]).value == bleu_of_words(["ein qqq 3"], ["ein xylophon 3"]).value
    assert bleu([lost], ["ein xylophon 3"], False).value == bleu(["ein qqq 3"], ["ein xylophon 3"], False).value


@pytest.mark.parametrize(
    "line",
    ["हिन्दी में एक वाक्य है ।", "e\u0301cole franc\u0327aise du nord", "كَتَبَ الوَلَدُ رِسالَةً طَويلَة", "3.5 euros and 1,000 more"],
)
def test_letters_with_marks_and_decimals_are_one_word(line: str, tmp_path: Path) -> None:
    work = task(tmp_path, test=[(line, line)] * 3)
    (reference, *_) = work.shown("test")["references"]
    words = WORD.findall(reference)
    assert len(words) == len(line.split())
    assert bleu([" ".join(words)], [reference], False).value == pytest.approx(100)
    tokens = work.encode(line)
    assert len(tokens) == len(line.split()) and tokens == work.encode(reference)


def test_sources_that_differ_by_case_or_blanks_are_not_learnt_from_and_tested_on(tmp_path: Path) -> None:
    lines = [
        f"{s}{i}{end}\t{t}\n" for i, (s, t) in enumerate(pairs(300, 3)) for end in ("", " ", "  x".upper(), "  X x")
    ]
    lines += [line.upper() for line in lines]
    lines += [unicodedata.normalize("NFD", line) for line in lines]
    (tmp_path / "p.tsv").write_text("".join(lines), encoding="utf-8")
    settings = {"path": str(tmp_path / "p.tsv"), "tokenizer": "word", "vocabulary": 0, "lowercase": True}
    work = build_task(TASKS.get("parallel_file"), settings, "bidirectional", Places(None, tmp_path / "cache"))
    seen = {part: {tuple(work.encode(source)) for source, _ in found} for part, found in work.pairs.items()}
    assert min(map(len, seen.values())) > 10
    assert not seen["train"] & seen["test"] and not seen["train"] & seen["tune"]


@pytest.mark.parametrize("name", ["train_most", "tune_most"])
def test_a_negative_number_of_pairs_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{name}: -3"):
        task(tmp_path, **{name: -3})


def test_lengths_with_few_sentences_have_no_score(tmp_path: Path) -> None:
    short = [("ein hund läuft", "dog runs there now")] * FEWEST + [(" ".join(["ein"] * 20), " ".join(["a"] * 20))]
    names = {score.metric for score in task(tmp_path, test=short).judge("test", [t for _, t in short])}
    assert "BLEU: 1 to 8 source words" in names and "BLEU: 17 to 24 source words" not in names


def test_bleu_is_that_of_sacrebleus_command_line(tmp_path: Path) -> None:
    written, references = (
        ["A dog runs over the grass.", "Two men sleep"],
        ["A dog runs across the grass.", "Two men are asleep."],
    )
    for name, lines in (("hyp", written), ("ref", references)):
        (tmp_path / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    for options, lowercase in (([], False), (["-lc"], True)):
        command = [
            sys.executable,
            "-m",
            "sacrebleu",
            str(tmp_path / "ref"),
            "-i",
            str(tmp_path / "hyp"),
            "-b",
            "-w",
            "6",
            *options,
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert bleu(written, references, lowercase).value == pytest.approx(float(said), abs=1e-5)
    assert bleu_of_words(["a b c d e"], ["a b c d e"]).value == pytest.approx(100)


def test_scores_while_training_are_those_of_given_targets(tmp_path: Path) -> None:
    scores = task(tmp_path).scores("tune", Outcome(loss=20.0, count=10, correct=4))
    assert {s.metric: s.value for s in scores} == {
        "loss": 2.0,
        "perplexity": pytest.approx(np.exp(2.0)),
        "accuracy": 0.4,
    }


# What is left out is counted and said.


def test_long_pairs_are_left_out_of_training_and_long_tests_are_cut(tmp_path: Path) -> None:
    work = task(tmp_path, test=[*pairs(10), ("ein " * 30, "a " * 30)], max_tokens=6)
    long = [p for p in pairs(200) if max(len(p[0].split()), len(p[1].split())) > 6]
    notes = work.facts["notes"]
    assert f"{len(long)} pairs were left out: longer than 6 tokens (train)" in notes
    assert len(work.pairs["train"]) == 200 - len(long) and len(work.shown("test")["sources"]) == 11
    assert any("sources of test are cut at 6 tokens" in note for note in notes)
    assert work.lines["test"]["source"].lengths.max() == 6
    assert work.lines["test"]["target"].lengths.max() == 30  # what it is held against stays whole


def test_empty_sides_are_left_out_and_counted() -> None:
    skipped = Skipped()
    assert with_text([("a", "b"), ("", "b"), ("a", "  ")], skipped) == [("a", "b")]
    assert left_out(skipped) == ["2 pairs were left out: a side is empty"]


def test_a_test_split_stays_what_it_is_and_says_what_is_empty(tmp_path: Path) -> None:
    work = task(tmp_path, test=[*pairs(10), ("", "b"), ("a", " ")])
    assert len(work.shown("test")["sources"]) == 12
    assert "2 pairs of test with an empty side are kept and count" in work.facts["notes"]
    with pytest.raises(ValueError, match=r"test_target_path: .* set test_path"):
        parallel_file(ParallelFileConfig(path="p.tsv", test_target_path="t"))


def test_files_that_do_not_fit_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\ntwo\nthree\n")
    (tmp_path / "b").write_text("un\ndeux\n")
    with pytest.raises(ValueError, match=r"has 3 lines and .* 2: line by line they are no translations"):
        aligned(tmp_path / "a", tmp_path / "b")
    (tmp_path / "c").write_bytes(b"un\nd\xe9ux\ntrois\n")
    with pytest.raises(ValueError, match="c, line 2: not UTF-8"):
        aligned(tmp_path / "a", tmp_path / "c")
    (tmp_path / "d").write_text("one\tun\ntwo deux\n")
    with pytest.raises(ValueError, match="d, line 2: 1 columns"):
        tab_separated(tmp_path / "d")
    with pytest.raises(ValueError, match="cannot read"):
        aligned(tmp_path / "a", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="path: parallel_file needs"):
        parallel_file(ParallelFileConfig())
    with pytest.raises(ValueError, match="tests: no 'test_2031'"):
        task(tmp_path, tests=("test_2031",))


def test_an_empty_line_is_counted_in_one_file_as_in_two(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("one\tun\n\n \nfour\tquatre\n")
    (tmp_path / "a").write_text("one\n\n \nfour\n")
    (tmp_path / "b").write_text("un\n\n \nquatre\n")
    for found in (tab_separated(tmp_path / "p.tsv"), aligned(tmp_path / "a", tmp_path / "b")):
        skipped = Skipped()
        assert with_text(found, skipped) == [("one", "un"), ("four", "quatre")]
        assert left_out(skipped) == ["2 pairs were left out: a side is empty"]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in pairs(300, 3)), encoding="utf-8")
    settings = {"path": str(tmp_path / "p.tsv"), "tokenizer": "word", "vocabulary": 0}
    work = build_task(TASKS.get("parallel_file"), settings, "bidirectional", Places(None, tmp_path / "cache"))
    sizes = {part: len(found) for part, found in work.pairs.items()}
    assert sum(sizes.values()) == 300 and min(sizes.values()) > 10
    assert not {s for s, _ in work.pairs["train"]} & {s for s, _ in work.pairs["test"]}


@settings(max_examples=25, deadline=None)
@given(st.permutations(pairs(50)))
def test_the_cut_does_not_depend_on_the_order(shuffled: list[tuple[str, str]]) -> None:
    parts = cut(shuffled, 0.1, 0.1)
    assert {k: sorted(v) for k, v in parts.items()} == {k: sorted(v) for k, v in cut(pairs(50), 0.1, 0.1).items()}


def test_the_references_text_is_in_the_fingerprint(tmp_path: Path) -> None:
    """They differ in a word that no vocabulary has: the same ids, other scores."""
    prints = {task(tmp_path, [("one two", f"a {word} runs"), ("two", "a")]).fingerprint for word in ("zebra", "gnu")}
    assert len(prints) == 2


# Sources.


def test_the_catalogue_needs_no_download(tmp_path: Path) -> None:
    found = catalogue()
    assert sum(map(len, found.parts.values())) > 2500
    sources = [source for part in found.parts.values() for source, _ in part]
    assert len(sources) == len(set(sources))
    assert any("left out" in note for note in found.facts["notes"])
    learnt = {alike(source) for source, _ in found.parts["train"]}
    assert not learnt & {alike(source) for part in ("tune", "test") for source, _ in found.parts[part]}


def fake_multi30k(folder: Path, languages: tuple[str, ...] = ("en", "de")) -> None:
    (folder / "multi30k").mkdir(parents=True)
    for name, rows in MULTI30K_PARTS.values():
        for language in languages:
            lines = "".join(f"{language} {name} line {i} here\n" for i in range(rows))
            (folder / "multi30k" / f"{name}.{language}.gz").write_bytes(gzip.compress(lines.encode()))


def test_multi30k_in_any_direction(tmp_path: Path) -> None:
    fake_multi30k(tmp_path)
    found = multi30k("de", "en", Places(tmp_path, tmp_path))
    assert {part: len(p) for part, p in found.parts.items()} == {
        part: rows for part, (_, rows) in MULTI30K_PARTS.items()
    }
    assert found.parts["test"][3] == ("de test_2016_flickr line 3 here", "en test_2016_flickr line 3 here")
    assert [r.value for r in found.references] == [13.8, 20.6, 28.2, 34.1, 36.5]
    assert multi30k("en", "de", Places(tmp_path, tmp_path)).references[0].value == 41.02
    with pytest.raises(ValueError, match="choose two of en, de, fr"):
        multi30k("de", "es", Places(tmp_path, tmp_path))
    with pytest.raises(DataMissing, match=r"multi30k needs Multi30k: cannot read .*train.fr.gz.*catalogue"):
        multi30k("fr", "en", Places(tmp_path, tmp_path))


def test_a_part_that_lost_lines_is_refused(tmp_path: Path) -> None:
    fake_multi30k(tmp_path)
    (tmp_path / "multi30k" / "val.de.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    with pytest.raises(ValueError, match=r"val.de has 2 lines, 1,014 were published"):
        multi30k("de", "en", Places(tmp_path, tmp_path))


def test_the_real_multi30k(request: pytest.FixtureRequest) -> None:
    import os

    local = os.environ.get("SEQBENCH_DATA")
    if not local or not (Path(local) / "multi30k").is_dir():
        pytest.skip("needs SEQBENCH_DATA with multi30k")
    found = multi30k("de", "en", Places(Path(local), Path(local)))
    assert found.parts["train"][0] == (
        "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
        "Two young, White males are outside near many bushes.",
    )
