"""Vision networks of transformers, built by transformers itself from a configuration, in the names it has in memory."""

import importlib.util
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from transferbench.backbones import Backbone, Shapes
from transferbench.backbones._library import LibraryBackbone, require_plain, require_vectors, width
from transferbench.errors import UserError, nearest
from transferbench.settings import Settings

__all__ = ["Arguments", "assumptions", "build", "describe", "propose"]

EXTRA = "pip install 'transferbench[transformers]'"
BESIDE = frozenset(
    {
        *("model_type", "transformers_version", "architectures", "auto_map", "_name_or_path", "name_or_path"),
        *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "tokenizer_class", "use_cache"),
        *("torch_dtype", "dtype", "attn_implementation", "_attn_implementation", "_attn_implementation_autoset"),
        *("return_dict", "output_attentions", "output_hidden_states", "chunk_size_feed_forward", "_commit_hash"),
        *("experts_implementation", "_experts_implementation", "is_encoder_decoder", "bos_token_id", "eos_token_id"),
        *(
            "pad_token_id",
            "sep_token_id",
            "decoder_start_token_id",
            "tie_word_embeddings",
            "semantic_loss_ignore_index",
        ),
    }
)
"""Of a configuration: what changes no feature, or names code and places elsewhere."""
FORBIDDEN = frozenset({"quantization_config", "use_pretrained_backbone", "use_timm_backbone", "backbone"})
"""What would fetch another network, or needs other weights than plain ones."""
FOREIGN = re.compile(r"timm.*|gemma3n_vision")
"""Model types that wrap a network of timm."""
PART = re.compile(r"_(?:vision|image)(?:_|$)")
"""Model types of the part for images of a larger model, some of which `AutoModel` builds only within it."""
PART_CLASS = re.compile(r"\w+(?:Vision|Image)(?:Model|Backbone)")
MOST_LAYERS, LARGEST, MOST_POSITIONS = 512, 1 << 20, 1 << 27
"""Of a configuration, which may state anything: layers, any number, values of a table of positions."""
PREFIX = re.compile(
    r"(?:.*\.)?(?:cls_token|class_token|class_embedding|distillation_token|register_tokens|reg_token)s?"
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
        *("maskformer-swin", "efficientformer"),
    ),
}
"""What is evaluated of each model type; of all others `pooler_output`, which the library's own classifiers read.

Class token after the last norm: DINO, DINOv2, DINOv3 (their k-NN and linear protocols), MAE's linear probe
(`main_linprobe.py`, whose default is `cls_token`), MSN; ViT and DeiT by their classifiers, which read no pooler. Mean:
I-JEPA (no class token), and those whose own classifier of the library averages the last map (PVTv2, SegFormer,
SwiftFormer, PoolFormer). `pooler_output` is the mean of patches for BEiT and data2vec, the class token after the last
norm for CLIP, the attention pool for SigLIP, the mean over space for ConvNeXt, ResNet, RegNet, Swin.
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
        return _whole(str(name), config) if name else config


@dataclass(frozen=True)
class _Names:
    """How a file's names lead to those that the network has in memory, by the library's own table."""

    network: nn.Module
    renamings: tuple[Any, ...] = ()
    converters: tuple[Any, ...] = ()

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        """Names in memory, on the meta device."""
        return self.network.state_dict()

    def target(self, name: str) -> tuple[str, str | None]:
        """The name in memory, and the pattern by which it is put together from several or cut, if it is."""
        prefix = str(getattr(self.network, "base_model_prefix", ""))
        loading = _loading()
        if loading is not None:
            found = loading.rename_source_key(
                name, list(self.renamings), list(self.converters), prefix, cast(Any, self.expected)
            )
            return (name, None) if found[0] not in self.expected and name in self.expected else found
        bare = name.removeprefix(f"{prefix}.") if prefix else name
        return (bare if bare in self.expected else name), None

    def members(self, names: Iterable[str]) -> frozenset[str]:
        """Those of a file's names that lead to a tensor of the network."""
        return frozenset(name for name in names if self.target(name)[0] in self.expected)

    def renamed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors by names in memory; those that lead nowhere keep their own.

        Raises:
            ValueError: when two lead to the same.
        """
        found: dict[str, Tensor] = {}
        together: dict[str, Any] = {}
        for name in sorted(weights, key=_natural):
            target, pattern = self.target(name)
            if target not in self.expected:
                target, pattern = name, None
            if pattern is None:
                if target in found:
                    raise ValueError(f"two tensors are {target}")
                found[target] = weights[name]
                continue
            origin = next(each for each in self.converters if pattern in each.source_patterns)
            together.setdefault(target, deepcopy(origin)).add_tensor(target, name, pattern, weights[name])
        for target, each in together.items():
            made = each.convert(target, model=self.network, config=cast(Any, self.network).config)
            found |= {name: value[0] if isinstance(value, list) else value for name, value in made.items()}
        return found


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
            found = last[:, self.num_prefix_tokens :].mean(1) if last.ndim == 3 else last
        return require_vectors(found, len(images), f"{type(self.network).__name__} ({self.pooling})")

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """The last map, `last`, `b c h w`; empty where the tokens are none of a square image's."""
        last = self._outputs(images).last_hidden_state
        if last.ndim == 4:
            return {"last": last}
        patches = last[:, self.num_prefix_tokens :]
        rows = round(patches.shape[1] ** 0.5)
        if rows * rows != patches.shape[1] or images.shape[-1] != images.shape[-2]:
            return {}
        return {"last": patches.transpose(1, 2).unflatten(2, (rows, rows))}

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
    library = _library()
    config = _configuration(arguments.name, arguments.config)
    if arguments.name == "vit_mae":
        config.mask_ratio = 0.0
    if not _takes_images(arguments.name):
        raise ValueError(f"{arguments.name} takes no images")
    model = _class(type(config))
    given: dict[str, Any] = {}
    if "add_pooling_layer" in inspect.signature(model.__init__).parameters:
        given["add_pooling_layer"] = _pooling(arguments) == "pooler"
    try:
        if type(config) in library.MODEL_MAPPING:
            return library.AutoModel.from_config(config, dtype=torch.float32, **given)
        return model._from_config(config, dtype=torch.float32, **given)
    except Exception as error:  # whatever a configuration leads to in one of hundreds of networks
        raise ValueError(f"transformers does not build {arguments.name}: {_line(error)}") from None


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
    sizes = [f"{layers}x{hidden}"] if isinstance(layers, int) and isinstance(hidden, int) else []
    pooling = arguments.get("pooling", "library")
    return " ".join([str(arguments["name"]), *sizes, *([f"pooling={pooling}"] if pooling != "library" else [])])


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
    _require_bearable(config)
    configs = _library().CONFIG_MAPPING
    if kind not in configs:
        return {}
    given = _plain(config)
    if "vision_config" in (getattr(configs[kind], "sub_configs", None) or {}):
        part = _built(kind, {"vision_config": given.get("vision_config") or {}}).vision_config
        kind, given = part.model_type, _plain(part.to_dict())
    if kind not in names() or not _takes_images(kind):
        return {}
    known = _defaults(kind)
    whole = _plain(_built(kind, given).to_dict())
    return {"name": kind, "config": {name: value for name, value in whole.items() if name in known}}


def needed_for(config: Mapping[str, Any]) -> str | None:
    """What to install for a network of this `config.json`; None where nothing is missing."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or is_installed():
        return None
    return f"Its config.json is of transformers ({kind}), which reads it with {EXTRA}"


def own_arguments(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """None: our own families read heads and epsilon from the same `config.json`."""
    return ()


def spelled(arguments: Mapping[str, Any]) -> "_Names":
    """How the names in files of such a network lead to those in memory."""
    return _spelled(json.dumps(dict(arguments), sort_keys=True))


def is_installed() -> bool:
    """Whether transformers can be imported."""
    return importlib.util.find_spec("transformers") is not None


def version() -> str:
    """transformers' version."""
    return str(_package().__version__)


@cache
def names() -> frozenset[str]:
    """Every model type whose network takes images, one at a time, whoever trained it."""
    library = _library()
    parts = (kind for kind in library.CONFIG_MAPPING if PART.search(kind))
    every = {*library.MODEL_MAPPING_NAMES, *parts}
    return frozenset(kind for kind in every if kind in library.CONFIG_MAPPING and not FOREIGN.fullmatch(kind))


def _package() -> ModuleType:
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise UserError(f"A network of transformers needs transformers, which is not installed: {EXTRA}") from None


@cache
def _library() -> Any:
    """The parts of transformers that are used here, under one name."""
    from types import SimpleNamespace

    package = _package()
    modeling = importlib.import_module("transformers.models.auto.modeling_auto")
    return SimpleNamespace(
        AutoModel=package.AutoModel,
        CONFIG_MAPPING=package.CONFIG_MAPPING,
        MODEL_MAPPING=package.MODEL_MAPPING,
        MODEL_MAPPING_NAMES=modeling.MODEL_MAPPING_NAMES,
    )


@cache
def _loading() -> Any:
    """The library's code that renames a file's tensors; None before version 5, where files have the names in memory."""
    try:
        return importlib.import_module("transformers.core_model_loading")
    except ImportError:
        return None


@cache
def _width(arguments: str) -> int:
    full = Arguments.model_validate_json(arguments)
    with torch.device("meta"):
        backbone = TransformersBackbone(network(full), full.name, _pooling(full))
    return width(backbone, backbone.side, _hidden(cast(Any, backbone.network).config))


@cache
def _spelled(arguments: str) -> _Names:
    full = Arguments.model_validate_json(arguments)
    with torch.device("meta"):
        made = network(full)
    loading = _loading()
    if loading is None:
        return _Names(made)
    every = importlib.import_module("transformers.conversion_mapping").get_model_conversion_mapping(made)
    renamings = tuple(each for each in every if isinstance(each, loading.WeightRenaming))
    return _Names(made, renamings, tuple(each for each in every if isinstance(each, loading.WeightConverter)))


def _class(config: type) -> Any:
    """The class of networks of a configuration's class; None where the library has none."""
    if config in (mapping := _library().MODEL_MAPPING):
        found = mapping[config]
        return found[0] if isinstance(found, tuple) else found
    try:
        module = importlib.import_module(config.__module__.replace(".configuration_", ".modeling_"))
    except ImportError:
        return None
    named = (value for name, value in vars(module).items() if PART_CLASS.fullmatch(name) and isinstance(value, type))
    return next((each for each in named if getattr(each, "config_class", None) is config), None)


def _takes_images(name: str) -> bool:
    return getattr(_class(_library().CONFIG_MAPPING[name]), "main_input_name", "") == "pixel_values"


def _pooling(arguments: Arguments) -> str:
    if arguments.pooling != "library":
        return arguments.pooling
    return next((pooling for pooling, kinds in POOLINGS.items() if arguments.name in kinds), "pooler")


def _whole(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the library's defaults, but for what changes no feature.

    Raises:
        ValueError: for a name that it does not have, or one that would fetch something.
    """
    given = {key: value for key, value in config.items() if key not in BESIDE}
    known = _defaults(name)
    if unknown := sorted(given.keys() - known):
        raise ValueError(f"a configuration of {name} has no '{unknown[0]}'.{nearest(unknown[0], sorted(known))}")
    whole = _plain(_configuration(name, given).to_dict())
    return {key: value for key, value in whole.items() if key in known}


@cache
def _defaults(name: str) -> frozenset[str]:
    return frozenset(_plain(_built(name, {}).to_dict()))


def _configuration(name: str, config: Mapping[str, Any]) -> Any:
    require_plain(config)
    _require_bearable(config)
    return _built(name, _plain(config))


def _built(name: str, config: Mapping[str, Any]) -> Any:
    try:
        return _library().CONFIG_MAPPING[name](**config)
    except Exception as error:  # strict types, validators and subscripts of hundreds of classes
        raise ValueError(f"no configuration of {name}: {_line(error)}") from None


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without what changes no feature, in parts of it too; a part keeps its model type."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name in BESIDE:
            continue
        if isinstance(value, Mapping):
            kind = {"model_type": value["model_type"]} if "model_type" in value else {}
            found[name] = {**_plain(value), **kind}
        else:
            found[name] = list(value) if isinstance(value, tuple | set) else value
    return found


def _require_bearable(config: Mapping[str, Any], where: str = "") -> None:
    """Refuse, with a ValueError, a configuration that names other places, or sizes that no network has."""
    for name, value in config.items():
        if name in FORBIDDEN and value:
            raise ValueError(f"'{where}{name}' asks for weights that are not in the file")
        if name == "model_type" and FOREIGN.fullmatch(str(value)):
            raise ValueError(f"'{value}' wraps a network of timm; name that: --as arch=timm:NAME")
        if isinstance(value, Mapping):
            if name not in {"id2label", "label2id"}:
                _require_bearable(value, f"{where}{name}.")
            continue
        numbers = [each for each in _flat(value) if isinstance(each, int | float) and not isinstance(each, bool)]
        most = MOST_LAYERS if re.search(r"layers|depth|blocks|stages", name) else LARGEST
        if large := [each for each in numbers if abs(each) > most and name not in BESIDE]:
            raise ValueError(f"'{where}{name}' is {large[0]:,}, more than {most:,}: no such network is built")
    _require_positions(config)


def _require_positions(config: Mapping[str, Any]) -> None:
    sides = [each for each in _flat(config.get("image_size")) if isinstance(each, int)]
    patch = [each for each in _flat(config.get("patch_size")) if isinstance(each, int)]
    hidden = config.get("hidden_size", 1)
    if sides and patch and min(patch) > 0 and isinstance(hidden, int):
        count = (max(sides) // min(patch)) ** 2 * hidden
        if count > MOST_POSITIONS:
            raise ValueError(f"images of {max(sides)} pixels in patches of {min(patch)} need {count:,} positions")


def _flat(value: Any) -> list[Any]:
    return [inner for each in value for inner in _flat(each)] if isinstance(value, list | tuple) else [value]


def _side(config: Any) -> int:
    side = getattr(config, "image_size", None)
    count, patch = getattr(config, "num_patches", None), getattr(config, "patch_size", None)
    if side is None and isinstance(count, int) and isinstance(patch, int):  # SigLIP 2 counts patches of any shape
        side = round(count**0.5) * patch
    return _first(side or 224)


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, list | tuple) else value)


def _hidden(config: Any) -> int | None:
    size = getattr(config, "hidden_size", None)
    return size if isinstance(size, int) else None


def _patches(images: Tensor, size: int) -> tuple[Tensor, int, int]:
    """Images as patches, `b (rows columns) (size size 3)`, row by row."""
    rows, columns = images.shape[-2] // size, images.shape[-1] // size
    cut = images[..., : rows * size, : columns * size].unflatten(3, (columns, size)).unflatten(2, (rows, size))
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2), rows, columns


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
