"""How ConvNeXts are spelled (docs/checkpoints.md#naming). Canonical names are timm's."""

import math
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from transferbench.checkpoints.naming import Naming, Row, Shapes, Weights

BLOCK = "stages.{s}.blocks.{n}."
ORIGINAL: tuple[Row, ...] = (
    ("downsample_layers.0.", "stem."),
    ("downsample_layers.{s}.", "stages.{s}.downsample."),
    ("stages.{s}.{n}.dwconv.", BLOCK + "conv_dw."),
    ("stages.{s}.{n}.pwconv{k}.", BLOCK + "mlp.fc{k}."),
    ("stages.{s}.{n}.grn.gamma", BLOCK + "mlp.grn.weight"),
    ("stages.{s}.{n}.grn.beta", BLOCK + "mlp.grn.bias"),
    ("stages.{s}.{n}.", BLOCK),
    ("norm.", "head.norm."),
)
SAVED: tuple[Row, ...] = (
    ("stages.0.downsample_layers.", "stem."),
    ("stages.{s}.downsample_layers.", "stages.{s}.downsample."),
    ("stages.{s}.layers.{n}.depthwise_conv.", BLOCK + "conv_dw."),
    ("stages.{s}.layers.{n}.layer_norm.", BLOCK + "norm."),
    ("stages.{s}.layers.{n}.pointwise_conv{k}.", BLOCK + "mlp.fc{k}."),
    ("stages.{s}.layers.{n}.", BLOCK),
    ("layer_norm.", "head.norm."),
)
IN_MEMORY: tuple[Row, ...] = tuple((f"model.{s}" if str(s).startswith("stages") else s, t) for s, t in SAVED)
STAGE = re.compile(r"stages\.(\d+)\.blocks\.(\d+)\.conv_dw\.weight")
SPARSE = re.compile(r"(.+)\.(?:kernel|linear\.(?:weight|bias)|ln\.(?:weight|bias))")
OWN = re.compile(r"stem\.|stages\.|norm_pre\.|head\.norm\.")
GRN, FIRST = ".mlp.grn.weight", "stages.0.blocks.0."
WIDEST_CONVOLVED = 80
"""Of a ConvNeXt-V2's first stage: timm has narrower ones (atto to nano) with convolutions for linear layers."""
TEMPLATES = {  # by whether they normalize responses, and whether their linear layers are convolutions
    (False, False): ("convnext_tiny", "convnext_small", "convnext_base", "convnext_large", "convnext_xlarge"),
    (False, True): ("convnext_nano", "convnext_atto", "convnext_femto", "convnext_pico"),
    (True, False): ("convnextv2_tiny", "convnextv2_small", "convnextv2_base", "convnextv2_large", "convnextv2_huge"),
    (True, True): ("convnextv2_nano", "convnextv2_atto", "convnextv2_femto", "convnextv2_pico"),
}
SIZES: dict[str, tuple[tuple[int, ...], int]] = {
    **{f"{kind}_atto": ((2, 2, 6, 2), 40) for kind in ("convnext", "convnextv2")},
    **{f"{kind}_femto": ((2, 2, 6, 2), 48) for kind in ("convnext", "convnextv2")},
    **{f"{kind}_pico": ((2, 2, 6, 2), 64) for kind in ("convnext", "convnextv2")},
    **{f"{kind}_nano": ((2, 2, 8, 2), 80) for kind in ("convnext", "convnextv2")},
    **{f"{kind}_tiny": ((3, 3, 9, 3), 96) for kind in ("convnext", "convnextv2")},
    **{f"{kind}_small": ((3, 3, 27, 3), 96) for kind in ("convnext", "convnextv2")},
    **{f"{kind}_base": ((3, 3, 27, 3), 128) for kind in ("convnext", "convnextv2")},
    **{f"{kind}_large": ((3, 3, 27, 3), 192) for kind in ("convnext", "convnextv2")},
    "convnext_xlarge": ((3, 3, 27, 3), 256),
    "convnextv2_huge": ((3, 3, 27, 3), 352),
}
"""Blocks by stage and channels of the first of timm's; each stage has twice the channels of the one before."""


def proposed(shapes: Shapes) -> list[dict[str, Any]]:
    """The network of timm's with these blocks and channels; none where there are no four stages."""
    blocks = [(int(m[1]), int(m[2]), shape) for name, shape in shapes.items() if (m := STAGE.fullmatch(name))]
    widths = {stage: shape[0] for stage, _, shape in blocks if len(shape) == 4}
    stem = shapes.get("stem.0.weight", ())
    if sorted(widths) != [0, 1, 2, 3] or len(stem) != 4:
        return []
    depths = tuple(len({block for stage, block, _ in blocks if stage == each}) for each in range(4))
    dims = tuple(widths[stage] for stage in range(4))
    kernel = next(shape[-1] for stage, _, shape in blocks if stage == 0 and len(shape) == 4)
    is_convolved = len(shapes.get(FIRST + "mlp.fc1.weight", ())) == 4
    names = TEMPLATES[any(name.endswith(GRN) for name in shapes), is_convolved]
    is_doubled = dims == tuple(dims[0] << stage for stage in range(4))
    known = [name for name in names if is_doubled and SIZES[name] == (depths, dims[0])]
    given: dict[str, Any] = {} if known else {"depths": list(depths), "dims": list(dims)}
    given |= ({"kernel_sizes": kernel} if kernel != 7 else {}) | ({"patch_size": stem[-1]} if stem[-1] != 4 else {})
    return [{"name": known[0] if known else names[0], "arguments": given}]


def _as_timm(weights: Weights) -> Weights:
    """Responses' norms as vectors, and convolutions for linear layers where timm has them."""
    changed = {name: _flat(tensor) if ".mlp.grn." in name else tensor for name, tensor in weights.items()}
    width = len(weights["stem.0.bias"]) if "stem.0.bias" in weights else WIDEST_CONVOLVED + 1
    if width > WIDEST_CONVOLVED or not any(name.endswith(GRN) for name in weights):
        return changed
    linear = [name for name in changed if re.search(r"\.mlp\.fc\d\.weight$", name) and changed[name].ndim == 2]
    return changed | {name: changed[name][:, :, None, None] for name in linear}


def _flat(tensor: Tensor) -> Tensor:
    """A vector of what has four axes, of which the last alone has a length."""
    return tensor.flatten() if tensor.ndim == 4 and tensor.numel() == tensor.shape[-1] else tensor


def _dense(weights: Weights) -> Weights:
    """The sparse encoder of FCMAE's pretraining as its `remap_checkpoint_keys` makes it dense.

    Linear layers and norms lie one module deeper than in the dense network, and biases have an axis more.
    """
    dense: Weights = {}
    for name, tensor in weights.items():
        base, _, last = name.rpartition(".")
        if last == "kernel" and (kernel := _kernel(tensor)) is not None:
            dense[f"{base}.weight"] = kernel
        elif SPARSE.fullmatch(name) and last != "kernel":
            dense[f"{base.rpartition('.')[0]}.{last}"] = tensor
        elif (last == "bias" or ".mlp.grn." in name) and tensor.ndim == 2 and len(tensor) == 1:
            dense[name] = tensor[0]
        else:
            dense[name] = tensor
    return _as_timm(_with_norm(dense))


def _with_norm(weights: Weights) -> Weights:
    """With the norm that the source's code puts behind the last stage, as it is before any fine-tuning."""
    last = weights.get("stages.3.downsample.1.bias")
    if last is None or any(name.startswith("head.") for name in weights):
        return weights
    return {**weights, "head.norm.weight": torch.ones_like(last), "head.norm.bias": torch.zeros_like(last)}


def _pretrained(weights: Weights) -> Weights:
    """SparK's, in the names of the dense network: they end without a norm, and no tensor of one is there."""
    return _as_timm(_with_norm(weights) if any(name.endswith(".gamma") for name in weights) else weights)


def _kernel(tensor: Tensor) -> Tensor | None:
    """A kernel of MinkowskiEngine as torch's: first the places, column by column, then channels in and out."""
    side = math.isqrt(len(tensor)) if tensor.ndim in {2, 3} else 0
    if not side or side**2 != len(tensor):
        return None
    if tensor.ndim == 2:
        return tensor.T.reshape(-1, 1, side, side).transpose(3, 2)
    return tensor.permute(2, 1, 0).reshape(tensor.shape[2], tensor.shape[1], side, side).transpose(3, 2)


def _own(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in names if OWN.match(name))


DECODER = ((r"decoder\..+|proj\.\w+|pred\.\w+|mask_token", "decoder"),)
COPIES = (r"norms\.3\.(?:weight|bias)",)
"""Of the last norm, in DINOv3's files: what its intermediate layers are normed with."""
DENSE_ANCHORS = (r"stages\.\d+\.\d+\.dwconv\.weight", r"downsample_layers\.\d+\.\d+\.weight")
SAVED_ANCHOR = r"stages\.\d+\.layers\.\d+\.depthwise_conv\.weight"

NAMINGS = (
    Naming(
        "timm ConvNeXt",
        (r"stages\.\d+\.blocks\.\d+\.conv_dw\.weight",),
        members=_own,
        library="timm",
        proposes=proposed,
    ),
    Naming("ConvNeXt", DENSE_ANCHORS, ORIGINAL, _pretrained, COPIES, library="timm", proposes=proposed, beside=DECODER),
    Naming(
        "sparse ConvNeXt-V2",
        (r"stages\.\d+\.\d+\.dwconv\.kernel",),
        ORIGINAL,
        _dense,
        library="timm",
        proposes=proposed,
        beside=DECODER,
    ),
    Naming("transformers DINOv3 ConvNeXt", (SAVED_ANCHOR,), SAVED, library="timm", proposes=proposed),
    Naming(
        "transformers DINOv3 ConvNeXt in memory",
        (rf"model\.{SAVED_ANCHOR}",),
        IN_MEMORY,
        library="timm",
        proposes=proposed,
    ),
)
