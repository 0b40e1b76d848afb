"""Names and shapes of transformers' ResNetModel, ViTModel and Dinov2Model."""

from transferbench.backbones import Shapes
from transferbench.checkpoints.targets import Arguments
from transferbench.checkpoints.targets._layers import layers, norm, stem_channels

PLAIN = ("layernorm_before", "layernorm_after", "intermediate.dense", "output.dense")
SCALED = ("norm1", "norm2", "mlp.fc1", "mlp.fc2")
"""How a block's norms and the two layers of its MLP are called without and with layer scales."""


def resnet(arguments: Arguments) -> Shapes:
    """Of a residual network."""
    stem, channels = "embedder.embedder", stem_channels(arguments)
    shapes: dict[str, tuple[int, ...]] = {f"{stem}.convolution.weight": (channels, 3, 7, 7)}
    shapes |= norm(f"{stem}.normalization", channels, counter=True)
    for layer in layers(arguments):
        part = f"layer.{layer.number - 1}" if layer.number else "shortcut"
        name = f"encoder.stages.{layer.stage - 1}.layers.{layer.block}.{part}"
        shapes |= {f"{name}.convolution.weight": layer.shape}
        shapes |= norm(f"{name}.normalization", layer.shape[0], counter=True)
    return shapes


def vit(arguments: Arguments) -> Shapes:
    """Of a vision transformer, without or with layer scales."""
    dim, patch = arguments["dim"], arguments["patch_size"]
    hidden, tokens = int(dim * arguments["mlp_ratio"]), (arguments["image_size"] // patch) ** 2 + 1
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, dim),
        "embeddings.position_embeddings": (1, tokens, dim),
        "embeddings.patch_embeddings.projection.weight": (dim, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": (dim,),
        **_affine("layernorm", (dim,)),
    }
    before, after, up, down = SCALED if arguments["layer_scale"] else PLAIN
    for number in range(arguments["depth"]):
        block = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            shapes |= _affine(f"{block}.attention.attention.{part}", (dim, dim), arguments["qkv_bias"])
        shapes |= _affine(f"{block}.attention.output.dense", (dim, dim))
        shapes |= {**_affine(f"{block}.{up}", (hidden, dim)), **_affine(f"{block}.{down}", (dim, hidden))}
        shapes |= {**_affine(f"{block}.{before}", (dim,)), **_affine(f"{block}.{after}", (dim,))}
        shapes |= {f"{block}.layer_scale{i}.lambda1": (dim,) for i in (1, 2) if arguments["layer_scale"]}
    return shapes


def _affine(name: str, shape: tuple[int, ...], bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, **({f"{name}.bias": shape[:1]} if bias else {})}
