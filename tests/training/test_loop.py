"""The loop: seeds, resuming to the bit, NaN, budgets, what is kept."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contract import Outcome, TaskShape
from bench.execute.failures import NotFinite
from bench.training import checkpoint
from bench.training.loop import Training, primary_score
from bench.training.losses import loss_sum
from tests.training.toys import Clock, Ragged, model, recipe


class Killed(BaseException):
    """What a SIGKILL would be, if it could be caught."""


def trained(
    name: str = "attention", seed: int = 0, folder: Path | None = None, kill_at: int = 0, **changes: Any
) -> Any:
    """Train; with `kill_at`, end without warning at that stretch. Checkpoints at every stretch."""
    calls = itertools.count(1)

    def before() -> None:
        if next(calls) == kill_at:
            raise Killed

    dropout = changes.get("dropout", 0.0)
    made = recipe(checkpoint_seconds=1e-9, **changes)
    net = model(name, seed, **({"dropout": dropout} if dropout else {}))
    training = Training(net, Ragged(), made, Clock(before), seed=seed, folder=folder)
    with contextlib.suppress(Killed):
        training.run()
    return training


@pytest.mark.parametrize("name", ["attention", "lstm", "tcn"])
@pytest.mark.parametrize("kill_at", [2, 4, 5])
def test_resuming_is_exact_to_the_bit(tmp_path: Path, name: str, kill_at: int) -> None:
    options: dict[str, Any] = {"dropout": 0.1, "accumulate": 2}
    straight = trained(name, **options)
    killed = trained(name, folder=tmp_path, kill_at=kill_at, **options)
    assert killed.state.step < 40
    torch.manual_seed(12345)  # whatever the new process's own state
    resumed = trained(name, folder=tmp_path, **options)
    assert resumed.state.resumed_at and resumed.state.resumed_at[0] > 0
    assert resumed.state.step == straight.state.step == 40
    assert checkpoint.digest(resumed.model.state_dict()) == checkpoint.digest(straight.model.state_dict())
    assert resumed.state.curves == straight.state.curves
    assert resumed.state.best_step == straight.state.best_step
    resumed.take_best()
    straight.take_best()
    assert checkpoint.digest(resumed.model.state_dict()) == checkpoint.digest(straight.model.state_dict())


def test_one_seed_one_result_and_another_seed_another() -> None:
    first, same, other = (checkpoint.digest(trained(seed=s, dropout=0.1).model.state_dict()) for s in (0, 0, 1))
    assert first == same != other


def test_data_order_is_the_same_for_all_architectures() -> None:
    seen: list[list[torch.Tensor]] = []
    for name in ("attention", "lstm"):
        task, batches = Ragged(), []
        plain = task.train_batch
        task.train_batch = lambda i, b, s, p=plain, to=batches: (to.append(p(i, b, s)), to[-1])[1]  # type: ignore
        Training(model(name), task, recipe(steps=5), Clock(), seed=3).run()
        seen.append([b.inputs for b in batches])
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


def test_it_learns() -> None:
    training = trained(steps=150, lr=1e-2, batch=16)
    assert training.state.curves["tune"]["loss"][-1] < 0.5 < training.state.curves["tune"]["loss"][0]


@pytest.mark.parametrize(("where", "words"), [("loss", "loss is not a number at step 23"), ("norm", "gradient is not")])
def test_a_planted_nan_stops_with_the_step(where: str, words: str) -> None:
    net = model()
    training = Training(net, Ragged(), recipe(), Clock())
    plain = training._one_step

    def poisoned() -> None:
        if training.state.step == 23:
            if where == "loss":
                with torch.no_grad():
                    next(net.parameters()).fill_(torch.nan)
            else:
                next(net.parameters()).register_hook(lambda grad: grad * torch.inf)
        plain()

    training._one_step = poisoned  # type: ignore[method-assign]
    points: list[tuple[str, float]] = []
    training.on_curve = lambda curve, columns: points.append((curve, columns["step"][-1]))
    with pytest.raises(NotFinite, match=words):
        training.run()
    assert points == [("train", 20), ("tune", 15)]  # what came before was told


def test_patience_and_keep() -> None:
    scores = iter([3.0, 1.0, 2.0, 2.5, 0.1])

    class Planted(Ragged):
        def scores(self, split: str, outcome: Any) -> Any:
            (loss, *rest) = super().scores(split, outcome)
            return (type(loss)("loss", next(scores), "nats", "lower"), *rest)

    training = Training(model(), Planted(), recipe(steps=100, evaluate_every=10, patience=2), Clock())
    weights: list[str] = []
    plain = training._look
    training._look = lambda: (plain(), weights.append(checkpoint.digest(training.model.state_dict())))[0]  # type: ignore
    training.run()
    assert (training.stopped_by, training.state.step, training.state.best_step) == ("patience", 40, 20)
    training.take_best()
    assert checkpoint.digest(training.model.state_dict()) == weights[1]  # the second look's


def test_the_mean_of_the_last_looks_is_tested_and_survives_a_kill(tmp_path: Path) -> None:
    options: dict[str, Any] = {"keep": "last", "average": 3, "evaluate_every": 10}
    whole = trained(**options)
    looks: list[dict[str, torch.Tensor]] = []
    again = Training(model(), Ragged(), recipe(**options), Clock())
    plain = again._judge

    def judge() -> None:
        looks.append({name: t.clone() for name, t in again.model.state_dict().items()})
        plain()

    again._judge = judge  # type: ignore[method-assign]
    again.run()
    again.take_best()
    assert len(looks) == 4
    for name, tensor in again.model.state_dict().items():
        torch.testing.assert_close(tensor, torch.stack([w[name] for w in looks[-3:]]).mean(0))
    killed = trained(folder=tmp_path, kill_at=5, **options)
    assert killed.state.step < 40
    resumed = trained(folder=tmp_path, **options)
    for training in (whole, resumed):
        training.take_best()
    assert checkpoint.digest(whole.model.state_dict()) == checkpoint.digest(resumed.model.state_dict())


def test_an_average_is_of_the_last_looks() -> None:
    with pytest.raises(ValueError, match="keep: last"):
        recipe(average=2, keep="best")


def test_labels_are_smoothed_in_training_alone() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    shape = TaskShape(1, 1, 3, "token", vocabulary=3)
    p = logits.log_softmax(-1)[0]
    found = loss_sum(logits[:, None], torch.tensor([[0]]), shape, 0.3)
    assert float(found) == pytest.approx(-float(0.7 * p[0] + 0.3 * p.mean()))
    smooth, plain = trained(label_smoothing=0.5), trained()
    assert smooth.state.curves["tune"]["loss"] != plain.state.curves["tune"]["loss"]


def test_seconds_end_training() -> None:
    """A stretch takes one planted second."""
    training = trained(steps=None, seconds=3.0)
    assert training.stopped_by == "seconds"
    assert training.state.seconds == 3.0
    assert training.state.step == 15  # stretches of 1, 9 and, up to the look at 15, 5 steps


def test_tokens_end_training_by_those_that_are_there(tmp_path: Path) -> None:
    """Sequences are padded: half of their places hold no token."""
    options: dict[str, Any] = {"steps": None, "tokens": 900, "dropout": 0.1}
    training = trained(**options)
    assert training.stopped_by == "tokens"
    sizes = [int(Ragged().train_batch(i, 4, 0).keep_BT.sum()) for i in range(training.state.step)]
    assert sum(sizes) == training.state.tokens >= 900 > sum(sizes[:-1])
    assert training.state.step > 1.3 * 900 / (4 * 12)
    assert training.state.curves["train"]["lr"][-1] < 0.2 * 3e-3  # it has decayed by then
    trained(folder=tmp_path, kill_at=4, **options)
    again = trained(folder=tmp_path, **options)
    assert again.state.resumed_at and again.state.curves == training.state.curves


def test_target_time() -> None:
    training = trained(steps=150, lr=1e-2, batch=16, target=1.0)
    tune = training.state.curves["tune"]
    at = next(i for i, loss in enumerate(tune["loss"]) if loss <= 1.0)
    assert training.state.target_seconds == tune["seconds"][at]
    assert trained(steps=15, target=0.0).state.target_seconds is None


def test_weight_decay_spares_biases_and_norms() -> None:
    training = trained(steps=1)
    decayed, spared = training.optimizer.param_groups
    assert {p.dim() for p in decayed["params"]} == {2}
    assert {p.dim() for p in spared["params"]} == {1}
    assert spared["weight_decay"] == 0 < decayed["weight_decay"]


def test_a_full_disk_costs_the_checkpoint_and_not_the_training(tmp_path: Path) -> None:
    notes: list[str] = []
    folder = tmp_path / "file"
    folder.write_text("a file where a folder should be")
    training = Training(
        model(), Ragged(), recipe(checkpoint_seconds=1e-9), Clock(), folder=folder, on_note=notes.append
    )
    training.run()
    assert training.stopped_by == "steps"
    assert notes and "no checkpoint" in notes[0]


def test_a_damaged_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    trained(folder=tmp_path, kill_at=4)
    path = tmp_path / "state.pt"
    path.write_bytes(path.read_bytes()[:100])
    assert checkpoint.load(path) is None
    again = trained(folder=tmp_path)
    assert again.state.resumed_at == []
    assert checkpoint.digest(again.model.state_dict()) == checkpoint.digest(trained().model.state_dict())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_checkpoint_runs_nothing(tmp_path: Path) -> None:
    """A pickle that would run code is refused, not run."""
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "state.pt").write_bytes(pickle.dumps(Evil()))
    assert checkpoint.load(tmp_path / "state.pt") is None
    assert not (tmp_path / "ran").exists()


def test_a_task_without_its_primary_metric() -> None:
    with pytest.raises(ValueError, match="primary metric"):
        primary_score(Ragged().scores("tune", Outcome(count=1)), "bleu")


def test_test_data_do_not_touch_training() -> None:
    """With every label of the test split wrong, everything but the test itself is the same to the bit."""
    results = []
    for wrong in (False, True):
        net, task = model(), Ragged(wrong_tests=wrong)
        training = Training(net, task, recipe(), Clock())
        training.run()
        state = {k: v for k, v in asdict(training.state).items() if k != "eval_seconds"}
        results.append((checkpoint.digest(net.state_dict()), state, training.outcome("test").mean_loss))
    (weights, state, loss), (other_weights, other_state, other_loss) = results
    assert weights == other_weights
    assert state == other_state
    assert loss != other_loss


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiled_training_gives_the_same_curve() -> None:
    """The compile time is kept apart: it is in the first step and in no second of training."""
    plain, compiled = trained(steps=20), trained(steps=20, compile=True)
    assert compiled.state.curves["tune"]["loss"] == pytest.approx(plain.state.curves["tune"]["loss"], rel=1e-3)
    assert compiled.state.seconds == plain.state.seconds - 1  # planted: a second a stretch, the first one left out


@pytest.mark.parametrize("look", [1, 2, 3])
def test_killed_while_looking_at_the_tuning_split(tmp_path: Path, look: int) -> None:
    """The look is made again: it has a point in the curve, and a say in which weights are the best."""
    straight = trained()
    killed = Training(model(), Ragged(), recipe(checkpoint_seconds=1e-9), Clock(), folder=tmp_path)
    plain, calls = killed.outcome, itertools.count(1)

    def outcome(split: str) -> Outcome:
        if next(calls) == look:
            raise Killed
        return plain(split)

    killed.outcome = outcome  # type: ignore[method-assign]
    with pytest.raises(Killed):
        killed.run()
    resumed = trained(folder=tmp_path)
    assert resumed.state.curves == straight.state.curves
    assert resumed.state.best_step == straight.state.best_step
    assert checkpoint.digest(resumed.model.state_dict()) == checkpoint.digest(straight.model.state_dict())


def test_chance_of_an_architectures_own_is_seeded_too() -> None:
    """Dropout that the architecture's settings ask for, and not the recipe: whatever the process drew before."""
    results = []
    for before in (1, 2):
        torch.manual_seed(before)
        training = Training(model("attention", dropout=0.3), Ragged(), recipe(), Clock())
        training.run()
        results.append(checkpoint.digest(training.model.state_dict()))
    assert results[0] == results[1]


class Meter:
    """Two joules a look."""

    def __init__(self) -> None:
        self.seen = 0.0

    def joules(self) -> float:
        self.seen += 2.0
        return self.seen


@pytest.mark.parametrize("prepares", [False, True])
def test_energy_and_rates_are_those_of_the_seconds_that_count(prepares: bool) -> None:
    """A first step in which kernels are loaded or compiled counts in none of them."""
    training = Training(model("lstm"), Ragged(), recipe(steps=21, evaluate_every=21), Clock())
    training.meter = Meter()
    training.recipe = training.recipe.model_copy(update={"compile": prepares})  # said, not done
    training.run()
    stretches = 1 + len(training.state.samples)
    counted = stretches - 1 if prepares else stretches
    assert (training.state.seconds, training.state.joules) == (counted, 2.0 * counted)
    assert training.state.first_step_seconds == 1.0
    first = int(Ragged().train_batch(0, 4, 0).keep_BT.sum())
    assert training.state.timed_tokens == training.state.tokens - (first if prepares else 0)
