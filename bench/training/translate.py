"""A text of the user's through models that a run has kept. Runs in a child."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from bench.contract import DecoderPlan, Places, TranslationTask
from bench.models import build_for, build_task
from bench.registry import ARCHITECTURES, TASKS, registered
from bench.training import checkpoint
from bench.training.recipe import Recipe
from bench.training.writing import aligned
from bench.translator import Writer, before_target, positions


def translate(payload: dict[str, Any], places: Places) -> list[dict[str, Any]]:
    """What each model writes and looks at: see `bench.training.writing.aligned`, nothing where the text is too long for it;
    also "competitor", "task", and "note" for what a reader should know.

    Args:
        payload: "text"; "task", "task_settings", "mode", "dtype" and "fingerprint" of the run; "models", each with
            "competitor", "architecture", "settings", "width", "depth", "recipe" and "weights" (a file).

    Raises ValueError where the text has no token, or data or a file are not what the run says they are.
    """
    task = build_task(TASKS.get(registered(payload["task"])), payload["task_settings"], payload["mode"], places)
    assert isinstance(task, TranslationTask)
    if task.fingerprint != payload["fingerprint"]:  # vocabularies may be of one size, and their words not the same
        raise ValueError(f"{payload['task']}: its data are not those that the run learnt from; run the suite again")
    ids = task.encode(payload["text"])
    if not payload["text"].strip() or not ids:
        raise ValueError("--translate: the text is empty")
    found = []
    for model in payload["models"]:
        recipe = Recipe.model_validate(model["recipe"])
        shape = replace(task.shape, decoder=DecoderPlan(**recipe.decoder_plan))
        entry = ARCHITECTURES.get(model["architecture"])
        net = build_for(entry, model["settings"], model["width"], model["depth"], payload["mode"], shape, recipe.pooling,
                        recipe.embedding)  # fmt: skip
        content = checkpoint.load(Path(model["weights"]))
        if content is None:
            raise ValueError(f"cannot read the kept weights {model['weights']}; run the suite again")
        try:
            net.load_state_dict(content["weights"])
        except RuntimeError as error:
            raise ValueError(
                f"{model['weights']} does not fit the task as it is now (another vocabulary?); run the suite again"
            ) from error
        net.eval()
        writer, who = cast(Writer, net), {"competitor": model["competitor"], "task": payload["task"]}
        most, before = positions(writer), before_target(writer, len(ids))
        if most is not None and (len(ids) > most or before + 1 >= most):
            note = f"{model['competitor']} has learnt {most} positions, too few for {len(ids)} tokens and a translation"
            found.append({**who, "note": note})
        else:
            note = _note(len(ids), task.shape.longest, payload["task"])
            found.append({**who, "note": note, **aligned(task, writer, ids, recipe, "cpu", payload["dtype"])})
    return found


def _note(tokens: int, longest: int, task: str) -> str:
    if tokens <= longest:
        return ""
    return f"the text has {tokens} tokens, the sources of {task} at most {longest}: give it sentence by sentence"
