"""Foreign checkpoint layouts: one source a file, each offering `LAYOUTS`, a tuple of `Layout` values."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from transferbench import plugins
from transferbench.backbones import Architecture
from transferbench.checkpoints import Card
from transferbench.data.transforms import Preprocess

FORMATS = plugins.Room("transferbench.checkpoints.formats", "checkpoint format")

Weights = dict[str, Tensor]

ROOT = ""
ANYWHERE = (ROOT, "state_dict", "model", "model_state_dict")


@dataclass(frozen=True)
class Encoder:
    """One network of a file: what `--encoder` calls it, its names' prefix, and the keys its state dict lies under.

    `at` lists those keys in order of preference; `ROOT` is the file itself. Prefixes are meant without the wrappers
    (`module.` and the like) that all names of the state dict carry.
    """

    label: str = "backbone"
    prefix: str = ""
    at: tuple[str, ...] = ANYWHERE


@dataclass(frozen=True)
class Drop:
    """Tensors that are no part of the backbone: a pattern for whole names, and the reason given in the report."""

    pattern: str
    reason: str


@dataclass(frozen=True)
class Settled:
    """What a source's network computes beyond what names and shapes say: arguments, and the words for the report."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()


def imagenet(architecture: Architecture) -> Preprocess:
    """ImageNet statistics at the network's own size: 224 (or the position embedding's), 32 behind a 3x3 stem."""
    if architecture.arguments.get("stem", "imagenet") != "imagenet":
        return Preprocess(size=32, crop=32)
    crop = architecture.arguments.get("image_size", 224)
    return Preprocess(size=round(crop * 256 / 224), crop=crop)


def _as_is(weights: Weights) -> Weights:
    return weights


def _nothing(architecture: Architecture) -> Settled:
    return Settled()


@dataclass(frozen=True)
class Layout:
    """How one source lays out its files.

    A file is of this layout when every `evidence` pattern fully matches some name of the encoder's state dict, every
    key of `beside` stands at the top of the file, and `header` (if any) is a key of its header. Of several, the layout
    with most evidence decides alone. `heads` are matched against names inside the encoder's prefix, `others` against
    names outside it; a name that neither they nor the backbone explain is an error.
    """

    encoders: tuple[Encoder, ...]
    """In order of preference: the first one in the file is what the source itself evaluates."""
    evidence: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    header: str | None = None
    heads: tuple[Drop, ...] = ()
    others: tuple[Drop, ...] = ()
    rename: Callable[[Weights], Weights] = _as_is
    """From the source's names (without prefix) to canonical ones; names it does not know are passed on."""
    settle: Callable[[Architecture], Settled] = _nothing
    preprocess: Callable[[Architecture], Preprocess] = imagenet
    card: Callable[[Mapping[str, str]], Card] | None = None
    """Reads a card from the header; it then decides architecture and preprocessing."""
    method: str | None = None

    @property
    def weight(self) -> tuple[bool, int]:
        """How much evidence it takes; the heaviest layout that a file meets is the file's."""
        return self.header is not None, len(self.evidence) + len(self.beside)


CLASSIFIER = Drop(r"(fc|head|heads\.head|classifier)\.(weight|bias)", "classifier")

_START = r"([\w]+\.)*?"
HEADS = (
    CLASSIFIER,
    Drop(r"(fc|heads?|projector|projection_head)\.[\w.]+", "projector"),
    Drop(r"mask_token|masked_embed", "mask token"),
)
"""What an unknown source may keep inside its network's prefix (spec/checkpoints.md 4)."""
OTHERS = (
    Drop(_START + r"\w*(projector|projection|proj_head|head|neck|contrastive_head)\w*(\.[\w.]+)?", "projector"),
    Drop(_START + r"(predictor|prediction_head|pred)\w*(\.[\w.]+)?", "predictor"),
    Drop(_START + r"(\w*_)?(classifier|fc|linear)(\.[\w.]+)?", "classifier"),
    Drop(_START + r"(queue|prototypes)\w*(\.[\w.]+)?", "queue or prototypes"),
    Drop(_START + r"(decoder\w*|mask_token|masked_embed)(\.[\w.]+)?", "decoder"),
    Drop(r"bn\.\w+", "projector's last norm"),
    Drop(r"n_averaged|steps|total_ops|total_params", "counter"),
)
"""What an unknown source may keep beside its network (spec/checkpoints.md 4)."""


def reason(drops: tuple[Drop, ...], name: str) -> str | None:
    """Why a tensor of this name is left out, or None when nothing says it may be."""
    return next((drop.reason for drop in drops if re.fullmatch(drop.pattern, name)), None)
