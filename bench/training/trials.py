"""The kinds of trial of suites that train: what a step costs, one training, decoding from the whole model.

Runs in the child. `Trial.training` holds: `recipe` (bench.training.recipe), `shape` of the task, and for trainings
`tests` (whether test splits are scored) and `generate` (what to sample, or None).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import torch

from bench.attention_maps import attention_maps
from bench.contract import (
    DecoderPlan,
    Mode,
    Outcome,
    PatchPlan,
    PicturedTask,
    Places,
    ReadableTask,
    Score,
    Task,
    TaskShape,
    TextTask,
    Tokenized,
    TranslationTask,
    out_width,
    prepared,
    stream,
)
from bench.decode import generate
from bench.execute.decoding import time_decoding, time_writing
from bench.execute.failures import Send, Unsupported
from bench.execute.session import Session
from bench.measure.energy import open_meter
from bench.measure.graph import Counter
from bench.measure.kernels import kernels_of
from bench.measure.memory import measure_training
from bench.measure.timing import UNSTABLE_SPREAD, spread
from bench.models import SequenceModel, build_for, build_task, shape_from
from bench.registry import ARCHITECTURES, TASKS, registered
from bench.sampler import Sampler
from bench.training import checkpoint
from bench.training.loop import State, Training, make_optimizer, precision
from bench.training.losses import loss_sum, predictions
from bench.training.parallel import ParallelTraining, Rank, part
from bench.training.pictures import keep_pictures
from bench.training.recipe import Recipe
from bench.training.writing import judged, keep, written
from bench.translator import EncoderDecoder, PrefixModel, Writer, stacks
from bench.trial import Trial, beams_of
from results.files import write_whole
from results.predictions import has_examples, save_attention, save_examples, save_predictions

MOST_POINTS = 400  # of a learning curve in a record
SHOWN_TOKENS = 16  # of the example whose attention is kept: more could not be read in a picture


def run_training_trial(
    trial: Trial, send: Send, places: Places, run_folder: Path | None, rank: Rank | None = None
) -> dict[str, Any]:
    """Run one trial. Exceptions go to the caller, which names their status; what was sent before them counts.

    Args:
        rank: of a training that spreads over several devices, which of its processes this is.
    """
    with Session(trial, send) as session:
        if trial.kind == "train":
            train(trial, session, places, run_folder, rank)
        elif trial.kind == "cost":
            cost(trial, session, places)
        else:
            decode(trial, session)
    return session.result()


def cost(trial: Trial, session: Session, places: Places) -> None:
    """Counted FLOPs a token, the memory of training, and the kernels of a pass over a training batch, of models made for
    this and thrown away. Of a model that writes, FLOPs of a source token and a target token, where source and target have
    the same length."""
    work, recipe = task_of(trial, places), recipe_of(trial)
    session.send("phase", "train")
    shape = read_by(work.shape, recipe)
    on_meta = model_of(trial, work.shape, recipe, "meta")
    one_text = trial.length if isinstance(on_meta, PrefixModel) else 0  # the target, behind the source
    found = [Counter(stack, trial.width, backward=True).count(trial.length + one_text) for stack in stacks(on_meta)]
    flops, method = sum(counts.flops for counts, _ in found) / trial.length, found[0][1]
    flops += _outside_encoder(shape, on_meta, trial.width, trial.length)
    if isinstance(on_meta, EncoderDecoder):
        flops += _crossing(len(on_meta.crosses), trial.width, trial.length)
        flops += 6 * trial.width**2 if on_meta.feed is not None else 0
    session.value("train", "flops_per_token", flops, "FLOP", "lower", method)
    if shape.image is not None:
        session.value("train", "flops_per_image", flops * trial.length, "FLOP", "lower", method)
    # Of several devices, what one of them holds.
    batch = part(work.train_batch(0, recipe.batch, trial.seed), Rank(0, trial.devices))
    amount = predictions(batch)
    batch = prepared(work, batch.to(trial.device), (0, trial.seed))

    def make() -> Any:
        model = model_of(trial, work.shape, recipe)

        def loss() -> Any:
            with precision(trial.device, trial.dtype):
                outputs = model(*batch.arguments)
            return loss_sum(outputs, batch.targets, shape) / amount

        return model, make_optimizer(model, recipe), loss

    if trial.device != "cpu":
        make()[2]().backward()  # kernels are chosen, and workspaces made, before memory is looked at
    split = measure_training(make, session.device)
    session.memory("train", split)
    model = model_of(trial, work.shape, recipe)

    def forward() -> None:
        with precision(trial.device, trial.dtype):
            model(*batch.arguments)

    with session.sparing("kernels", "kernels were not named"):  # where a GPU lets no user look
        session.kernels = kernels_of(forward, trial.device)[0]


def _outside_encoder(shape: TaskShape, model: Any, width: int, length: int) -> float:
    """FLOPs a token of head and front end, forward and backward; looking up an embedding is no arithmetic."""
    wide = out_width(getattr(model, "encoder", None), width) * (4 if shape.towers else 1)
    head = 6 * wide * shape.outputs / (1 if shape.output == "token" else length)
    front = 0 if shape.vocabulary else 4 * width * shape.features
    if shape.image is not None and shape.patches is not None:
        front = 4 * width * shape.image[0] * shape.patches.reach**2
    return head + front


def _crossing(layers: int, width: int, length: int) -> float:
    """FLOPs a target token of cross-attention, forward and backward, where source and target have `length` tokens: four
    products with weights (query, key, value, out; additive attention has three and counts as if it had four), scores and
    their use."""
    return 3 * layers * (4 * 2 * width * width + 2 * 2 * length * width)


def _begun(trial: Trial, shape: TaskShape, recipe: Recipe) -> Any:
    """The model before its first step: new, or with what another run has trained."""
    model: Any = model_of(trial, shape, recipe)
    if path := cast(dict[str, Any], trial.training).get("pretrained"):
        start_from(model, Path(path))
    return model


def train(trial: Trial, session: Session, places: Places, run_folder: Path | None, rank: Rank | None = None) -> None:
    """One training, its look back at the tuning split, and, in final trials, the tests: each read once."""
    work, recipe = task_of(trial, places), recipe_of(trial)
    model = _begun(trial, work.shape, recipe)
    folder = run_folder / "checkpoints" / trial.trial_id if run_folder is not None else None
    meter = open_meter(trial.device)
    curves: dict[str, dict[str, list[float]]] = {}

    def on_curve(name: str, columns: dict[str, list[float]]) -> None:
        curves[name] = thinned(columns)
        session.extra("curves", curves)

    kind = Training if rank is None else partial(ParallelTraining, rank)
    training = kind(
        model, work, recipe, session.device, trial.device, trial.dtype, trial.seed, folder, meter,
        on_curve=on_curve,
        on_progress=lambda step, steps, words: session.send("progress", step, steps, words),
        on_note=lambda note: session.send("note", "checkpoint", note), shape=read_by(work.shape, recipe),
    )  # fmt: skip
    session.extra("recipe", recipe.model_dump(mode="json"))
    session.extra("lengths", work.facts.get("lengths", {}))
    if rank is not None:
        session.extra("devices", rank.count)
    session.send("phase", "train")
    state = training.run()
    if rank is not None and rank.number:
        return  # the first process tells, and carries on
    _send_costs(session, training, state, meter.method if meter else "")
    session.extra("weights", checkpoint.digest(model.state_dict()))
    training.take_best()

    session.send("phase", "tune")
    _send_scores(session, "tune", "tune", work.scores("tune", training.outcome("tune")))
    writes = work if isinstance(work, TranslationTask) else None
    if writes is not None:  # choices are made by it, so it is greedy: the same for all, and quick
        _, scores = judged(writes, "tune", written(writes, model, recipe, trial, "tune", 1, session))
        _send_scores(session, "tune", "tune", scores)
    asked = cast(dict[str, Any], trial.training)
    if asked["tests"]:
        session.send("phase", "test")
        positions: dict[str, Any] = {}
        outcomes: dict[str, Outcome] = {}
        texts: dict[str, list[str]] = {}
        for split in work.splits:
            if split != "tune":
                outcome = outcomes[split] = training.outcome(split)
                _send_scores(session, "test", split, work.scores(split, outcome))
                if writes is not None:
                    found = written(writes, model, recipe, trial, split, recipe.beam, session)
                    texts[split], scores = judged(writes, split, found)
                    _send_scores(session, "test", split, scores)
                if outcome.count_T:
                    sums = zip(outcome.loss_T, outcome.count_T, strict=True)
                    losses = [round(x / n, 6) if n else None for x, n in sums]
                    positions[split] = {"loss": losses, "count": outcome.count_T}
        if positions:
            session.extra("positions", positions)
        if writes is not None and run_folder is not None:
            keep(trial, session, writes, model, recipe, run_folder, texts)
        elif isinstance(work, PicturedTask) and run_folder is not None:
            keep_pictures(trial, session, work, model, _begun(trial, work.shape, recipe), run_folder, outcomes["test"])
        elif isinstance(work, ReadableTask) and run_folder is not None:
            outcomes |= {split: training.outcome(split) for split in work.unlabelled}
            predicted = {split: outcome.predictions for split, outcome in outcomes.items()}
            _keep_predictions(trial, session, work, model, run_folder, predicted)
    if asked["generate"] is not None:
        session.send("phase", "generate")
        with session.sparing("samples", "no samples"):
            _samples(trial, session, model, work, asked["generate"])
    wanted = recipe.save_weights is True or (recipe.save_weights == "first" and trial.seed == 0)
    kept = ""
    if wanted and folder is not None and run_folder is not None:
        kept = _keep_weights(session, model, work, folder / "weights.pt", run_folder)
    session.extra("checkpoint", kept)


def _keep_weights(session: Session, model: Any, work: Task, path: Path, run_folder: Path) -> str:
    """Weights, and what says where they fit: a tokeniser, or the size of images. Returns the path in the run folder, ""
    where they were not kept."""
    problem = ""
    if isinstance(work, PicturedTask):
        session.extra("image", list(work.shape.image or ()))
    try:
        if isinstance(work, Tokenized):
            write_whole(path.with_name("tokenizer.json"), json.dumps(work.tokenizer_state))
    except OSError as error:
        problem = str(error.strerror)
    problem = problem or checkpoint.save(path, {"weights": model.state_dict()})
    if problem:  # a training is worth more than its weights
        session.send("note", "checkpoint", f"weights were not kept: {problem}")
    return "" if problem else str(path.relative_to(run_folder))


def _send_scores(session: Session, phase: str, split: str, scores: Iterable[Score]) -> None:
    for score in scores:
        session.value(phase, score.metric, score.value, score.unit, score.better, split=split)
        if score.note:
            session.send("note", f"scores of {split}", score.note)


def start_from(model: SequenceModel, path: Path) -> None:
    """Give the model the encoder and the front end in `path`; its head stays new. The file's embedding may have more rows,
    as for [MASK]. Raises ValueError where the file does not fit."""
    content = checkpoint.load(path)
    if content is None:
        raise ValueError(f"cannot read the pretrained weights {path}; pretrain again")
    found: dict[str, torch.Tensor] = content["weights"]
    own = model.state_dict()
    for name, tensor in own.items():
        if name.startswith(("encoder.", "front.")):
            given = found.get(name)
            if given is not None and name == "front.weight":
                given = given[: len(tensor)]
            if given is None or given.shape != tensor.shape:
                raise ValueError(f"the pretrained weights {path} do not fit this model: {name}; pretrain again")
            own[name] = given
    model.load_state_dict(own)


def _keep_predictions(
    trial: Trial,
    session: Session,
    work: ReadableTask,
    model: SequenceModel,
    run_folder: Path,
    predicted: dict[str, list[float]],
) -> None:
    with session.sparing("predictions", "predictions or attention were not kept"):
        save_predictions(run_folder, trial.trial_id, predicted)
        if not has_examples(run_folder, trial.task, trial.fingerprint):
            shown = {split: work.shown(split) for split in predicted}
            save_examples(run_folder, trial.task, trial.fingerprint, shown)
        if trial.seed == 0:
            _keep_attention(trial, work, model, run_folder)


def _keep_attention(trial: Trial, work: ReadableTask, model: SequenceModel, run_folder: Path) -> None:
    """Of one test example: the last of at most SHOWN_TOKENS tokens in the order of evaluation, which goes by length."""
    chosen: list[int] = []
    for batch in work.eval_batches("test", 64):
        lengths = (
            [batch.inputs.shape[1]] * len(batch.inputs) if batch.keep_BT is None else batch.keep_BT.sum(1).tolist()
        )
        fits = [row for row, length in enumerate(lengths) if length <= SHOWN_TOKENS]
        if fits:
            chosen = batch.inputs[fits[-1], : lengths[fits[-1]]].tolist()
        if len(fits) < len(lengths):
            break
    if chosen:
        maps = attention_maps(model, torch.tensor([chosen], device=trial.device))
        # Two towers read each text alone: there is no map over both.
        if maps and maps[0].shape[-1] == len(chosen):
            save_attention(run_folder, trial.trial_id, work.words(chosen), [m[0].tolist() for m in maps])


def _send_costs(session: Session, training: Training, state: State, counter: str) -> None:
    samples = state.samples or [state.first_step_seconds]
    session.samples("train", "time", samples, "s", "lower")
    session.value("train", "train_time", state.seconds, "s", "lower")
    session.value("train", "eval_time", state.eval_seconds, "s", "lower")
    session.value("train", "first_step_time", state.first_step_seconds, "s", "lower")
    if training.recipe.compile:
        session.value("train", "compile_time", state.first_step_seconds, "s", "lower", "first step")
    rate = state.timed_tokens / max(state.seconds, 1e-9)
    session.value("train", "tokens_per_second", rate, "tokens/s", "higher")
    if training.shape.image is not None:
        session.value("train", "images_per_second", rate / training.shape.length, "images/s", "higher")
    session.value("train", "steps", state.step, "steps", "none")
    session.value("train", "tokens", state.tokens, "tokens", "none")
    session.value("train", "padding", 1 - state.tokens / max(1, state.positions), "share", "lower")
    if counter:
        session.value("train", "energy", state.joules, "J", "lower", counter)
    if state.target_seconds is not None:
        session.value("train", "time_to_target", state.target_seconds, "s", "lower")
    if spread(samples) > UNSTABLE_SPREAD:
        session.unstable.append("train")
    session.extra("stopped_by", training.stopped_by)
    session.extra("best_step", state.best_step)
    session.extra("steps", state.step)
    session.extra("resumed_at", state.resumed_at)


def _samples(trial: Trial, session: Session, model: SequenceModel, work: Task, wanted: dict[str, Any]) -> None:
    """What the model says, by each sampler; nothing where tokens are no text or the encoder cannot go on from a state."""
    if not isinstance(work, TextTask) or not model.streams or trial.mode != "causal":
        return
    prompt = wanted["prompt"] if wanted["prompt"] is not None else work.prompt
    ids_BS = torch.tensor([work.encode(prompt)])
    if not ids_BS.numel():
        raise ValueError(f"the prompt {prompt!r} holds no token; set generate.prompt")
    found = []
    for settings in wanted["samplers"]:
        sampler = Sampler.model_validate(settings)
        start = time.perf_counter()
        ids = generate(model, ids_BS, wanted["tokens"], sampler, stream("sample", trial.seed))[0].tolist()
        seconds = time.perf_counter() - start
        rate = len(ids) / seconds if ids else 0.0
        found.append({"sampler": sampler.name, "prompt": prompt, "text": work.decode(ids), "tokens": len(ids),
                      "tokens_per_second": round(rate, 1)})  # fmt: skip
    session.extra("samples", found)


def decode(trial: Trial, session: Session) -> None:
    """Time of one more token from the whole model, and the bytes of state, after `length` random tokens; of a model that
    writes, after a source and a target of so many, and of a search with each number of beams that is asked for."""
    shape = shape_from(cast(dict[str, Any], trial.training)["shape"])
    model: Any = model_of(trial, shape, recipe_of(trial)).to(getattr(torch, trial.dtype)).eval()
    size, generator = (trial.batch, trial.length), stream("decode", trial.seed)
    ids_BT = torch.randint(shape.vocabulary, size, generator=generator)
    if isinstance(model, Writer):
        given_BT = torch.randint(shape.outputs, size, generator=generator)
        time_writing(session, model, ids_BT.to(trial.device), given_BT.to(trial.device), beams_of(trial.phases))
        return
    most = cast(Any, model.encoder).traits.max_length
    time_decoding(session, model, ids_BT.to(trial.device), model.streams, most)


def describe_task(
    name: str, settings: dict[str, Any], mode: Mode, patches: dict[str, Any], places: Places
) -> dict[str, Any]:
    """A task as plain data, for the plan. Raises what building it raises, and ValueError where images do not divide into
    `patches`."""
    work = _built_task(name, json.dumps(settings), mode, places)
    if not isinstance(work, Task):
        raise Unsupported(f"task '{name}' has no labels: it serves to measure cost, not to train")
    if work.shape.image is not None:
        work.shape.patched(PatchPlan(**patches))
    return {
        "shape": {f: getattr(work.shape, f) for f in TaskShape.__dataclass_fields__},
        "primary": _primary(work),
        "splits": list(work.splits),
        "fingerprint": work.fingerprint,
        "references": [vars(r) | {"splits": list(r.splits)} for r in work.references],
        "facts": work.facts,
        "text": isinstance(work, TextTask),
    }


def _primary(work: Task) -> dict[str, str]:
    """Name, unit and direction of the primary metric, from the scores of an outcome made up for it."""
    longest = work.shape.longest if work.shape.output == "token" else 0
    if isinstance(work, TranslationTask):
        references = work.shown("tune")["references"]
        score = next(s for s in work.judge("tune", references) if s.metric == work.primary)
        return {"metric": score.metric, "unit": score.unit, "better": score.better}
    made_up = Outcome(1.0, 1, 1, 1, 1, [1.0] * longest, [1] * longest, [1] * longest, [0.0, 1.0], [0.0, 1.0])
    score = next(s for s in work.scores("tune", made_up) if s.metric == work.primary)
    return {"metric": score.metric, "unit": score.unit, "better": score.better}


def thinned(columns: dict[str, list[float]]) -> dict[str, list[float]]:
    """Every k-th point of a curve, the last one always, so that no record grows without end."""
    count = len(next(iter(columns.values())))
    every = -(-count // MOST_POINTS)
    kept = [i for i in range(count) if (count - 1 - i) % every == 0]
    return {name: [values[i] for i in kept] for name, values in columns.items()}


def task_of(trial: Trial, places: Places) -> Task:
    """Data that changed since the plan was made are an error."""
    found: Task = _built_task(trial.task, json.dumps(trial.task_settings), trial.mode, places)
    if found.fingerprint != trial.fingerprint:
        raise ValueError(f"the data of task '{trial.task}' are not those of the plan; start the command again")
    return found


@lru_cache(maxsize=4)
def _built_task(name: str, settings: str, mode: str, places: Places) -> Any:
    """Kept between the trials of a shared child."""
    return build_task(TASKS.get(registered(name)), json.loads(settings), cast(Mode, mode), places)


def recipe_of(trial: Trial) -> Recipe:
    assert trial.training is not None
    return Recipe.model_validate(trial.training["recipe"])


def read_by(shape: TaskShape, recipe: Recipe) -> TaskShape:
    """The task's shape as the recipe reads it. Raises Unsupported where it asks for two texts and there is one."""
    if recipe.pair == "towers" and shape.separator is None:
        raise Unsupported("the recipe asks for two towers (pair), and the task has no pairs of texts")
    decoder = DecoderPlan(**recipe.decoder_plan) if shape.target_length else None
    shape = shape.patched(PatchPlan(**recipe.patch_plan)) if shape.image is not None else shape
    return replace(shape, towers=recipe.pair == "towers", decoder=decoder)


def model_of(
    trial: Trial, shape: TaskShape, recipe: Recipe, device: str = ""
) -> SequenceModel | EncoderDecoder | PrefixModel:
    entry = ARCHITECTURES.get(trial.architecture)
    mode = cast(Mode, trial.mode)
    shape = read_by(shape, recipe)
    model = build_for(
        entry, trial.settings, trial.width, trial.depth, mode, shape, recipe.pooling,
        recipe.embedding,
        seed=stream("init", trial.seed).initial_seed() >> 1, device=device or trial.device,
    )  # fmt: skip
    limit = cast(Any, model.encoder).traits.max_length
    one_text = isinstance(model, PrefixModel)
    longest = shape.longest + shape.target_length if one_text else max(shape.longest, shape.target_length)
    longest = trial.length if trial.kind == "decode" else longest
    if limit is not None and longest > limit:
        raise Unsupported(f"{longest:,} tokens are past the longest it accepts, {limit:,}")
    return model
