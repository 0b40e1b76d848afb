"""What may lie in a file beside the network that is loaded, by its name (docs/checkpoints.md#heads)."""

import re
from dataclasses import dataclass
from functools import lru_cache

from transferbench.checkpoints.naming import Naming
from transferbench.checkpoints.states import APART

UNUSED = "never used by the source's own forward pass"
RECOMPUTED = "worked out by the network itself"


@dataclass(frozen=True)
class UnusedTensors:
    """Tensors that are no part of the backbone: a pattern for whole names, and the reason given in the report."""

    pattern: str
    reason: str


_WORD = re.compile(r"\w*")
_WHOSE = r"(?:\w+_)?"
_WHICH = r"(?:_\w+)?\d*"
CLASSIFIER = "classifier"
PROJECTOR = "projector"
WORDS = {
    "detector": r"fpn\w*|rpn\w*|roi\w*|proposal\w*",
    CLASSIFIER: r"classifier|fc(?!_norm)|linear|AuxLogits|aux\d",
    PROJECTOR: r"heads?|proj\w*|neck|pre_feature|whitening|value_transform|mlp|g",
    "predictor": r"pred\w*",
    "queue": r"queue\w*",
    "prototypes": r"prototypes?\w*",
    "memory bank": r"memory\w*",
    "decoder": r"decoder\w*",
    "state of the loss": r"criterion|loss\w*|center\d*",
    "bag of words": r"bow\w*",
    "callbacks": r"callbacks",
    "pooler": r"pooler",
    "prompt encoder": r"prompt_encoder|shared_image_embedding",
    "text tower": r"text\w*|language_model",
    "temperature of the contrastive loss": r"logit_scale|logit_bias|temperature",
    "input normalization": r"data_preprocessor|pixel|normalize",
}
"""The words names are made of, each with what it means."""
EXACT = (
    UnusedTensors(r"(?:.+\.)?(?:mask_token|masked_embed)", "mask token"),
    UnusedTensors(r"n_averaged|steps|_alpha|_iteration|initted", "counter"),
    UnusedTensors(r"(?:aux\d|AuxLogits)\..+", "auxiliary classifier"),
    UnusedTensors(r"(?:.+\.)?total_(?:ops|params)", "operation counts of a profiler"),
    UnusedTensors(r"bn\.(?:running_mean|running_var|num_batches_tracked|weight|bias)", "the projector's last norm"),
)
BESIDE = (
    UnusedTensors(
        r"(?:transformer\.resblocks|token_embedding|ln_final)\..+|positional_embedding|text_projection", "text tower"
    ),
    UnusedTensors(r"qformer\..+|query_tokens", "text tower"),
    UnusedTensors(r"densify_(?:norms|projs)\..+", "decoder"),
    UnusedTensors(r"mask_tokens\.\d+", "mask token"),
    UnusedTensors(r"imn_[ms]|norm_black", UNUSED),
)
"""Names at the top of a file: of CLIP's text tower (the other lies below `visual.`), BLIP-2's, ALIGN's, SparK's."""
PLAIN = re.compile(r"(?:.*\.)?(?:fc|heads?|linear|heads\.head)\.(?:weight|bias)|1\.(?:weight|bias)")
"""One linear layer by itself, which may be a classifier; more layers are a projector."""
_MEANINGS = [(reason, re.compile(rf"{_WHOSE}(?:{words}){_WHICH}")) for reason, words in WORDS.items()]


@lru_cache(1 << 16)
def within(naming: Naming, local: str) -> str | None:
    """Why a tensor below a network's prefix is no part of it; None if it may be."""
    if local in naming.own:
        return None
    if any(re.fullmatch(pattern, local) for pattern in naming.unused):
        return UNUSED
    if any(re.fullmatch(pattern, local) for pattern in naming.recomputed):
        return RECOMPUTED
    if said := next((reason for pattern, reason in naming.below if re.fullmatch(pattern, local)), None):
        return said
    return exact(local) if naming.knows(local) else inside(local)


def beside(naming: Naming, name: str) -> str | None:
    """Why a tensor that lies beside a network may be left out; None when nothing says so."""
    said = [*((pattern, UNUSED) for pattern in naming.unused), *naming.beside]
    why = (reason for pattern, reason in said if re.fullmatch(rf"(?:.+\.)?(?:{pattern})", name))
    return next(why, None) or outside(name)


@lru_cache(1 << 16)
def inside(local: str) -> str | None:
    """Why a tensor below a network's prefix is no part of it, told by the first word of its name; None if it may be."""
    return exact(local) or _meaning(local.split(".")[0], local)


@lru_cache(1 << 16)
def exact(local: str) -> str | None:
    """Why a tensor of this very name below a network's prefix is no part of it; None when the name says nothing."""
    return next((drop.reason for drop in EXACT if re.fullmatch(drop.pattern, local)), None)


@lru_cache(1 << 16)
def outside(name: str) -> str | None:
    """Why a tensor beside the network may be left out, told by any word of its name; None when nothing says so."""
    name = name.removeprefix(APART)
    said = next((drop.reason for drop in EXACT if re.fullmatch(rf"(?:.+\.)?(?:{drop.pattern})", name)), None)
    said = said or next((drop.reason for drop in BESIDE if re.fullmatch(drop.pattern, name)), None)
    return said or next((reason for word in name.split(".") if (reason := _meaning(word, name))), None)


def _meaning(word: str, name: str) -> str | None:
    if not _WORD.fullmatch(word):  # which none of the patterns fits, and some take long to find out
        return None
    meaning = next((reason for reason, pattern in _MEANINGS if pattern.fullmatch(word)), None)
    if meaning == PROJECTOR and PLAIN.fullmatch(name):
        return CLASSIFIER
    return PROJECTOR if meaning == CLASSIFIER and not PLAIN.fullmatch(name) and "classifier" not in word else meaning
