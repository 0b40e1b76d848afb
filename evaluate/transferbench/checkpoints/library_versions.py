"""Whether a library's network still computes what it computed when its card was written."""

import torch
from torch import Tensor

from transferbench import backbones
from transferbench.backbones import FAMILIES, Backbone
from transferbench.checkpoints import Card, Library
from transferbench.checkpoints.naming import Weights
from transferbench.errors import UserError

KEPT = 8
"""Features that a card holds of the fixed image, evenly spread."""
CLOSE, FAR = 1e-4, 1e-2
"""Of the largest of them: nearer is rounding; farther is another network."""


def signed(card: Card, weights: Weights) -> tuple[Card, list[str]]:
    """The card with library, version and a few features, and what is to be said of a card of another version.

    Raises:
        UserError: when this version of the library computes something else with the same weights.
    """
    version = getattr(FAMILIES.registered(card.architecture.family), "version", None)
    if version is None or (card.library is not None and card.library.version == version()):
        return card, []
    name, now = card.architecture.family, version()
    backbone = backbones.build(card.architecture)
    backbone.load_state_dict(weights, strict=True)
    try:
        found = measured(backbone.eval(), card.preprocess.crop)
    except (AssertionError, RuntimeError, ValueError):  # made for images of another size, which the run will say
        return card, []
    before = card.library
    if before is None:
        return card.model_copy(update={"library": Library(name=name, version=now, features=found)}), []
    off = difference(found, before.features)
    if off <= CLOSE:
        return card, []
    said = f"{name} {now} computes other features with these weights than {name} {before.version}, which the card is of"
    if off > FAR:
        raise UserError(f"{said}: {off:.1g} of the largest. Install {name} {before.version}, or judge the first file.")
    return card, [f"{said}: {off:.1g} of the largest"]


def measured(backbone: Backbone, crop: int) -> tuple[float, ...]:
    """A few features of a fixed image of `crop` pixels."""
    with torch.no_grad():
        features = backbone(fixed_image(crop))[0].double()
    places = torch.linspace(0, len(features) - 1, min(KEPT, len(features))).long()
    return tuple(float(f"{value:.6g}") for value in features[places].tolist())


def fixed_image(crop: int) -> Tensor:
    """Waves of another length in each channel, `1 3 h w`, the same on every machine."""
    at = torch.arange(crop, dtype=torch.float64) / crop
    waves = [torch.sin((7 + 5 * k) * at[:, None] + (11 - 3 * k) * at[None, :] + k) for k in range(3)]
    return torch.stack(waves)[None].float()


def difference(found: tuple[float, ...], before: tuple[float, ...]) -> float:
    """The largest difference, as a share of the largest number; all of it where there are others."""
    if len(found) != len(before):
        return 1.0
    largest = max(map(abs, before), default=0.0) or 1.0
    return max((abs(a - b) for a, b in zip(found, before, strict=True)), default=0.0) / largest
