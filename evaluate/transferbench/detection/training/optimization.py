"""How a detector's weights are updated: Detectron2's groups, schedule and linear scaling."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from transferbench.detection.recipe import DetectionRecipe
from transferbench.errors import UserError

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def factor(recipe: DetectionRecipe, iteration: int) -> float:
    """What learning rates are multiplied by at an iteration, counted from 0 (`WarmupMultiStepLR`).

    `GAMMA` for every step reached; before that, over `WARMUP_ITERS` or all there are, a straight line from
    `WARMUP_FACTOR` to where the steps will be at its end.
    """
    solver = recipe.SOLVER
    warm = min(solver.WARMUP_ITERS, solver.MAX_ITER)
    value = solver.GAMMA ** sum(max(iteration, warm) >= step for step in solver.STEPS)
    if iteration >= warm:
        return value
    along = iteration / warm if solver.WARMUP_METHOD == "linear" else 0.0
    return solver.WARMUP_FACTOR * (1 - along) + value * along


def build_optimizer(detector: nn.Module, recipe: DetectionRecipe) -> torch.optim.SGD:
    """SGD with `WEIGHT_DECAY_NORM` on norms, 0 by default; each group holds its `base` rate."""
    solver = recipe.SOLVER
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    seen: set[nn.Parameter] = set()
    for module in detector.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter in seen or not parameter.requires_grad:
                continue
            seen.add(parameter)
            decay = solver.WEIGHT_DECAY_NORM if isinstance(module, NORMS) else solver.WEIGHT_DECAY
            if name == "bias" and solver.WEIGHT_DECAY_BIAS is not None:
                decay = solver.WEIGHT_DECAY_BIAS
            key = (solver.BASE_LR * (solver.BIAS_LR_FACTOR if name == "bias" else 1.0), decay)
            groups.setdefault(key, {"params": [], "base": key[0], "weight_decay": key[1]})["params"].append(parameter)
    return torch.optim.SGD(list(groups.values()), lr=0.0, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV)


def clip(detector: nn.Module, recipe: DetectionRecipe) -> None:
    """Clip each parameter's gradient by itself, where the recipe has it on (`CLIP_GRADIENTS`)."""
    rule = recipe.SOLVER.CLIP_GRADIENTS
    if not rule.ENABLED:
        return
    for parameter in detector.parameters():
        if parameter.grad is not None and rule.CLIP_TYPE == "value":
            nn.utils.clip_grad_value_(parameter, rule.CLIP_VALUE)
        elif parameter.grad is not None:
            nn.utils.clip_grad_norm_(parameter, rule.CLIP_VALUE, rule.NORM_TYPE)


def half(recipe: DetectionRecipe, device: torch.device) -> AbstractContextManager[Any]:
    """Inside, products are computed in half precision where the recipe has `SOLVER.AMP` on; else nothing changes.

    float16 on GPUs as in Detectron2, which has it there only; bfloat16 on CPUs, which needs no scaling of gradients.
    """
    if not recipe.SOLVER.AMP.ENABLED:
        return nullcontext()
    return torch.autocast(device.type, torch.float16 if device.type == "cuda" else torch.bfloat16)


def require_divisible(recipe: DetectionRecipe, processes: int) -> None:
    """Refuse a recipe that several processes cannot share, or that would give each statistics of its own.

    Raises:
        UserError: with the setting to change.
    """
    if recipe.SOLVER.IMS_PER_BATCH % processes:
        raise UserError(
            f"{recipe.SOLVER.IMS_PER_BATCH} images per iteration cannot be split evenly over {processes} processes."
        )
    keys = {"MODEL.RESNETS.NORM": recipe.MODEL.RESNETS.NORM, "MODEL.FPN.NORM": recipe.MODEL.FPN.NORM}
    alone = [key for key, norm in keys.items() if norm == "BN"]
    if alone and processes > 1:
        raise UserError(
            f"{' and '.join(alone)} is BN: each process would have statistics of its own, and end with a detector of "
            f"its own. For statistics of all {processes} processes: {' '.join(f'{key} SyncBN' for key in alone)}"
        )


def rescaled(recipe: DetectionRecipe, batch_size: int) -> DetectionRecipe:
    """The recipe for another batch b than its own B: rates times b/B, iterations, steps and warm-up times B/b.

    Detectron2's `DefaultTrainer.auto_scale_workers`, which rounds as here.
    """
    solver = recipe.SOLVER
    if batch_size == solver.IMS_PER_BATCH:
        return recipe
    scale = batch_size / solver.IMS_PER_BATCH
    changed = {
        "IMS_PER_BATCH": batch_size,
        "BASE_LR": solver.BASE_LR * scale,
        "MAX_ITER": max(1, round(solver.MAX_ITER / scale)),
        "WARMUP_ITERS": round(solver.WARMUP_ITERS / scale),
        "STEPS": tuple(round(step / scale) for step in solver.STEPS),
        "CHECKPOINT_PERIOD": max(1, round(solver.CHECKPOINT_PERIOD / scale)),
    }
    return recipe.model_copy(update={"SOLVER": solver.model_copy(update=changed)})
