"""Studies over tasks, with a planted crossing, a planted order and a tie."""

from __future__ import annotations

from reports.paired import compare, mean, ranks
from reports.training.data import Competitor, Metric, Name, TaskRun
from reports.training.scores import Board, Standing
from reports.training.studies import crossings

A, B, C = ("cnn", ""), ("vit", ""), ("mlp", "")


def board(images: int, scores: dict[Name, list[float]], better: str = "higher") -> Board:
    by_seed = {name: dict(enumerate(values)) for name, values in scores.items()}
    raw = {"facts": {"sizes": {"train": images}}}
    competitors = [Competitor(name) for name in scores]
    task = TaskRun("t", f"x@{images}", Metric("accuracy", "share", better), 3, raw, [], competitors, {}, {}, {}, {})
    pairs = compare(by_seed)
    places = ranks(list(by_seed), pairs, better)
    standings = [Standing(c, 3, mean(list(by_seed[c.name].values())), places.get(c.name)) for c in competitors]
    return Board(task, standings, pairs)


FEW = {A: [0.50, 0.51, 0.52], B: [0.30, 0.312, 0.318]}
MANY = {A: [0.70, 0.71, 0.72], B: [0.80, 0.812, 0.818]}


def test_a_planted_crossing_is_found() -> None:
    (said,) = crossings("training examples", [board(100, FEW), board(10_000, MANY)])
    assert said == "cnn is ahead of vit at 100 images to train on, behind at 10,000: they cross."


def test_the_order_of_tasks_and_of_competitors_does_not_matter() -> None:
    turned = [board(n, dict(reversed(scores.items()))) for n, scores in ((10_000, MANY), (100, FEW))]
    assert crossings("training examples", turned) == crossings(
        "training examples", [board(100, FEW), board(10_000, MANY)]
    )


def test_where_low_is_better_the_other_one_is_ahead() -> None:
    (said,) = crossings("training examples", [board(100, FEW, "lower"), board(10_000, MANY, "lower")])
    assert said.startswith("vit is ahead of cnn at 100")


def test_an_order_that_holds_everywhere_is_no_crossing() -> None:
    said = crossings(
        "training examples", [board(100, FEW), board(1000, {n: [v + 0.1 for v in s] for n, s in FEW.items()})]
    )
    assert (
        said[0].startswith("No two competitors are shown to change places")
        and said[1] == "Ahead at every value: cnn over vit."
    )


def test_a_tie_is_neither() -> None:
    tie = {A: [0.6, 0.5, 0.7], B: [0.5, 0.72, 0.6]}
    (said,) = crossings("training examples", [board(100, FEW), board(1000, tie)])
    assert said.startswith("No two competitors")
