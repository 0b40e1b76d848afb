"""Size, patch, width, depth and tokens of a vision transformer, read off its tensors' names and shapes."""

import math
import re
from collections import Counter
from typing import Any

from transferbench.backbones import Shapes

DEEPEST = 256
"""Blocks of a network at most: four times those of any that was published."""
HEADS = {1152: 16, 1280: 16, 1408: 16, 1536: 16, 1664: 16, 1792: 16, 2048: 16, 3072: 24, 4096: 32}
"""Of the widths whose published networks have heads of other than 64 channels (docs/checkpoints.md#attention-heads)."""
GATED_HEADS = {1536: 24}
"""Of the same where the MLP is gated, if they differ."""
AMBIGUOUS = {1536: (12, 16, 24)}
"""All that published networks of a width have, where neither width nor MLP leaves one."""


def usual_heads(dim: int, mlp: str = "gelu") -> int:
    """Heads of published networks of this width and kind of MLP, the commonest; 64 channels each but in the largest."""
    known = GATED_HEADS.get(dim) if mlp == "swiglu" else None
    return known or HEADS.get(dim) or (dim // 64 if dim >= 64 and dim % (dim // 64) == 0 else 1)


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """Read size, patch, width, depth and tokens off the shapes, heads by custom, likeliest first.

    Each is read in more than one place, so that one missing or misshapen tensor leaves the right network nearest.
    """
    blocks = {name.split(".")[1] for name in shapes if name.startswith("blocks.")}
    dim = _usual(shapes, r"blocks\.\d+\.norm[12]\.(weight|bias)", 0)
    hidden = _usual(shapes, r"blocks\.\d+\.mlp\.fc1\.(weight|bias)", 0)
    if not blocks or not dim or not hidden or len(blocks) > DEEPEST:
        return []
    registers, last = shapes.get("reg_token", ()), shapes.get("norm.weight", shapes.get("norm.bias"))
    mlp = "swiglu" if hidden == 2 * _usual(shapes, r"blocks\.\d+\.mlp\.fc2\.weight", 1) else "gelu"
    common = {
        "patch_size": _patch(shapes),
        "dim": dim,
        "depth": len(blocks),
        "heads": usual_heads(dim, mlp),
        "mlp_ratio": hidden / dim if int(dim * (hidden / dim)) == hidden else (hidden + 0.5) / dim,
        "mlp": mlp,
        "qkv_bias": any(name.endswith("attn.qkv.bias") for name in shapes),
        "registers": registers[1] if len(registers) == 3 else 0,
        "layer_scale": any(name.endswith("ls1.gamma") for name in shapes),
        "conv_stem": any(re.match(r"patch_embed\.proj\.\d", name) for name in shapes),
        "norm_pooled": last is None and any(name.startswith("fc_norm.") for name in shapes),
    }
    return [{**common, **tokens} for tokens in _tokens(shapes, common)]


def _patch(shapes: Shapes) -> int:
    patch = shapes.get("patch_embed.proj.weight", ())
    return patch[2] if len(patch) == 4 else 16


def _tokens(shapes: Shapes, common: dict[str, Any]) -> list[dict[str, Any]]:
    """Which tokens have a position, by the square grid that is left for the patches.

    Networks with registers or layer scales that norm before pooling have a class token: without one it was lost.
    """
    position, patch_size, registers = shapes.get("pos_embed", ()), common["patch_size"], common["registers"]
    needs_class = not common["norm_pooled"] and (registers or common["layer_scale"])
    has_class = "cls_token" in shapes or bool(needs_class)
    length = position[1] if len(position) == 3 else (224 // patch_size) ** 2 + has_class + registers
    proposals = []
    for class_token, for_prefix in ((has_class, True), (has_class, False), (True, True)):
        patches = length - for_prefix * (class_token + registers)
        grid = math.isqrt(max(1, patches))
        tokens = {"class_token": class_token, "position_for_prefix": for_prefix, "image_size": grid * patch_size}
        pooling = "token" if class_token and not common["norm_pooled"] else "mean"
        proposals.append((grid**2 != patches, {**tokens, "pooling": pooling}))
    return [tokens for is_uneven, tokens in proposals if not is_uneven] or [proposals[0][1]]


def _usual(shapes: Shapes, pattern: str, axis: int) -> int:
    """The size most tensors of these names have along an axis; 0 when there is none."""
    sizes = Counter(shape[axis] for name, shape in shapes.items() if len(shape) > axis and re.fullmatch(pattern, name))
    return sizes.most_common(1)[0][0] if sizes else 0
