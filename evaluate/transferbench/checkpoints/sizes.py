"""Vision transformers of timm in sizes that it has no name for: another depth, width, patch or image."""

import contextlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from transferbench import backbones
from transferbench.backbones import Architecture, Shapes
from transferbench.checkpoints import shape_index
from transferbench.checkpoints.naming import Naming
from transferbench.errors import UserError

BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
DEPTHS = (12, 24, 40, 32, 27, 14, 48, 50, 23)
"""Blocks of timm's vision transformers, those of most first."""
DEEPEST = 256


def deepened(shapes: Shapes) -> Iterator[dict[str, tuple[int, ...]]]:
    """The same names and shapes with other numbers of blocks; none where the blocks differ."""
    blocks: dict[int, dict[str, tuple[int, ...]]] = {}
    rest: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        match = BLOCK.fullmatch(name)
        if match:
            blocks.setdefault(int(match[1]), {})[match[2]] = shape
        else:
            rest[name] = shape
    if not blocks or sorted(blocks) != list(range(len(blocks))) or len(blocks) > DEEPEST:
        return
    first = blocks[0]
    if any(block != first for block in blocks.values()):
        return
    for depth in DEPTHS:
        if depth != len(blocks):
            yield {**rest, **{f"blocks.{n}.{name}": shape for n in range(depth) for name, shape in first.items()}}


def nearest(naming: Naming, shapes: Shapes, told: Mapping[str, Any] | None = None) -> list[tuple[int, Architecture]]:
    """The naming's templates, in the size of these shapes, that come nearest to having them, each with its misfits.

    Of several that fit equally well those that differ least from what the library calls so; all where that is equal.
    """
    library = naming.library
    exact = {entry.name for entry in shape_index.index().fits(shapes)} & set(naming.templates)
    templates = [name for name in naming.templates if name in exact] or naming.templates
    if not naming.is_sized:
        given = dict(told or {})
        return ranked(
            [{"name": name, "arguments": given} for name in _likest(templates, shapes, library)], shapes, library
        )
    alike = Counter({name: -len(_parts(_plain(name, library)) ^ _parts(shapes)) for name in templates})
    best = max(alike.values(), default=0)
    channels = naming.channels_of_a_head
    sized = [resized(name, shapes, told, library, channels) for name in templates if alike[name] == best]
    found: list[tuple[tuple[int, int], Architecture]] = []
    for each in filter(None, sized):
        with contextlib.suppress(UserError):
            found.append(((len(backbones.misfits(each, shapes)), len(each.arguments["arguments"])), each))
    fewest = min((rank for rank, _ in found), default=(0, 0))
    return [(rank[0], each) for rank, each in found if rank == fewest]


def _likest(templates: Sequence[str], shapes: Shapes, library: str) -> Sequence[str]:
    """Those that have most of these shapes in their first block; all where the library builds none with one block."""
    try:
        equal = {name: len(_plain(name, library).items() & shapes.items()) for name in templates}
    except UserError:
        return templates
    return [name for name in templates if equal[name] == max(equal.values())]


def ranked(
    proposed: Sequence[Mapping[str, Any]], shapes: Shapes, library: str = "timm"
) -> list[tuple[int, Architecture]]:
    """Of the library's networks with the proposed arguments those that come nearest to these shapes, with misfits."""
    found: list[tuple[int, Architecture]] = []
    for arguments in proposed:
        with contextlib.suppress(UserError):
            each = backbones.complete(Architecture(family=library, arguments=dict(arguments)))
            found.append((len(backbones.misfits(each, shapes)), each))
    fewest = min((misfits for misfits, _ in found), default=0)
    return [pair for pair in found if pair[0] == fewest]


def _parts(shapes: Shapes) -> set[str]:
    """The names, with those of the first block for those of all."""
    return {name for name in shapes if not (match := BLOCK.fullmatch(name)) or match[1] == "0"}


def _plain(name: str, library: str) -> Shapes:
    """Shapes of an architecture with one block, which is built in a tenth of the time."""
    return backbones.expected_shapes(_shallow(name, library))


def _shallow(name: str, library: str) -> Architecture:
    return Architecture(family=library, arguments={"name": name, "arguments": {"depth": 1}})


@cache
def _built(name: str, library: str) -> tuple[int, str]:
    """Attention heads of an architecture, and what its library calls the number of registers."""
    built: Any = backbones.build(_shallow(name, library), device="meta")
    heads = getattr(getattr(built.blocks[0], "attn", None), "num_heads", 0) if hasattr(built, "blocks") else 0
    return heads, "num_reg_tokens" if type(built.network).__name__ == "Eva" else "reg_tokens"


def resized(
    template: str, shapes: Shapes, told: Mapping[str, Any] | None = None, library: str = "timm", channels: int = 64
) -> Architecture | None:
    """The template in the size that tensors of these canonical shapes have; None where they do not tell a size.

    Heads are those of the template where the width is, else they have this many channels each, as published ones do.
    """
    try:
        usual, found = _sizes(_plain(template, library)), {**_sizes(shapes), **(told or {})}
        usual["num_heads"], registers = _built(template, library)
    except UserError:
        return None
    exact = {entry.name for entry in shape_index.index().fits(shapes)}
    usual["depth"] = found["depth"] if template in exact else 0
    width = found["embed_dim"]
    if not width or not found["depth"] or found["depth"] > DEEPEST:
        return None
    if width != usual["embed_dim"]:
        found.setdefault("num_heads", max(1, width // channels))
    changed = {name: value for name, value in found.items() if usual.get(name) != value}
    if "grid" in changed or ("patch_size" in changed and "grid" in found):
        changed["img_size"] = found["grid"] * found.get("patch_size", usual.get("patch_size", 16))
    changed.pop("grid", None)
    if "num_reg_tokens" in changed:
        changed[registers] = changed.pop("num_reg_tokens")
    return backbones.complete(Architecture(family=library, arguments={"name": template, "arguments": changed}))


def _sizes(shapes: Shapes) -> dict[str, Any]:
    """Width, depth, patches, grid, registers and hidden channels, as timm's arguments call them."""
    norm, patch = shapes.get("blocks.0.norm1.weight", ()), shapes.get("patch_embed.proj.weight", ())
    hidden = shapes.get("blocks.0.mlp.fc2.weight", ())
    width = norm[0] if len(norm) == 1 else 0
    sizes: dict[str, Any] = {
        "embed_dim": width,
        "depth": len({match[1] for name in shapes if (match := BLOCK.fullmatch(name))}),
    }
    if len(patch) == 4:
        sizes["patch_size"] = patch[2]
    if len(hidden) == 2 and width:
        sizes["mlp_ratio"] = _ratio(hidden[1], width)
    registers = shapes.get("reg_token", ())
    if len(registers) == 3:
        sizes["num_reg_tokens"] = registers[1]
    position = shapes.get("pos_embed", ())
    if len(position) == 3:
        sizes["grid"] = math.isqrt(position[1])
    elif len(position) == 2:
        sizes["grid"] = math.isqrt(position[0])
    table = next((s for n, s in shapes.items() if n.endswith("relative_position_bias_table")), ())
    if len(table) == 2 and math.isqrt(table[0] - 3) ** 2 == table[0] - 3:
        sizes["grid"] = (math.isqrt(table[0] - 3) + 1) // 2
    return sizes


def _ratio(hidden: int, width: int) -> float:
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width
