# pyright: reportMissingImports=false
"""A candidate's weights in Detectron2's detector, through a converted file, and the check that all have arrived."""

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from transferbench.backbones import COUNTER, Backbone
from transferbench.checkpoints import Candidate
from transferbench.checkpoints.convert import spelled
from transferbench.checkpoints.targets import canonical
from transferbench.checkpoints.targets.detectron2 import TARGET
from transferbench.detection.model.load import CLOSEST, Loaded
from transferbench.detection.targets.samples import Sample
from transferbench.errors import UserError

PLACES = ("backbone.bottom_up.", "backbone.", "roi_heads.")
"""Where a detector has its ResNet: all of it below a pyramid, or the fifth stage in the heads."""
NEW = re.compile(r"backbone\.fpn_.*|roi_heads\.res5\.\d+\.(weight|bias|running_mean|running_var)")
"""What else is there and drawn anew: the pyramid, and the norm after the fifth stage."""


def spelled_for(candidate: Candidate) -> dict[str, Tensor]:
    """The backbone's weights by the names of Detectron2's ResNet, exactly all that it has (as `evaluate convert`).

    Raises:
        UserError: when Detectron2 has no such network.
    """
    architecture = candidate.card.architecture
    kind, misfits = TARGET.kind(architecture), TARGET.misfits(architecture)
    if misfits or kind is None:
        raise UserError(f"Detectron2 has no network that computes {architecture.name}: {'; '.join(misfits)}.")
    state = {name: each.detach().cpu() for name, each in candidate.backbone.state_dict().items()}
    return spelled(state, kind, kind.shapes(canonical(architecture)), "detectron2")


def verified(model: Any, weights: Mapping[str, Tensor], backbone: Backbone, sample: Sample) -> Loaded:
    """What of the checkpoint is in a detector, where all of it is and the maps are the backbone's.

    Raises:
        UserError: by `verify` and `difference`.
    """
    count = verify(model, weights)
    stage = 0 if hasattr(model.backbone, "bottom_up") else sum(name.startswith("res5.") for name in weights)
    return Loaded(count - stage, stage, difference(model, backbone, sample))


def verify(model: nn.Module, weights: Mapping[str, Tensor]) -> int:
    """Every tensor of the checkpoint is in the detector to the bit, and no other is in its ResNet; how many.

    Detectron2 itself warns and goes on from a random start (docs/protocols.md#loading-weights).

    Raises:
        UserError: with the first that are missing, different, or without a value.
    """
    state = {name: each for name, each in model.state_dict().items() if not name.endswith(COUNTER)}
    places = {name: next((p + name for p in PLACES if p + name in state), None) for name in weights}
    wrong = {
        "not in the detector": [name for name, place in places.items() if place is None],
        "different there": [
            name
            for name, place in places.items()
            if place is not None and not torch.equal(state[place].cpu(), weights[name])
        ],
        "not in the checkpoint": [
            name
            for name in state
            if name.startswith(("backbone.", "roi_heads.res5.")) and name not in places.values() and not NEW.match(name)
        ],
    }
    if any(wrong.values()):
        said = ". ".join(f"{len(names)} {why}: {', '.join(names[:4])}" for why, names in wrong.items() if names)
        raise UserError(f"Detectron2's detector is not filled by the checkpoint's {len(weights)} tensors. {said}.")
    return len(weights)


@torch.no_grad()
def difference(model: Any, backbone: Backbone, sample: Sample) -> float:
    """The most that Detectron2's maps of an image differ from the backbone's stages, as a fraction of the largest.

    Raises:
        UserError: when it is more than rounding.
    """
    model.eval()
    batch = model.preprocess_image([{"image": sample.pixels}]).tensor
    stages = deepcopy(backbone).to(batch.device).eval().stages(batch)
    trunk = getattr(model.backbone, "bottom_up", model.backbone)
    pairs = [(each, stages[f"layer{int(name[-1]) - 1}"]) for name, each in trunk(batch).items()]
    model.train()
    most = max(_apart(*pair) for pair in pairs)
    if not most <= CLOSEST:
        raise UserError(f"Detectron2's maps differ from the backbone's stages by {most:.1e} of their range.")
    return most


def _apart(computed: Tensor, wanted: Tensor) -> float:
    if computed.shape != wanted.shape:
        raise UserError(f"Detectron2's map is {tuple(computed.shape)}, the backbone's stage {tuple(wanted.shape)}.")
    return float((computed - wanted).abs().max() / wanted.abs().max())
