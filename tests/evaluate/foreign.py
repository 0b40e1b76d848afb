"""Checkpoints like those of other people, and their networks: skeletons filled with values, torchvision and timm.

`skeletons.json.gz` holds names, shapes and nesting of files that the sources' own code wrote
(docs/checkpoints.md#evidence); no value of any published file is in it.
"""

import argparse
import gzip
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from timm.layers.mlp import SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from transferbench.checkpoints.reading import Contents
from transferbench.checkpoints.recognition import Match, recognize

Tree = Any
Value = Callable[[tuple[Any, ...], torch.dtype, tuple[int, ...]], Tensor]


def skeletons() -> dict[str, dict[str, Any]]:
    """Every case by name."""
    found = json.loads(gzip.decompress(Path(__file__).with_name("skeletons.json.gz").read_bytes()))
    return {case["case"]: case for case in found}


def filled(node: Any, value: Value, path: tuple[Any, ...] = (), made: dict[tuple[Any, ...], Any] | None = None) -> Tree:
    """The tree of a file with tensors from `value(path, dtype, shape)`; a name that stands for another stays one."""
    made = {} if made is None else made
    if isinstance(node, str):
        dtype, sizes = re.fullmatch(r"(\w+)\[([\d,]*)\]", node).groups()  # pyright: ignore[reportOptionalMemberAccess]
        shape = tuple(int(size) for size in sizes.split(",") if size)
        made[path] = value(path, getattr(torch, dtype), shape)
        return made[path]
    if "alias" in node:
        return made[tuple(node["alias"])]
    if "namespace" in node:
        return argparse.Namespace(**dict(node["namespace"]))
    if "dict" in node:
        return {key: filled(each, value, (*path, key), made) for key, each in node["dict"]}
    return node["value"]


def blank(path: tuple[Any, ...], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """A tensor of that shape which takes no memory."""
    return torch.full([1] * len(shape), 1, dtype=dtype).expand(shape)


def unfilled(case: dict[str, Any]) -> Tree:
    """A file's tree with blank tensors."""
    return filled(case["tree"], blank)


def read(case: dict[str, Any], tree: Tree, encoder: str | None = None, overrides: Sequence[str] = ()) -> Match:
    """What the loader makes of a tree, without a file."""
    container = {".safetensors": "safetensors", ".pkl": "pickle"}.get(case["extension"], "torch zip")
    container = "torch legacy" if case["legacy"] else container
    return recognize(Contents(Path(case["case"] + case["extension"]), container, tree), encoder, overrides)


def taken(match: Match, tree: Tree, encoder: dict[str, Any]) -> bool:
    """Whether the loader took an encoder's own tensors, each under the name it has in torchvision or timm."""
    expected = canonical(tree, encoder)
    kept = {n for n, recipe in [*encoder["names"], *((n, "") for n in encoder["same"])] if isinstance(recipe, str)}
    same = [
        match.weights[n].data_ptr() == expected[n].data_ptr() for n in (kept - {"pos_embed"}) & match.weights.keys()
    ]
    return match.weights.keys() >= expected.keys() and all(same)


def drawn(generator: torch.Generator) -> Value:
    """Values of a network through which images pass without vanishing or growing beyond measure."""

    def value(path: tuple[Any, ...], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        name = str(path[-1])
        if not dtype.is_floating_point:
            return torch.full(shape, 7, dtype=dtype)
        draw = torch.randn(shape, generator=generator)
        if len(shape) > 1 and not re.search("token|pos|embeddings", name):
            return (draw * (1.5 / math.prod(shape[1:])) ** 0.5).to(dtype)
        if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            return (0.5 + draw.abs() * 0.2).to(dtype)
        return (draw * 0.3).to(dtype)

    return value


def write(case: dict[str, Any], tree: Tree, folder: Path) -> Path:
    """The file as the source writes it."""
    path = folder / (case["case"] + case["extension"])
    if case["extension"] == ".safetensors":
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tree.items()}, path)
    else:
        torch.save(tree, path, _use_new_zipfile_serialization=not case["legacy"])
    return path


def holder(tree: Tree, encoder: dict[str, Any]) -> dict[str, Tensor]:
    """The state dict in which an encoder lies."""
    for key in encoder["container"]:
        tree = tree[key]
    return tree


def canonical(tree: Tree, encoder: dict[str, Any]) -> dict[str, Tensor]:
    """An encoder's tensors in the names of torchvision or timm, by the case's own table."""
    state = holder(tree, encoder)
    same = {name: state[encoder["prefix"] + name] for name in encoder["same"]}
    return {**same, **{name: _worked_out(recipe, state) for name, recipe in encoder["names"]}}


def _worked_out(recipe: Any, state: dict[str, Tensor]) -> Tensor:
    if isinstance(recipe, str):
        return state[recipe]
    if "cat" in recipe:
        return torch.cat([_worked_out(each, state) for each in recipe["cat"]], recipe["dim"])
    if "add" in recipe:
        return _worked_out(recipe["add"][0], state) + _worked_out(recipe["add"][1], state)
    return _worked_out(recipe["slice"], state).narrow(recipe["dim"], recipe["start"], recipe["end"] - recipe["start"])


def sources(encoder: dict[str, Any]) -> list[str]:
    """The names in the file of an encoder's tensors, each once."""
    recipes = [recipe for _, recipe in encoder["names"]]
    return [encoder["prefix"] + name for name in encoder["same"]] + list(dict.fromkeys(_leaves(recipes)))


def _leaves(recipe: Any) -> Iterator[str]:
    if isinstance(recipe, str):
        yield recipe
    elif isinstance(recipe, list | dict):
        for part in recipe.values() if isinstance(recipe, dict) else recipe:
            yield from _leaves(part)


def network(spec: dict[str, Any]) -> nn.Module:
    """The case's network from the classes of torchvision or timm, by the words of its skeleton."""
    spec = dict(spec)
    family, _ = spec.pop("family"), spec.pop("pool", None)
    if family == "timm_model":
        return timm.create_model(spec.pop("name"), pretrained=False, num_classes=0, **spec).eval()
    return (_resnet(**spec) if family == "torchvision_resnet" else _vit(**spec)).eval()


def _resnet(arch: str, stem: str = "imagenet", same_padding: bool = False, **more: int) -> nn.Module:
    layers = {"resnet18": [2, 2, 2, 2], "resnet50": [3, 4, 6, 3]}[arch]
    model = ResNet(Bottleneck if arch == "resnet50" else BasicBlock, layers)
    if stem != "imagenet":
        model.conv1 = nn.Conv2d(3, 64, 3, 1, more.get("conv1_padding", 1), bias=False)
        model.maxpool = nn.Identity() if stem == "cifar" else model.maxpool  # pyright: ignore[reportAttributeAccessIssue]
    if "pre_pad" in more:
        model.conv1.register_forward_pre_hook(lambda _, args: (F.pad(args[0], [more["pre_pad"]] * 4),))
    for module in model.modules() if same_padding else ():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            module.padding = 0 if isinstance(module, nn.MaxPool2d) else (0, 0)  # pyright: ignore
            module.register_forward_pre_hook(_as_tensorflow)
    model.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    return model


def _as_tensorflow(module: Any, args: tuple[Tensor]) -> tuple[Tensor]:
    kernel, stride = (v if isinstance(v, int) else v[0] for v in (module.kernel_size, module.stride))
    size = args[0].shape[-1]
    lacking = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    before, after = lacking // 2, lacking - lacking // 2
    return (F.pad(args[0], (before, after, before, after)),)


def _vit(norm_eps: float = 1e-6, mlp: str = "mlp", **more: Any) -> nn.Module:
    if mlp == "swiglu_packed":
        more |= {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}
    return VisionTransformer(num_classes=0, norm_layer=partial(nn.LayerNorm, eps=norm_eps), **more)  # pyright: ignore


@torch.no_grad()
def features(model: Any, spec: dict[str, Any], images: Tensor) -> Tensor:
    """Pooled features, `b d`, as its source pools them."""
    if spec["family"] != "timm_vit":
        return model(images)
    tokens = model.forward_features(images)
    if spec.get("pool") == "avg_fcnorm":
        return model.fc_norm(tokens[:, model.num_prefix_tokens :].mean(1))
    return tokens[:, 0]
