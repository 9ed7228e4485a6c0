"""Pages of runs that train: planted truth is found, odd runs render, and nothing hostile gets through."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from typing import cast as cast_to

import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from reports.data import load
from reports.page import render, render_index
from reports.paired import Mean, mean
from reports.training import notices as training_notices
from reports.training.ablations import ablations, change
from reports.training.curves import positions, target
from reports.training.data import Competitor, Metric, Reference, TaskRun, read
from reports.training.headline import headline, times_to_target, winner
from reports.training.looks import MOST_LINES, cast
from reports.training.pairs import pairs_table
from reports.training.scores import Board, Standing, board
from reports.training.tables import facts, targets
from results.store import Run
from tests.synthetic_training import ABLATION, HOSTILE, LANGUAGE, PROBE, Planted, Runner, make_training


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_training(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def boards(run: Run) -> dict[str, Board]:
    return {t.name: board(t) for t in read(load(run)).tasks}


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    render(run, site)
    render_index([run], site)
    return site


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "lm.html").read_text(encoding="utf-8")


def task_of(run: Run, index: int = 0) -> TaskRun:
    return read(load(run)).tasks[index]


def ranks_of(one: Board) -> dict[str, str]:
    return {s.label: str(s.rank) for s in one.standings}


def test_planted_ranks(boards: dict[str, Board]) -> None:
    found = ranks_of(boards["characters"])
    assert found["attention"] == "1" and found["windowed"] == "2"
    assert found["lstm"] == found["gru"] == "3–4"  # planted tie
    assert ranks_of(boards["copying"])["attention"] == "1"  # higher is better there


def test_failures_have_no_mean_and_keep_their_reason(boards: dict[str, Board]) -> None:
    by_label = {s.label: s for s in boards["characters"].standings}
    for label, reason, short in (
        ("attention · huge", "2 of 3 seeds ok; out of memory (seed 1)", "out of memory"),
        ("conv · late", "2 of 3 seeds done", "2 of 3 seeds done"),
        ("lstm · exploding", "loss is nan at step 210", "no try worked"),
        ("gru · impossible", "no width gives", "left out"),
    ):
        s = by_label[label]
        assert s.mean is None and s.rank is None and reason in s.reason and s.short == short
    assert len(boards["characters"].ranked) == 6


def test_planted_changes(boards: dict[str, Board]) -> None:
    found = {a.architecture: a for a in ablations(boards["changes"])}
    verdicts = {e.standing.name[1]: e.verdict("lower") for e in found["attention"].effects}
    assert verdicts == {"no_positions": "worse", "wide": "better", "renamed": "not shown", "broken": "no result"}
    changes = {e.standing.name[1]: e.change for e in found["attention"].effects}
    assert changes["wide"] == "window 64 → 256" and changes["renamed"] == ""
    wide = next(e for e in found["attention"].effects if e.standing.name[1] == "wide")
    assert wide.time_ratio == pytest.approx(1.6, rel=0.05)
    assert found["lstm"].effects[0].standing.name[1] == "no_forget_bias"  # order of the plan


def test_headline_says_ties(tmp_path: Path) -> None:
    two = replace(PROBE, runners=PROBE.runners[:2], target=None)
    one = board(task_of(make_training(tmp_path, tasks=(two,))))
    cards = headline(one, []).cards
    assert cards[0][0] in ("lstm and gru", "gru and lstm") and "not told apart" in cards[0][1]
    assert "(not shown)" in cards[1][1]


def test_too_many_lines_are_left_out_and_named(boards: dict[str, Board], run: Run, page: str) -> None:
    who = cast(boards["changes"], load(run).architectures)
    assert len(who.shown) == MOST_LINES and len(who.left_out) == 2
    assert len({(look.slot, look.marker) for look in who.looks.values()}) == len(who.looks)
    assert "Not drawn, so that lines stay apart" in page


def test_csv_files(folder: Path, run: Run) -> None:
    scores = pd.read_csv(folder / "lm_scores.csv", keep_default_na=False)
    row = scores[(scores.task == "characters") & (scores.architecture == "attention") & (scores.variant == "")
                 & (scores.split == "test") & (scores.metric == "loss")].iloc[0]  # fmt: skip
    assert len(row["values"].split(";")) == 3 and float(row.low) < float(row["mean"]) < float(row.high)
    late = scores[(scores.architecture == "conv") & (scores.variant == "late") & (scores.metric == "loss")]
    assert set(late["mean"]) == {""} and set(late.n.astype(int)) == {2}  # no mean of survivors
    tries = pd.read_csv(folder / "lm_tries.csv", keep_default_na=False)
    assert (tries.status == "nan").sum() == 4 + 1 and tries.chosen.sum() == 8 + 5
    curves = pd.read_csv(folder / "lm_curves.csv")
    assert set(curves.task) == {"characters", "copying", "changes"} and curves.value.notna().all()
    differences = pd.read_csv(folder / "lm_differences.csv")
    assert len(differences) == 15 + 10 + 55 + 3 + 6
    costs = pd.read_csv(folder / "lm_costs.csv")
    assert {"flops_per_token", "train_time", "activation_memory", "energy", "parameters"} <= set(costs.metric)
    for name in ("scores", "curves", "tries", "differences", "costs"):
        assert (folder / run.run_id / f"lm_{name}.csv").is_file()


def test_hostile_text_stays_text(page: str) -> None:
    assert "<img src=x" not in page and "<script>alert" not in page
    assert page.count("&lt;/script&gt;&lt;script&gt;alert") > 10
    assert page.count("</script>") == 2  # the bundle's and the page's own


def test_every_plot_has_words(page: str) -> None:
    figures = re.findall(r"<figure>.*?</figure>", page, flags=re.S)
    assert len(figures) >= 20
    for figure in figures:
        label = re.search(r'aria-label="([^"]+)"', figure)
        caption = re.search(r"<figcaption>(.+?)</figcaption>", figure, flags=re.S)
        assert 'role="img"' in figure and re.search(r"<h4>.+</h4>", figure)
        assert label and len(label[1]) > 60 and caption and len(caption[1]) > 30
    assert re.search(r"#fe[0-9a-f]{2}01|#fd000\d", page) is None  # every stand-in colour became a variable


def test_ids_are_unique(page: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_learning_rates_are_not_rounded_away(page: str) -> None:
    figure = page[page.index("Tuning score by learning rate") :]
    assert "0.0003" in figure[: figure.index("</figure>")]


def test_size_and_index(folder: Path, page: str) -> None:
    assert len(page) < 4_000_000
    assert "synthetic-training/lm.html" in (folder / "index.html").read_text()


ONE = replace(LANGUAGE, runners=LANGUAGE.runners[:1])
TWO = replace(PROBE, runners=PROBE.runners[:2])
BROKEN = replace(
    PROBE,
    runners=tuple(replace(p, ends={s: ("oom", "needs 9 GiB") for s in range(3)}) for p in PROBE.runners[:2]),
)


def strip(plan: dict[str, Any]) -> None:
    """A plan that says as little as it may."""
    plan["tasks"] = plan["competitors"] = plan["architectures"] = []
    del plan["created"], plan["command"], plan["seeds"], plan["title"], plan["match"]


def no_references(plan: dict[str, Any]) -> None:
    for task in plan["tasks"]:
        for key in ("references", "facts", "search", "recipe", "summary"):
            del task[key]


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("no-finals", {"tasks": (TWO,), "stages": ("check", "cost", "tune"), "choices": False}, "no final trial yet"),
        ("tuning-only", {"tasks": (TWO,), "stages": ("check", "tune")}, "No result yet"),
        ("all-failed", {"tasks": (BROKEN,)}, "No result yet"),
        ("one-seed", {"tasks": (TWO, ABLATION), "seeds": (0,)}, "one seed"),
        ("two-seeds", {"tasks": (TWO,), "seeds": (0, 1)}, "few seeds"),
        ("one-competitor", {"tasks": (ONE,)}, "alone with a score"),
        ("no-choices", {"tasks": (TWO,), "choices": False}, "Leaderboard"),
        ("one-try", {"tasks": (replace(TWO, lrs=(1e-3,)),)}, "not searched"),
        ("no-costs", {"tasks": (TWO,), "stages": ("tune", "final")}, "Leaderboard"),
        ("nothing", {"tasks": (TWO,), "stages": (), "choices": False}, "No result yet"),
        ("no-tasks", {"tasks": ()}, "No result yet"),
        ("poor-plan", {"tasks": (TWO,), "change_plan": strip, "choices": False}, "Leaderboard"),
        ("bare-tasks", {"tasks": (LANGUAGE, PROBE), "change_plan": no_references}, "Leaderboard"),
        ("interrupted", {"tasks": (LANGUAGE,), "complete": False}, "incomplete run"),
        ("other-suite", {"tasks": (TWO,), "suite": "probes"}, "probes_scores.csv"),
    ],
)  # fmt: skip
def test_odd_runs_render(tmp_path: Path, name: str, options: dict[str, Any], says: str) -> None:
    run = make_training(tmp_path / "runs", run_id=name, **options)
    page = render(run, tmp_path / "site").read_text(encoding="utf-8")
    assert says in page
    assert not re.search(r">\s*(nan|None|inf)\s*<", re.sub(r"<td[^>]*>nan</td>|<th[^>]*>nan</th>", "", page))
    anchors = re.findall(r'href="#([^"]+)"', re.sub(r"<svg.*?</svg>", "", page, flags=re.S))
    assert all(f'id="{a}"' in page for a in anchors)


def test_mean_of_survivors_is_refused_even_where_the_plan_is_silent(tmp_path: Path) -> None:
    failing = replace(PROBE.runners[0], ends={2: ("oom", "needs 9 GiB")})
    run = make_training(tmp_path, tasks=(replace(PROBE, runners=(failing,)),), change_plan=strip, choices=False)
    standing = board(task_of(run)).standings[0]
    assert standing.mean is None and standing.done == 2


def test_training_that_time_ended_is_told(tmp_path: Path) -> None:
    run = make_training(tmp_path / "runs", tasks=(TWO,))
    records, _ = run.read()
    for record in (r for r in records if r.regime == "final" and r.architecture == "gru"):
        run.append(replace(record, extra={**record.extra, "stopped_by": "seconds"}))
    page = render(run, tmp_path / "site").read_text(encoding="utf-8")
    assert "training was ended by seconds" in page and "unequal steps" in page


def test_one_competitor_alone_is_neither_best_nor_unequal(tmp_path: Path) -> None:
    run = make_training(tmp_path / "runs", tasks=(replace(TWO, runners=TWO.runners[:1]),), seeds=(0,))
    records, _ = run.read()
    for record in (r for r in records if r.regime == "final"):
        run.append(replace(record, extra={**record.extra, "stopped_by": "patience"}))
    page = render(run, tmp_path / "site").read_text(encoding="utf-8")
    assert "training was ended by patience" in page and "ended early" in page and "unequal steps" not in page
    assert "alone with a score on" in page and "one seed gives no interval" in page and "in a single seed" not in page


def test_one_seed_has_order_but_no_rank(tmp_path: Path) -> None:
    one = board(task_of(make_training(tmp_path, tasks=(PROBE,), seeds=(0,))))
    assert all(s.rank is None and s.mean is not None for s in one.standings)
    means = [s.mean.value for s in one.standings if s.mean is not None]
    assert means == sorted(means, reverse=True)


def test_missing_side_files(tmp_path: Path) -> None:
    run = make_training(tmp_path / "runs", tasks=(TWO,))
    (run.folder / "summary.json").unlink()
    (run.folder / "environment.json").unlink()
    with open(run.records_path, "a") as file:
        file.write('{"torn')
    page = render(run, tmp_path / "site").read_text(encoding="utf-8")
    assert "incomplete run" in page and "unreadable line" in page


def test_only_trials_of_the_plan_count_and_a_retry_replaces(tmp_path: Path) -> None:
    def drop(plan: dict[str, Any]) -> None:
        plan["trial_ids"] = [i for i in plan["trial_ids"] if not i.endswith("final-2-0")]

    run = make_training(tmp_path, tasks=(TWO,), change_plan=drop)
    assert set(task_of(run).ok(("lstm", ""))) == {0, 1}
    records, _ = run.read()
    first = next(r for r in records if r.regime == "final" and r.architecture == "lstm" and r.seed == 0)
    run.append(replace(first, status="nan", reason="loss is nan", measurements=()))
    assert set(task_of(run).ok(("lstm", ""))) == {1}


def test_rendering_twice_gives_the_same_page(run: Run, page: str, tmp_path: Path) -> None:
    timing = re.compile("<tr><th[^>]*>(fits and drawing|all outside measured steps|measured steps|whole run)<.*?</tr>")
    again = render(run, tmp_path).read_text(encoding="utf-8")
    first, second = (re.sub(r"\d+ %</td>", "", timing.sub("", text)) for text in (again, page))
    assert first == second


def many(task: Planted, count: int) -> Planted:
    return replace(task, runners=tuple(Runner(f"arch_{i}", 1.0 + i / 20) for i in range(count)))


@pytest.mark.parametrize(
    "make", [lambda: many(LANGUAGE, 25), lambda: replace(ONE, runners=(Runner(HOSTILE * 3, 1.0),))]
)
def test_many_competitors_and_long_names(make: Callable[[], Planted], tmp_path: Path) -> None:
    page = render(make_training(tmp_path / "runs", tasks=(make(),)), tmp_path / "site").read_text(encoding="utf-8")
    assert "Leaderboard" in page and "<script>alert" not in page


def test_where_nobody_is_above_chance_nobody_is_called_the_best(tmp_path: Path) -> None:
    """Whoever is ahead of others at chance is ahead by luck."""
    poor = replace(PROBE, runners=tuple(replace(r, score=1 / 16 - 0.02) for r in PROBE.runners))
    for planted, nothing in ((poor, True), (PROBE, False)):
        data = load(make_training(tmp_path, f"run{nothing}", (planted,)))
        (one,) = [board(task) for task in read(data).tasks]
        card = winner(one)
        assert card is not None and (card[0] == "nobody") is nothing
        assert any("nothing learnt" in w.short for w in training_notices.gather([one])) is nothing


def test_one_of_many_at_chance_is_not_better_than_chance() -> None:
    """Five of five at chance: one uncorrected interval of five leaves chance out in every fifth run or so."""
    task = cast_to(TaskRun, SimpleNamespace(
        primary=Metric("accuracy", "share", "higher"), test_split="test",
        references=[Reference("chance", "accuracy", 0.5, "chance", "by arithmetic")],
    ))  # fmt: skip

    def one(*means: Mean) -> Board:
        competitor = cast_to(Competitor, SimpleNamespace(name=("gru", ""), label="gru"))
        return Board(task, [Standing(competitor, found.n, found, None) for found in means], {})

    barely = mean([0.51, 0.512, 0.505, 0.522])
    assert 0.01 < barely.against(0.5) < 0.05 and barely.low > 0.5
    at = mean([0.49, 0.51, 0.5, 0.5])
    assert one(barely).nothing_learnt is None
    assert one(barely, at, at, at, at).nothing_learnt is not None
    assert one(mean([0.9, 0.91, 0.905]), at, at, at, at).nothing_learnt is None
    assert one(mean([1.0, 1.0, 1.0]), at, at).nothing_learnt is None  # no spread: taken at its word
    assert one(mean([0.3, 0.31, 0.3]), at).nothing_learnt is not None  # far from chance, on the wrong side
    assert one(mean([0.7])).nothing_learnt is None  # a single seed, called so on the page


@pytest.mark.parametrize("values", [[0.4, 0.6, 0.7], [1.0, 1.5, 1.25, 0.75, 2.0]])
def test_a_mean_against_a_number_is_the_t_test_of_one_sample(values: list[float]) -> None:
    assert mean(values).against(0.5) == pytest.approx(ttest_1samp(values, 0.5).pvalue)
    assert math.isnan(mean([1.0]).against(0.5)) and mean([0.5, 0.5]).against(0.5) == 1.0


def test_warns_where_encoders_differ_and_nothing_was_searched(tmp_path: Path) -> None:
    def change(plan: dict[str, Any]) -> None:
        for competitor, size in zip(plan["competitors"], (700_000, 600_000), strict=False):
            competitor["embedding_parameters"] = size
        for choice in plan["choices"]:
            choice.update(status="single", tries=[])

    wanted = {"no search", "unequal without embeddings"}
    for name, changes in (("both", change), ("neither", None)):
        run = make_training(tmp_path, name, (PROBE,), change_plan=changes)
        found = {w.short for w in training_notices.gather([board(task) for task in read(load(run)).tasks])}
        assert wanted & found == (wanted if changes else set())


def test_the_head_of_a_page_says_what_its_own_tasks_have_in_common(tmp_path: Path) -> None:
    """A task may be matched in another way than the suite is, and have fewer architectures."""

    def by_width(plan: dict[str, Any]) -> None:
        plan["tasks"][0].update(match="width", target=128)
        plan["architectures"] += [{**plan["architectures"][0], "name": "idle"}]

    for name, tasks, words in (
        ("one", (PROBE,), "equal width (about 128)"),
        ("two", (PROBE, LANGUAGE), "equal width (about 128) and equal parameters (about 800 k)"),
    ):
        run = make_training(tmp_path / "runs", name, tasks, change_plan=by_width)
        page = render(run, tmp_path / "site").read_text(encoding="utf-8")
        who = len({r.architecture for t in tasks for r in t.runners})
        assert f"{who} architectures, {words}, float32" in page


def test_sizes_of_their_own_are_told(tmp_path: Path) -> None:
    def some(plan: dict[str, Any]) -> None:
        for competitor in plan["competitors"][1:3]:
            competitor.update(target=2_000_000, parameters=2_000_123)

    def every(plan: dict[str, Any]) -> None:
        for competitor in plan["competitors"]:
            competitor["target"] = 2_000_000

    lead = "equal parameters (about 800 k)"
    for name, edit, own in (("some", some, True), ("every", every, False)):
        run = make_training(tmp_path / "runs", name, (ABLATION,), change_plan=edit)
        page = render(run, tmp_path / "site").read_text(encoding="utf-8")
        assert (f"{lead}, some of their own size" in page) == own and (lead in page) == own
        assert "unequal sizes" in page
        assert ("parameters 800 k → 2.00 M" in page) == own


def test_a_target_is_a_score_of_those_who_learnt(tmp_path: Path) -> None:
    """One competitor stays at chance: what it came to is no target for the others."""
    runners = (replace(PROBE.runners[0], score=1 / 16), *PROBE.runners[1:])
    mixed = replace(PROBE, runners=runners, target=None)
    (data,) = read(load(make_training(tmp_path, "mixed", (mixed,)))).tasks
    one = board(data)
    assert ("lstm", "") not in one.learnt and len(one.learnt) == 4
    goal = target(data, one.learnt)
    assert goal is not None and goal[0] == pytest.approx(0.55, abs=0.03) and "shown to beat" in goal[1]
    rows = {row[0].text: row[1].text for row in targets(one, cast(one, []))[0].rows}
    assert rows["lstm"] == "not reached" and "not" not in rows["gru"]
    poor = replace(PROBE, runners=tuple(replace(r, score=1 / 16) for r in PROBE.runners), target=None)
    (data,) = read(load(make_training(tmp_path, "poor", (poor,)))).tasks
    assert target(data, board(data).learnt) is None


def test_nobody_is_first_at_a_target_that_was_passed_before_anybody_looked(tmp_path: Path) -> None:
    one = board(task_of(make_training(tmp_path, tasks=(replace(LANGUAGE, target=4.5),))))
    assert len(times_to_target(one.task, 2.0)) > 2 and times_to_target(one.task, 4.5) == {}
    shown = {row[0].text: row[1].text for row in targets(one, cast(one, []))[0].rows}
    assert shown["lstm"] == "≤ 0"


def test_places_without_a_prediction_keep_their_places(tmp_path: Path) -> None:
    """Two predictions at places 2 and 4; a list that leaves the others out says nothing of places, and is not drawn."""

    def planted(run: str, loss: list[float | None], count: list[int]) -> TaskRun:
        (task,) = read(load(make_training(tmp_path, run, (replace(LANGUAGE, tests={"test": 4}),)))).tasks
        for record in task.ok(("lstm", "")).values():
            record.extra["positions"] = {"test": {"loss": loss, "count": count}}
        return task

    kept = positions(planted("kept", [None, 0.5, None, 0.25], [0, 7, 0, 7]), ("lstm", ""))
    assert kept is not None and kept.x["position"].tolist() == [2, 4] and kept.mean.tolist() == [0.5, 0.25]
    assert positions(planted("old", [0.5, 0.25], [7, 7]), ("lstm", "")) is None


def test_every_pair_names_the_better_first(boards: dict[str, Board]) -> None:
    one = boards["characters"]
    seeds = {s.name: one.task.scores(s.name, "test", "loss") for s in one.ranked}
    table = pairs_table("pairs", one.pairs, seeds, "lower", "difference")
    assert all(float(row[2].text.replace("−", "-")) < 0 for row in table.rows)  # a loss: better is lower
    found = {frozenset((row[0].text, row[1].text)): row[6].text for row in table.rows}
    assert found[frozenset(("lstm", "gru"))] == "not told apart" and found[frozenset(("attention", "conv"))] == "better"


def test_a_recipe_is_told_without_what_the_task_does_not_use(tmp_path: Path) -> None:
    one = task_of(make_training(tmp_path))
    one.raw["recipe"] |= {"patch": 4, "beam": 5, "lr": 0.5, "clip": 1.0}
    told = dict(facts(one))["recipe"]
    assert "clip 1" in told and not any(word in told for word in ("patch", "beam", "lr 0.5"))


def test_what_a_change_undoes_is_named_too() -> None:
    base = Competitor(("gru", "additive"), recipe={"cross": "additive", "beam": 5})
    other = Competitor(("gru", "plain"), recipe={"beam": 2})
    assert change(base, other, {"cross": "dot", "beam": 1}) == "cross additive → dot, beam 5 → 2"
