"""Vision networks of transformers, built by transformers itself from a configuration, in the names it has in memory."""

import inspect
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from transferbench.backbones import Backbone, Shapes
from transferbench.backbones import _transformers_configs as configs
from transferbench.backbones._library import LibraryBackbone, described, in_time, require_vectors, width
from transferbench.backbones._transformers_configs import is_installed, names, version
from transferbench.backbones._transformers_names import FileNames, file_names
from transferbench.errors import UserError, nearest
from transferbench.settings import Settings

__all__ = ["Arguments", "assumptions", "build", "describe", "propose"]

BELOW = ((r"(?:layer_?)?norm\.\w+", "norm of the classifier"),)
"""Tensors beside a network in the library's `ForImageClassification`."""
PREFIX = re.compile(
    r"(?:.*\.)?(?:cls_token|class_token|class_embedding|distillation_token|register_tokens|reg_token|cls_register_token)s?"
)
"""Tokens that stand before those of the patches."""
Pooling = Literal["library", "pooler", "token", "mean"]
POOLINGS: Mapping[str, tuple[str, ...]] = {
    "token": (
        *("vit", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit", "vit_mae", "vit_msn", "pvt", "yolos"),
        *("mlcd_vision_model", "mlcd"),
    ),
    "mean": (
        *("ijepa", "pvt_v2", "segformer", "swiftformer", "glpn", "poolformer", "vitdet", "dinat", "cvt"),
        *("maskformer-swin", "efficientformer", "textnet"),
    ),
}
"""What is evaluated of each model type; of all others `pooler_output`, which the library's own classifiers read.

Class token after the last norm: DINO, DINOv2, DINOv3 (their k-NN and linear protocols), MAE's linear probe
(`main_linprobe.py`, whose default is `cls_token`), MSN; ViT and DeiT by their classifiers, which read no pooler. Mean:
I-JEPA (no class token), and those whose own classifier of the library averages the last map (PVTv2, SegFormer,
SwiftFormer, PoolFormer, TextNet). `pooler_output` is the mean of patches for BEiT and data2vec, the class token after
the last norm for CLIP, the attention pool for SigLIP, the mean over space for ConvNeXt, ResNet, RegNet, Swin.
"""


class Arguments(Settings):
    """What fixes the computation: transformers' model type, its whole configuration, and which output is taken."""

    name: str = Field(description="a model type of transformers that takes images, such as dinov3_vit")
    config: dict[str, Any] = Field({}, description="of its configuration, what differs from the library's default")
    pooling: Pooling = Field(
        "library",
        description="library: what its authors evaluate; pooler_output; the class token; mean over the patches",
    )

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in names():
            every = sorted(names())
            raise ValueError(f"transformers {version()} has no vision model type '{name}'.{nearest(name, every)}")
        return name

    @field_validator("config")
    @classmethod
    def _is_whole(cls, config: dict[str, Any], info: Any) -> dict[str, Any]:
        name = info.data.get("name")
        return configs.whole(str(name), config) if name else config


class TransformersBackbone(LibraryBackbone):
    """A vision network of transformers, one of whose outputs are the features."""

    def __init__(self, network: nn.Module, name: str, pooling: str) -> None:
        super().__init__(network)
        self.name = name
        self.pooling = pooling
        self.side = _side(cast(Any, network).config)
        prefix = {key: tensor for key, tensor in network.named_parameters() if PREFIX.fullmatch(key)}
        self.num_prefix_tokens = sum(each.shape[-2] if each.ndim > 1 else 1 for each in prefix.values())
        self.may_be_empty = frozenset(key for key, tensor in prefix.items() if tensor.shape[-2:-1] == (0,))
        self.takes = set(inspect.signature(network.forward).parameters)

    def forward(self, images: Tensor) -> Tensor:
        """Features, `b d`, of images, `b 3 h w`."""
        outputs = self._outputs(images)
        last = outputs.last_hidden_state
        found: Any = None
        if self.pooling == "pooler":
            found = getattr(outputs, "pooler_output", None)
            if isinstance(found, Tensor) and found.ndim == 4 and found.shape[2:] == (1, 1):
                found = found.flatten(1)
        elif self.pooling == "token" and self.num_prefix_tokens and last.ndim == 3:
            found = last[:, 0]
        elif self.pooling == "mean":
            found = self._patches(last, images).mean(1) if last.ndim == 3 else last
        return require_vectors(found, len(images), f"{type(self.network).__name__} ({self.pooling})")

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """The last map, `last`, `b c h w`; empty where the tokens are none of a square image's."""
        last = self._outputs(images).last_hidden_state
        if last.ndim == 4:
            return {"last": last}
        patches = self._patches(last, images)
        rows = round(patches.shape[1] ** 0.5)
        if rows * rows != patches.shape[1] or images.shape[-1] != images.shape[-2]:
            return {}
        return {"last": patches.transpose(1, 2).unflatten(2, (rows, rows))}

    def _patches(self, tokens: Tensor, images: Tensor) -> Tensor:
        """The tokens of the patches, `b n d`.

        Raises:
            UserError: where there are more than the image has patches and than the tokens before them that are known.
        """
        size = getattr(cast(Any, self.network).config, "patch_size", None)
        most = (images.shape[-2] // size) * (images.shape[-1] // size) if isinstance(size, int) else tokens.shape[1]
        if tokens.shape[1] > most + self.num_prefix_tokens:
            raise UserError(
                f"{type(self.network).__name__} gives {tokens.shape[1]} tokens for {most} patches, and which are none "
                "is not known. Say --as pooling=pooler, or hand it over from Python as a module."
            )
        return tokens[:, self.num_prefix_tokens :]

    def _outputs(self, images: Tensor) -> Any:
        config = cast(Any, self.network).config
        more: dict[str, Any] = {"return_dict": True} if "return_dict" in self.takes else {}
        if "interpolate_pos_encoding" in self.takes and tuple(images.shape[-2:]) != (self.side, self.side):
            more["interpolate_pos_encoding"] = True
        if self.name == "vit_mae":  # which would hide patches at random
            count = (images.shape[-2] // _first(config.patch_size)) * (images.shape[-1] // _first(config.patch_size))
            more["noise"] = torch.arange(count, device=images.device, dtype=torch.float32).expand(len(images), count)
        if "spatial_shapes" in self.takes:
            images, rows, columns = _patches(images, config.patch_size)
            shapes = torch.tensor([[rows, columns]] * len(images), device="cpu")
            mask = torch.ones(images.shape[:2], dtype=torch.int64, device=images.device)
            given = {"pixel_attention_mask": mask, "attention_mask": mask, "spatial_shapes": shapes}
            more |= {name: value for name, value in given.items() if name in self.takes}
        return self.network(pixel_values=images, **more)


def network(arguments: Arguments) -> nn.Module:
    """transformers' own module.

    Raises:
        ValueError: when transformers does not build it from this configuration.
    """
    library = configs.library()
    config = configs.configuration(arguments.name, arguments.config)
    if arguments.name == "vit_mae":
        config.mask_ratio = 0.0
    if not configs.takes_images(arguments.name):
        raise ValueError(f"{arguments.name} takes no images")
    model = configs.network_class(type(config))
    given: dict[str, Any] = {}
    if "add_pooling_layer" in inspect.signature(model.__init__).parameters:
        given["add_pooling_layer"] = _pooling(arguments) == "pooler"
    try:
        with in_time():
            if type(config) in library.MODEL_MAPPING:
                return library.AutoModel.from_config(config, dtype=torch.float32, **given)
            return model._from_config(config, dtype=torch.float32, **given)
    except Exception as error:  # whatever a configuration leads to in one of hundreds of networks
        raise ValueError(f"transformers does not build {arguments.name}: {configs.one_line(error)}") from None


def build(arguments: Arguments) -> Backbone:
    """The network, with transformers' initialization.

    Raises:
        ValueError: when transformers does not build it from this configuration.
    """
    made = network(arguments)
    backbone = TransformersBackbone(made, arguments.name, _pooling(arguments))
    backbone.width = _width(arguments.model_dump_json())
    return backbone


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """None: a configuration says which network it is."""
    return []


def assumptions(arguments: Mapping[str, Any]) -> list[str]:
    """What is taken as the features."""
    full = Arguments.model_validate(dict(arguments))
    means = {
        "pooler": "its pooler_output",
        "token": "its class token after the last layer",
        "mean": "its last layer's mean over the patches",
    }
    return [f"computed by transformers' own {full.name}; features are {means[_pooling(full)]}"]


def describe(arguments: Mapping[str, Any]) -> str:
    """The model type with its size, and the output where that is another than its authors evaluate."""
    config = dict(arguments.get("config", {}))
    layers, hidden = config.get("num_hidden_layers"), config.get("hidden_size")
    size = f" {layers}x{hidden}" if isinstance(layers, int) and isinstance(hidden, int) else ""
    return described(f"{arguments['name']}{size}", {}, arguments)


def from_config(config: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """Arguments from a `config.json` of transformers'; None of another library's, empty of a network that is none here.

    Of a model with a part for images and one for text it is the former.

    Raises:
        LookupError: when it is transformers' and not whole.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str):
        return None
    if not is_installed():
        return {}
    configs.require_bearable(config)
    known = configs.library().CONFIG_MAPPING
    if kind not in known:
        return {}
    given = configs.plain(config)
    if "vision_config" in (getattr(known[kind], "sub_configs", None) or {}):
        part = _part(kind, given)
        kind, given = part.model_type, configs.plain(part.to_dict())
    if kind not in names() or not configs.takes_images(kind):
        return {}
    usual = configs.defaults(kind)
    whole = configs.plain(configs.built(kind, given).to_dict())
    return {"name": kind, "config": {name: value for name, value in whole.items() if name in usual}}


def _part(kind: str, given: Mapping[str, Any]) -> Any:
    """The configuration of the part for images; of a model whose parts must agree, as the whole gives it."""
    try:
        return configs.built(kind, {"vision_config": given.get("vision_config") or {}}).vision_config
    except ValueError:
        return configs.built(kind, given).vision_config


def needed_for(config: Mapping[str, Any]) -> str | None:
    """What to install for a network of this `config.json`; None where nothing is missing."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or is_installed():
        return None
    return f"Its config.json is of transformers ({kind}), which reads it with {configs.EXTRA}"


def own_arguments(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """None: our own families read heads and epsilon from the same `config.json`."""
    return ()


def spelled(arguments: Mapping[str, Any]) -> FileNames:
    """How the names in files of such a network lead to those in memory."""
    return _spelled(json.dumps(dict(arguments), sort_keys=True))


@cache
def _width(arguments: str) -> int:
    full = Arguments.model_validate_json(arguments)
    with torch.device("meta"):
        backbone = TransformersBackbone(network(full), full.name, _pooling(full))
    return width(backbone.to("meta"), backbone.side, _hidden(cast(Any, backbone.network).config))


@cache
def _spelled(arguments: str) -> FileNames:
    with torch.device("meta"):
        return file_names(network(Arguments.model_validate_json(arguments)))


def _pooling(arguments: Arguments) -> str:
    if arguments.pooling != "library":
        return arguments.pooling
    return next((pooling for pooling, kinds in POOLINGS.items() if arguments.name in kinds), "pooler")


def _side(config: Any) -> int:
    side = getattr(config, "image_size", None)
    count, patch = getattr(config, "num_patches", None), getattr(config, "patch_size", None)
    if side is None and isinstance(count, int) and isinstance(patch, int):  # SigLIP 2 counts patches of any shape
        side = round(count**0.5) * patch
    return _first(side or 224)


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, list | tuple) else value)


def _hidden(config: Any) -> int | None:
    sizes = getattr(config, "hidden_sizes", None) or [getattr(config, "hidden_size", None)]
    return sizes[-1] if isinstance(sizes, list | tuple) and isinstance(sizes[-1], int) else None


def _patches(images: Tensor, size: int) -> tuple[Tensor, int, int]:
    """Images as patches, `b (rows columns) (size size 3)`, row by row."""
    rows, columns = images.shape[-2] // size, images.shape[-1] // size
    cut = images[..., : rows * size, : columns * size].unflatten(3, (columns, size)).unflatten(2, (rows, size))
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2), rows, columns
