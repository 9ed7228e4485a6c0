"""After a training on images: what was confused with what, and what the model looks at, as small pictures for the page.

Legend: B batch, C channels, Y rows, X columns of pixels; T tokens, D width; G tokens of a grid.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.attention_maps import attention_maps, looking
from bench.contract import Batch, Outcome, PicturedTask
from bench.execute.session import Session
from bench.models import SequenceModel
from bench.trial import Trial
from results.predictions import save_pictures

MOST_CLASSES = 50  # of a confusion matrix that a page can show
CONFUSED, LOOKED_AT = 8, 3  # test images shown: the most surely wrong ones, and those whose attention is drawn
WRONG = 512  # wrong predictions among which the surest are looked for
FIELD_IMAGES = 32
MOST_POSITIONS = 49  # whose similarity to all others is drawn
MOST_LAYERS = 6


@dataclass(frozen=True)
class Subject:
    """A trained model on the CPU, its task, and the test images (pixels as stored)."""

    model: SequenceModel
    task: PicturedTask
    pixels_BCYX: Tensor
    targets_B: Tensor

    def shown(self, rows: Iterable[int]) -> Tensor:
        """Prepared images."""
        index = torch.tensor(list(rows))
        return self.task.prepare(Batch(self.pixels_BCYX[index], self.targets_B[index])).inputs


def keep_pictures(
    trial: Trial, session: Session, task: PicturedTask, model: SequenceModel, untrained: SequenceModel, run_folder: Path,
    outcome: Outcome,
) -> None:  # fmt: skip
    """Write `pictures/<trial id>.json`; of the first seed with pictures, of the others the confusion alone."""
    content: dict[str, Any] = {"classes": list(task.classes)}
    if len(task.classes) <= MOST_CLASSES:
        content["confusion"] = confusion(outcome, len(task.classes))
    if trial.seed == 0:
        # On the CPU: kernels of a GPU know no double precision, and no gradient of a recurrence that is not in training.
        model, untrained = (copy.deepcopy(m).cpu().eval() for m in (model, untrained))
        subject = _subject(task, model)
        wanted: dict[str, Callable[[], list[Any]]] = {
            "confused": lambda: _confused(subject, outcome),
            "examples": lambda: _looked_at(subject),
            "field": lambda: _field(model, subject),
            "field_before": lambda: _field(untrained, subject),
            "positions": lambda: _positions(model),
            "reach": lambda: _reach(model, subject),
        }
        for name, make in wanted.items():
            with session.sparing("pictures", f"no picture '{name}'"):
                content[name] = make()
    with session.sparing("pictures", "pictures were not kept"):
        save_pictures(run_folder, trial.trial_id, content)


def confusion(outcome: Outcome, classes: int) -> list[list[int]]:
    """How often each class (row) was taken for each (column)."""
    pairs = torch.tensor(outcome.targets).long() * classes + torch.tensor(outcome.predictions).long()
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes).tolist()


def _subject(task: PicturedTask, model: SequenceModel) -> Subject:
    batches = list(task.eval_batches("test", 256))
    inputs, targets = (torch.cat(parts) for parts in ([b.inputs for b in batches], [b.targets for b in batches]))
    return Subject(model, task, inputs, targets)


def _confused(subject: Subject, outcome: Outcome) -> list[dict[str, Any]]:
    """The wrong predictions that the model was surest of."""
    wrong = [i for i, (p, t) in enumerate(zip(outcome.predictions, outcome.targets, strict=True)) if p != t][:WRONG]
    if not wrong:
        return []
    with torch.no_grad():
        share_BC = torch.cat(
            [subject.model(subject.shown(wrong[i : i + 64])).softmax(-1) for i in range(0, len(wrong), 64)]
        )
    surest = share_BC.amax(1).argsort(descending=True)[:CONFUSED].tolist()
    return [
        {
            "pixels": subject.pixels_BCYX[wrong[i]].tolist(), "true": int(outcome.targets[wrong[i]]),
            "predicted": int(share_BC[i].argmax()), "share": round(float(share_BC[i].max()), 4), "row": wrong[i],
        }
        for i in surest
    ]  # fmt: skip


def _looked_at(subject: Subject) -> list[dict[str, Any]]:
    """The first test images of different classes, and how much of each token every layer's attention takes."""
    rows: dict[int, int] = {}
    for row, target in enumerate(subject.targets_B.tolist()):
        if len(rows) == LOOKED_AT:
            break
        rows.setdefault(target, row)
    found = []
    for target, row in rows.items():
        layers = _attention(subject.model, subject.shown([row]))
        if layers:
            pixels = subject.pixels_BCYX[row].tolist()
            found.append({"pixels": pixels, "true": target, "row": row, "layers": layers})
    return found


def _attention(model: SequenceModel, image_1CYX: Tensor) -> list[Any]:
    """By layer: rows and columns of shares, the mean over heads, and over all queries or of the class token alone."""
    mixers = looking(model)
    maps = attention_maps(model, image_1CYX)
    layers = []
    for mixer, map_1HTT in zip(mixers, maps, strict=True):
        share_TT = map_1HTT[0].mean(0)
        classed = _has_class_token(model)
        share_T = share_TT[0, 1:] if classed else share_TT.mean(0)
        grid = _grid_of(mixer, model, len(share_T))
        if grid is not None:
            layers.append(_rounded(share_T.view(grid) / share_T.sum(), 5))
    return layers


def _grid_of(mixer: object, model: SequenceModel, count: int) -> tuple[int, int] | None:
    """Rows and columns of the tokens that a layer works on."""
    shape = model.shape.grid
    side = round(count**0.5)
    square = (side, side) if side * side == count else None
    for grid in (getattr(mixer, "grid", None), shape, square):
        if grid is not None and grid[0] * grid[1] == count:
            return cast(tuple[int, int], tuple(grid))
    return None


def _has_class_token(model: SequenceModel) -> bool:
    return getattr(model.front, "class_token_D", None) is not None


def _field(model: SequenceModel, subject: Subject) -> list[Any]:
    """How strongly the middle token of the last layer depends on each pixel (Luo et al. 2016), 1 the most."""
    inputs = subject.shown(range(min(FIELD_IMAGES, len(subject.targets_B)))).requires_grad_()
    y_BTD = model.encoder(model.front(inputs))
    generator = torch.Generator().manual_seed(0)
    weight_D = torch.randn(y_BTD.shape[2], generator=generator).to(y_BTD.device)
    (grad_BCYX,) = torch.autograd.grad((y_BTD[:, _middle(model, y_BTD.shape[1])].float() @ weight_D).sum(), inputs)
    field_YX = grad_BCYX.abs().mean((0, 1))
    return _rounded(field_YX / field_YX.max().clamp(min=1e-30), 4)


def _middle(model: SequenceModel, count: int) -> int:
    """The token in the middle of what a layer gives."""
    first = int(_has_class_token(model))
    grid = _grid_of(None, model, count - first)
    return first + (grid[0] // 2 * grid[1] + grid[1] // 2 if grid is not None else (count - first) // 2)


def _positions(model: SequenceModel) -> list[dict[str, Any]]:
    """Cosine similarity of learned positions: of some tokens, evenly over the grid, to all."""
    table_TD = getattr(model.front, "positions_TD", None)
    grid = model.shape.grid
    if not isinstance(table_TD, nn.Parameter) or grid is None:
        return []
    table_TD = table_TD.detach()[-grid[0] * grid[1] :]
    unit_TD = table_TD / table_TD.norm(dim=1, keepdim=True).clamp(min=1e-12)
    most = int(MOST_POSITIONS**0.5)
    rows, columns = (torch.linspace(0, n - 1, min(n, most)).round().long().unique().tolist() for n in grid)
    return [
        {"row": y, "column": x, "similarity": _rounded((unit_TD @ unit_TD[y * grid[1] + x]).view(grid), 2)}
        for y in rows
        for x in columns
    ]


def _reach(model: SequenceModel, subject: Subject) -> list[dict[str, Any]]:
    """After each layer: which tokens of the input the middle one depends on, by gradient, in double precision."""
    grid = model.shape.grid
    blocks = getattr(model.encoder, "blocks", None)
    if blocks is None or grid is None:
        return []
    model = copy.deepcopy(model).double().eval()
    outputs: list[Tensor] = []
    for block in cast(Any, model.encoder).blocks:
        block.register_forward_hook(lambda module, args, output: outputs.append(output))
    x_BTD = model.front(subject.shown(range(4)).double()).detach().requires_grad_()
    model.encoder(x_BTD)
    chosen = torch.linspace(0, len(outputs) - 1, min(len(outputs), MOST_LAYERS)).round().long().unique().tolist()
    found = []
    for layer in chosen:
        y = outputs[layer]
        y_BTD = y.flatten(2).transpose(1, 2) if y.dim() == 4 else y
        middle = y_BTD[:, _middle(model, y_BTD.shape[1])]
        (grad_BTD,) = torch.autograd.grad(middle.sum(), x_BTD, retain_graph=True, allow_unused=True)
        if grad_BTD is not None:
            seen_T = (grad_BTD.abs().amax((0, 2)) > 0)[-grid[0] * grid[1] :]
            found.append({"layer": layer + 1, "seen": seen_T.view(grid).int().tolist()})
    return found


def _rounded(values: Tensor, digits: int) -> list[Any]:
    return [[round(v, digits) for v in row] for row in values.detach().double().cpu().tolist()]
