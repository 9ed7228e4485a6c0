"""Suite files and settings: every mistake is one line with the fix."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bench.plan import Sized, plan_scaling, run_id
from bench.spec import PRESETS, ScalingSpec, SpecError, load_suite, parse_override, resolve, suite_names
from bench.trial import Trial


@pytest.fixture(scope="module")
def suite() -> Any:
    return load_suite("scaling")


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites(name: str) -> None:
    suite = load_suite(name)
    assert set(suite.presets) == set(PRESETS)
    header = (Path("bench/suites") / f"{name}.yaml").read_text().split("suite:")[0]
    assert f"python run_all.py --suite {name}" in header
    assert "Expect" in header


TRAINING = [name for name in suite_names() if load_suite(name).kind == "train"]
PUBLISHED = {
    "nanogpt",
    "image_published",
    "translation_published",
}  # sizes and recipes of others, the same in every preset


@pytest.mark.parametrize("name", TRAINING)
@pytest.mark.parametrize("preset", [p for p in PRESETS if p != "quick"])
def test_what_tasks_set_for_quick_does_not_stay_in_other_presets(name: str, preset: str) -> None:
    """A task's own size or budget wins over the suite's, so a preset has to change it by task."""
    suite = load_suite(name)
    quick, other = resolve(suite, "quick", {}), resolve(suite, preset, {})
    for task in set(quick.tasks) & set(other.tasks) if name not in PUBLISHED else ():
        plans, recipes = [s.tasks[task] for s in (quick, other)], [s.recipe_of(task) for s in (quick, other)]
        assert all(r.warmup < r.steps for r in recipes if r.steps), f"{task}: never out of its warm-up"
        if preset == "smoke":
            assert recipes[1].steps and recipes[1].steps <= 100, f"{task}: {recipes[1].steps} steps in a smoke run"
        elif task in other.chosen or (not other.studies and task not in {t for s in quick.studies for t in s.tasks}):
            sizes = [
                (plan.target or s.target, r.steps, r.batch)
                for plan, s, r in zip(plans, (quick, other), recipes, strict=True)
            ]
            assert sizes[0] != sizes[1], f"{task}: as in quick"
            assert plans[1].target is None or plans[1].target != plans[0].target, f"{task}: quick's size"
            assert plans[1].search is None or plans[1].search != plans[0].search, f"{task}: quick's search"


def test_a_learning_rate_is_named_where_it_is_searched() -> None:
    with pytest.raises(SpecError, match=r"lr is what the search tries; set search\.lr to one rate or several"):
        resolve(load_suite("lm"), "smoke", {"recipe.lr": 0.1})


def test_a_change_as_the_baseline_of_others() -> None:
    suite = load_suite("translation")
    with pytest.raises(SpecError, match="mark one change with baseline: true"):
        resolve(suite, "smoke", {"changes": {"gru": {"a": {"baseline": True}, "b": {"baseline": True}}}})
    with pytest.raises(SpecError, match="mark one change"):
        resolve(suite, "smoke", {"changes": {"gru": {"a": {"baseline": "yes"}}}})
    for target in (0, 1.5, True, "many"):
        with pytest.raises(SpecError, match="is no whole number above 0"):
            resolve(suite, "smoke", {"changes": {"gru": {"a": {"target": target}}}})
    resolve(suite, "smoke", {"changes": {"gru": {"a": {"baseline": True, "depth": 1}, "b": {"target": 10**5}}}})


def test_changes_of_one_task_are_not_those_of_another() -> None:
    suite = load_suite("translation_published")
    spec = resolve(suite, "smoke", {})
    assert spec.changes_of("multi30k@ladder").keys() == {"lstm", "gru"}
    assert spec.changes_of("multi30k@published").keys() == {"lstm", "gru", "conv1d", "attention"}
    assert not spec.changes_of("multi30k@tiny")
    with pytest.raises(SpecError, match="changes of multi30k@ladder, gru 'one vector': depth 0 is no number of layers"):
        resolve(suite, "smoke", {"tasks.multi30k@ladder.changes.gru.one vector.depth": 0})
    shared = resolve(load_suite("translation"), "smoke", {"tasks.catalogue.changes": {}})
    assert not shared.changes_of("catalogue") and shared.changes_of("multi30k") == shared.changes != {}


def test_lengths_double(suite: Any) -> None:
    assert resolve(suite, "smoke", {}).lengths == (64, 128, 256, 512)
    assert resolve(suite, "smoke", {"first_length": 100, "last_length": 399}).lengths == (100, 200)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"seed": 3}, "did you mean 'seeds'"),
        ({"regimes.batch1.batc": 3}, "did you mean 'batch'"),
        ({"regimes.batch1.tokens": 3}, "either batch or tokens"),
        ({"last_length": 2}, "below first_length"),
        ({"memory_share": 1.5}, "less than or equal to 1"),
        ({"mode": "sideways"}, "causal"),
        ({"phases": ["forwards"]}, "forward"),
    ],
)
def test_mistakes(suite: Any, overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        resolve(suite, "quick", overrides)


def test_overrides_do_not_touch_the_suite(suite: Any) -> None:
    resolve(suite, "quick", {"regimes.batch1.batch": 7})
    assert resolve(suite, "quick", {}).regimes["batch1"].batch == 1


def test_files_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    raw = yaml.safe_load(Path("bench/suites/scaling.yaml").read_text())
    path.write_text(yaml.safe_dump({**raw, "suite": "mine"}))
    assert load_suite(str(path)).suite == "mine"
    for text, words in (
        ("a: [", "not YAML"),
        ("- 1", "expected keys"),
        (yaml.safe_dump({**raw, "kindd": 1}), "'kind'"),
    ):
        path.write_text(text)
        with pytest.raises(SpecError, match=words):
            load_suite(str(path))
    path.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(SpecError, match="not YAML"):
        load_suite(str(path))


@given(
    st.dictionaries(
        st.text(max_size=12), st.one_of(st.none(), st.integers(), st.text(max_size=5), st.lists(st.integers()))
    )
)
def test_no_setting_crashes(overrides: dict[str, Any]) -> None:
    """Anything at all either resolves or is refused with a sentence."""
    with contextlib.suppress(SpecError):
        resolve(load_suite("scaling"), "smoke", overrides)


def test_override_values_are_yaml() -> None:
    assert parse_override("a.b=[1, 2]") == ("a.b", [1, 2])
    assert parse_override("seeds=5") == ("seeds", 5)


class TestPlan:
    def plan(self, spec: ScalingSpec, source: str = "s", device: str = "cpu") -> tuple[Trial, ...]:
        sized = [Sized("a", source, width=8, depth=2, parameters=10, config={}), Sized("b", "s", width=8, config={})]
        return plan_scaling(spec, sized, device, 1 << 30, "m").trials

    def test_every_cell_once_a_round(self, suite: Any) -> None:
        spec = resolve(suite, "quick", {})
        cells = [t for t in self.plan(spec) if t.kind == "cell"]
        ids = [(t.architecture, t.regime, t.length, t.seed) for t in cells if t.phases != ("memory",)]
        assert len(ids) == len(set(ids)) == 2 * 3 * (9 + 7)
        assert len(cells) - len(ids) == 2 * (9 + 7)  # memory, once
        assert len({t.trial_id for t in self.plan(spec)}) == len(self.plan(spec))

    def test_first_round_goes_up_and_others_are_shuffled(self, suite: Any) -> None:
        cells = [t for t in self.plan(resolve(suite, "quick", {})) if t.kind == "cell"]
        lengths = {seed: [t.length for t in cells if t.seed == seed] for seed in range(3)}
        assert lengths[0] == sorted(lengths[0])
        assert lengths[1] != sorted(lengths[1])
        assert lengths[1] != lengths[2]

    @pytest.mark.parametrize(("device", "seeds"), [("cpu", {0}), ("cuda", set())])
    def test_one_thread_beside_all_in_the_first_round_on_a_cpu(self, suite: Any, device: str, seeds: set[int]) -> None:
        trials = self.plan(resolve(suite, "quick", {}), device=device)
        assert {t.seed for t in trials if "forward_1_thread" in t.phases} == seeds

    def test_tokens_are_fixed(self, suite: Any) -> None:
        cells = [t for t in self.plan(resolve(suite, "quick", {})) if t.regime == "tokens"]
        assert {t.batch * t.length for t in cells} == {4096}

    def test_a_change_of_source_makes_its_own_trials_stale(self, suite: Any) -> None:
        spec = resolve(suite, "smoke", {})
        before, after = self.plan(spec), self.plan(spec, source="changed")
        same = {t.trial_id for t in before} & {t.trial_id for t in after}
        assert same == {t.trial_id for t in before if t.architecture != "a"}
        assert run_id("x", "smoke", before, "e") == run_id("x", "smoke", after, "e")
        assert run_id("x", "smoke", before, "e") != run_id("x", "smoke", before, "other machine")
