"""Fill a detector with a checkpoint's weights, and prove that it computes with them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from transferbench.backbones import COUNTER, Backbone
from transferbench.detection.model.detector import Detector
from transferbench.detection.targets.samples import Sample
from transferbench.errors import UserError

CLOSEST = 1e-5
"""The most that the two maps may differ by, as a fraction of the largest value; equal weights give 0 on one machine."""

RES5 = "layer4."


@dataclass(frozen=True)
class Loaded:
    """How much of a checkpoint is in a detector: tensors of the trunk, of the fifth stage, and the maps' difference."""

    trunk: int
    res5: int
    difference: float


def load_backbone(
    detector: Detector, weights: Mapping[str, Tensor], backbone: Backbone, image: Float[Tensor, "3 h w"]
) -> Loaded:
    """Copy a ResNet's `weights` (canonical names) into a detector and compare every one of them afterwards.

    Then the trunk's maps of `image` (RGB from 0 to 255) are compared with the stages of `backbone`, which holds the
    same weights and shares no module with the detector. Detectron2 itself goes on from a random start where names do
    not match (docs/protocols.md#loading-weights).

    Raises:
        UserError: when a tensor is missing, left over or different, or the maps are: nothing less than all will do.
    """
    here = tensors(detector)
    given = {name: each for name, each in weights.items() if not name.endswith(COUNTER)}
    _same_names(here, given)
    with torch.no_grad():
        for name, tensor in here.items():
            if tensor.shape == given[name].shape:
                tensor.copy_(given[name])
    verify(detector, given)
    stage = sum(name.startswith(RES5) for name in here)
    return Loaded(len(here) - stage, stage, _difference(detector, backbone, image))


def tensors(detector: Detector) -> dict[str, Tensor]:
    """The trunk's and the fifth stage's tensors by the backbone's names, without step counters; not copies."""
    state = detector.trunk.state_dict() | _under(detector.heads.state_dict(), RES5)
    return {name: each for name, each in state.items() if not name.endswith(COUNTER)}


def verify(detector: Detector, weights: Mapping[str, Tensor]) -> None:
    """Every tensor of the trunk and the fifth stage is the checkpoint's, to the bit.

    Raises:
        UserError: with the first that are not.
    """
    here = tensors(detector)
    _same_names(here, weights)
    wrong = [name for name, each in here.items() if not torch.equal(each.cpu(), weights[name].to(each.dtype).cpu())]
    if wrong:
        raise UserError(
            f"{len(wrong)} of {len(here)} tensors in the detector are not the checkpoint's: {_some(wrong)}."
        )


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: each for name, each in state.items() if name.startswith(prefix)}


def _same_names(here: Iterable[str], given: Iterable[str]) -> None:
    given = {name for name in given if not name.endswith(COUNTER)}
    missing, surplus = sorted(set(here) - given), sorted(given - set(here))
    if missing or surplus:
        raise UserError(
            "The checkpoint does not fill the detector's ResNet. "
            f"Missing: {_some(missing)}. Left over: {_some(surplus)}. Was it converted, and is it the recipe's network?"
        )


def _difference(detector: Detector, backbone: Backbone, image: Tensor) -> float:
    was_training = detector.training, backbone.training
    detector.eval()
    backbone.eval()
    with torch.no_grad():
        batch = detector.batch([Sample(image, (int(image.shape[1]), int(image.shape[2])))])
        stages = backbone.stages(batch)
        pairs = [(each, stages[name]) for each, name in zip(detector.trunk(batch), detector.trunk.given, strict=True)]
    detector.train(was_training[0])
    backbone.train(was_training[1])
    if any(computed.shape != wanted.shape for computed, wanted in pairs):
        raise UserError("The detector's maps have other shapes than the backbone's stages.")
    difference = max(float((computed - wanted).abs().max() / wanted.abs().max()) for computed, wanted in pairs)
    if not difference <= CLOSEST:
        raise UserError(f"The detector's maps differ from the backbone's stages by {difference:.1e} of their range.")
    return difference


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return (", ".join(names[:4]) or "none") + rest
