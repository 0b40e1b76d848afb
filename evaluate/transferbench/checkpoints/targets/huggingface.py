"""transformers' ResNetModel and ViTModel: a folder with `model.safetensors` and `config.json`."""

from pathlib import Path
from typing import Any

from transferbench import state
from transferbench.backbones import Shapes
from transferbench.backbones._resnet_shapes import BLOCKS
from transferbench.checkpoints import Card
from transferbench.checkpoints.naming import Weights
from transferbench.checkpoints.targets import Arguments, Kind, Target, canonical
from transferbench.checkpoints.targets._layers import layers, norm, stage_widths, stem_channels

FILE = "model.safetensors"
RESNET = frozenset({"depth", "width", "stride_in_1x1"})
VIT = frozenset(
    {"image_size", "patch_size", "dim", "depth", "heads", "mlp_ratio", "qkv_bias", "norm_eps", "resampling"}
)


def _resnet(arguments: Arguments) -> Shapes:
    stem, channels = "embedder.embedder", stem_channels(arguments)
    found: dict[str, tuple[int, ...]] = {f"{stem}.convolution.weight": (channels, 3, 7, 7)}
    found |= norm(f"{stem}.normalization", channels, counter=True)
    for layer in layers(arguments):
        part = f"layer.{layer.number - 1}" if layer.number else "shortcut"
        name = f"encoder.stages.{layer.stage - 1}.layers.{layer.block}.{part}"
        found |= {f"{name}.convolution.weight": layer.shape}
        found |= norm(f"{name}.normalization", layer.shape[0], counter=True)
    return found


def _vit(arguments: Arguments) -> Shapes:
    dim, patch = arguments["dim"], arguments["patch_size"]
    hidden, tokens = int(dim * arguments["mlp_ratio"]), (arguments["image_size"] // patch) ** 2 + 1
    found: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, dim),
        "embeddings.position_embeddings": (1, tokens, dim),
        "embeddings.patch_embeddings.projection.weight": (dim, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": (dim,),
        **_affine("layernorm", (dim,)),
    }
    for number in range(arguments["depth"]):
        block = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            found |= _affine(f"{block}.attention.attention.{part}", (dim, dim), arguments["qkv_bias"])
        found |= _affine(f"{block}.attention.output.dense", (dim, dim))
        found |= _affine(f"{block}.intermediate.dense", (hidden, dim))
        found |= _affine(f"{block}.output.dense", (dim, hidden))
        found |= {**_affine(f"{block}.layernorm_before", (dim,)), **_affine(f"{block}.layernorm_after", (dim,))}
    return found


def _affine(name: str, shape: tuple[int, ...], bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, **({f"{name}.bias": shape[:1]} if bias else {})}


def config(family: str, arguments: Arguments) -> dict[str, Any]:
    """The contents of `config.json`."""
    if family == "resnet":
        kind, depths = BLOCKS[arguments["depth"]]
        return {
            "architectures": ["ResNetModel"],
            "model_type": "resnet",
            "embedding_size": stem_channels(arguments),
            "hidden_sizes": stage_widths(arguments),
            "depths": list(depths),
            "layer_type": kind,
            "downsample_in_bottleneck": arguments["stride_in_1x1"],
        }
    return {
        "architectures": ["ViTModel"],
        "model_type": "vit",
        "hidden_size": arguments["dim"],
        "num_hidden_layers": arguments["depth"],
        "num_attention_heads": arguments["heads"],
        "intermediate_size": int(arguments["dim"] * arguments["mlp_ratio"]),
        "layer_norm_eps": arguments["norm_eps"],
        "image_size": arguments["image_size"],
        "patch_size": arguments["patch_size"],
        "qkv_bias": arguments["qkv_bias"],
    }


def write(path: Path, weights: Weights, card: Card) -> None:
    """The folder: weights, what builds the network, and the images' statistics."""
    path.mkdir(parents=True, exist_ok=True)
    state.save_tensors(path / FILE, weights, ("format", "pt"))
    state.write_json(path / "config.json", config(card.architecture.family, canonical(card.architecture)))
    images = card.preprocess
    statistics = {"do_normalize": True, "image_mean": list(images.mean), "image_std": list(images.std)}
    state.write_json(path / "preprocessor_config.json", statistics)


TARGET = Target(
    {
        "resnet": Kind(_resnet, lambda given: "transformers.ResNetModel", RESNET, "transformers ResNet"),
        "vit": Kind(_vit, lambda given: "transformers.ViTModel", VIT, "transformers ViT"),
    },
    (),
    write,
    FILE,
)
