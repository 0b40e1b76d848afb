"""transformers' ResNetModel, ViTModel and Dinov2Model: a folder with `model.safetensors` and `config.json`."""

from pathlib import Path
from typing import Any

from transferbench import state
from transferbench.backbones._resnet_shapes import BLOCKS
from transferbench.checkpoints import Card
from transferbench.checkpoints.naming import Weights
from transferbench.checkpoints.targets import Arguments, Kind, Target, canonical
from transferbench.checkpoints.targets._layers import stage_widths, stem_channels
from transferbench.checkpoints.targets._transformers import resnet, vit

FILE = "model.safetensors"
RESAMPLE = {"bilinear": 2, "bicubic": 3}
"""PIL's numbers."""
RESNET = frozenset({"depth", "width", "stride_in_1x1"})
VIT = frozenset(
    {"image_size", "patch_size", "dim", "depth", "heads", "mlp_ratio", "qkv_bias", "norm_eps", "resampling"}
)


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
    hidden = {"intermediate_size": int(arguments["dim"] * arguments["mlp_ratio"])}
    scaled = {"mlp_ratio": int(arguments["mlp_ratio"]), "use_mask_token": False}
    return {
        "architectures": ["Dinov2Model" if arguments["layer_scale"] else "ViTModel"],
        "model_type": "dinov2" if arguments["layer_scale"] else "vit",
        **(scaled if arguments["layer_scale"] else hidden),
        "hidden_size": arguments["dim"],
        "num_hidden_layers": arguments["depth"],
        "num_attention_heads": arguments["heads"],
        "layer_norm_eps": arguments["norm_eps"],
        "image_size": arguments["image_size"],
        "patch_size": arguments["patch_size"],
        "qkv_bias": arguments["qkv_bias"],
    }


def _scaled_cannot(arguments: Arguments) -> list[str]:
    """Its `config.json` takes whole ratios only."""
    ratio = arguments["mlp_ratio"]
    return [] if ratio == int(ratio) else [f"mlp_ratio={ratio} with layer scales (only whole numbers)"]


def write(path: Path, weights: Weights, card: Card) -> None:
    """The folder: weights, what builds the network, and what is done to images."""
    path.mkdir(parents=True, exist_ok=True)
    state.save_tensors(path / FILE, weights, ("format", "pt"))
    state.write_json(path / "config.json", config(card.architecture.family, canonical(card.architecture)))
    images = card.preprocess
    square = {"height": images.size, "width": images.size}
    resized = {"size": square if images.resize == "square" else {"shortest_edge": images.size}} if images.size else {}
    said = {
        "image_processor_type": "ViTImageProcessor" if images.resize == "square" else "BitImageProcessor",
        "do_resize": bool(images.size),
        **resized,
        "resample": RESAMPLE[images.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": images.crop, "width": images.crop},
        "do_normalize": True,
        "image_mean": list(images.mean),
        "image_std": list(images.std),
    }
    state.write_json(path / "preprocessor_config.json", said)


TARGET = Target(
    {
        "resnet": Kind(resnet, lambda given: "transformers.ResNetModel", RESNET, "transformers ResNet"),
        "vit": Kind(
            vit,
            lambda given: "transformers.ViTModel(..., add_pooling_layer=False)",
            VIT,
            "transformers ViT",
            scaled=Kind(
                vit,
                lambda given: "transformers.Dinov2Model",
                VIT | {"layer_scale"},
                "transformers DINOv2",
                _scaled_cannot,
            ),
        ),
    },
    (),
    write,
    FILE,
)
