"""Which features of a backbone are taken: its own output, or a layer of it with the pooling that makes a vector.

Which settings are whose protocol: docs/protocols.md#features-of-the-authors.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Float32
from pydantic import Field, field_validator, model_serializer, model_validator
from torch import Tensor, nn

from transferbench.backbones import OutputBackbone, TokenBackbone
from transferbench.errors import UserError, unknown
from transferbench.settings import Settings

POOLED = "pooled"
LAST = "last"
LISTED = 2
"""Depth of the module names suggested for a misspelled layer."""

Precision = Literal["float32", "bfloat16", "bfloat16_folded"]
"""What a backbone computes in; features are kept in float32 either way.

bfloat16: as autocast does. bfloat16_folded: with weights converted once, after those of a ResNet's batch norms were
folded into them.
"""

Kept = Literal["float32", "float16"]
"""What features are kept in on disk."""


class LayerSpec(Settings):
    """Which layer of a frozen backbone is read and what it is computed in: what every reading says."""

    precision: Precision = Field(default="float32", description="precision of the backbone")
    layer: str = Field(
        default=POOLED,
        description="pooled: the backbone's output; last: its last block or stage; last:4: its last four, one vector "
        "after another; else another output (projector), a stage (stem, layer3) or a module (blocks.5) of it",
    )
    norm: bool = Field(
        default=True, description="layer=last: through the last norm; false: before it (sets layer=last like pooling)"
    )

    @field_validator("layer")
    @classmethod
    def _counted(cls, layer: str) -> str:
        """One spelling for one layer."""
        if layer.startswith(f"{LAST}:") and not re.fullmatch(rf"{LAST}:[1-9]\d{{0,3}}", layer):
            raise ValueError(f"expected a number of layers from 1 on behind the colon, as in {LAST}:4")
        return LAST if layer == f"{LAST}:1" else layer

    @model_validator(mode="after")
    def _has_norm(self) -> "LayerSpec":
        if not self.norm and not self.last:
            raise ValueError(f"norm=false is for layer={LAST} and {LAST}:N, found layer={self.layer}")
        return self

    @property
    def last(self) -> int:
        """How many of the last layers are taken; 0 for another layer."""
        name, _, count = self.layer.partition(":")
        return int(count or 1) if name == LAST else 0

    @property
    def kept_in(self) -> Kept:
        """What the features are kept in."""
        return "float32"

    @property
    def identity(self) -> dict[str, Any]:
        """What the features depend on."""
        raise NotImplementedError

    def vectors(self, layers: list[Tensor], prefix: int, has_class: bool) -> Float32[Tensor, "b d"]:
        """One vector an image, from maps `b c h w`, tokens `b n d` (the first `prefix` are no patches) or vectors.

        Raises:
            UserError: where these layers have no such features.
        """
        raise NotImplementedError


class FeatureSpec(LayerSpec):
    """What is taken from a frozen backbone: the base of the settings of every task that reads its features."""

    UNWRITTEN: ClassVar[frozenset[str]] = frozenset({"norm"})
    """Settings that came later than the task: at their defaults they are not written, and so in no hash."""

    pooling: Literal["mean", "max", "token", "token+mean"] = Field(
        default="mean",
        description="over the places of another layer, of last where none is named; token: the class token alone; "
        "token+mean: class tokens, then the mean over the last layer's places",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_last(cls, values: Any) -> Any:
        """A pooling or norm is of the last layer where none is named."""
        if not isinstance(values, dict) or not {"pooling", "norm"} & set(values):
            return values
        return values if "layer" in {**cls.preset_stated(values), **values} else {**values, "layer": LAST}

    @model_validator(mode="after")
    def _is_used(self) -> "FeatureSpec":
        if self.layer == POOLED and self.pooling != "mean":
            raise ValueError(
                f"layer={POOLED} is pooled by the backbone, which leaves nothing for pooling={self.pooling}: leave one "
                f"of them out, or set layer={LAST}"
            )
        return self

    @model_serializer(mode="wrap")
    def _written(self, plain: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Without what the task had not at first, where it has its default: results keep their identity."""
        usual = {name: type(self).model_fields[name].default for name in self.UNWRITTEN}
        return {name: value for name, value in plain(self).items() if name not in usual or usual[name] != value}

    def beside(self, label: str) -> str:
        """A task's label with what it takes of another layer: `k-NN (layer=last:4, pooling=token)`."""
        if self.layer == POOLED:
            return label
        taken = ", ".join(
            [f"layer={self.layer}", *([f"pooling={self.pooling}"] if self.pooling != "mean" else [])]
            + ([] if self.norm else ["norm=false"])
        )
        return f"{label[:-1]}, {taken})" if label.endswith(")") else f"{label} ({taken})"

    @property
    def identity(self) -> dict[str, Any]:
        """What the features depend on; the pooling only where there is something to pool."""
        names = ("precision", "layer") if self.layer == POOLED else ("precision", "layer", "pooling")
        return {name: getattr(self, name) for name in names} | ({} if self.norm else {"norm": False})

    def vectors(self, layers: list[Tensor], prefix: int, has_class: bool) -> Float32[Tensor, "b d"]:
        """Pooled features, layer after layer."""
        return _vectors(layers, self, prefix, has_class)


class LaterFeatureSpec(FeatureSpec):
    """The base of those tasks that at first took the backbone's output alone."""

    UNWRITTEN: ClassVar[frozenset[str]] = frozenset({"layer", "pooling", "norm"})


def spec_of(config: Mapping[str, Any]) -> FeatureSpec:
    """What a task took by the settings that a record holds; where they are of no such task, the backbone's output."""
    names = FeatureSpec.model_fields if config.get("layer", POOLED) != POOLED else ("precision",)
    return FeatureSpec.model_validate({name: config[name] for name in names if name in config})


def feature_spec(asked: Precision | LayerSpec) -> LayerSpec:
    """The reading itself, or the backbone's output at a precision."""
    return asked if isinstance(asked, LayerSpec) else FeatureSpec(precision=asked)


def forward(
    backbone: nn.Module, images: Float[Tensor, "b 3 h w"], asked: Precision | LayerSpec = "float32"
) -> Float32[Tensor, "b d"]:
    """What the reading takes from the backbone, in float32.

    Raises:
        UserError: when there is no such layer, or its output cannot be pooled so.
    """
    wanted = feature_spec(asked)
    found = layers(backbone, images, wanted)
    return found[0] if wanted.layer == POOLED else wanted.vectors(found, *prefix_of(backbone))


def layers(backbone: nn.Module, images: Float[Tensor, "b 3 h w"], wanted: LayerSpec) -> list[Tensor]:
    """What the layers of a reading give, in float32: maps `b c h w`, tokens `b n d` or vectors `b d`.

    Raises:
        UserError: when there is no such layer.
    """
    with autocast(images, wanted):
        if wanted.layer == POOLED:
            found = [backbone(images)]
        else:
            found = _last(backbone, images, wanted) if wanted.last else [_inside(backbone, images, wanted.layer)]
    return [each.float() for each in found]


def autocast(images: Tensor, wanted: LayerSpec) -> torch.autocast:
    """What a reading computes its layers in."""
    return torch.autocast(images.device.type, torch.bfloat16, enabled=wanted.precision != "float32")


def prefix_of(backbone: nn.Module) -> tuple[int, bool]:
    """How many of a backbone's first tokens are no patches, and whether the first is a class token."""
    prefix = int(getattr(backbone, "num_prefix_tokens", 0))
    return prefix, prefix > 0 and bool(getattr(backbone, "has_class_token", True))


def _last(backbone: nn.Module, images: Tensor, wanted: LayerSpec) -> list[Tensor]:
    """The last blocks' tokens `b n d`, where the backbone gives them, else the last stages' maps `b c h w`."""
    if isinstance(backbone, TokenBackbone):
        found = backbone.tokens(images, wanted.last, wanted.norm)
    else:
        found = list(_named(backbone, "stages", images).values())[-wanted.last :]
        if found and not wanted.norm:
            raise UserError(f"norm=false: {_name(backbone)} has no norm behind its last layer. Leave it out.")
    if not found:
        raise UserError(
            f"layer={wanted.layer}: which layers of {_name(backbone)} are its last is not known, as it gives neither "
            f"tokens nor stages. {unknown('layer', wanted.layer, _known(backbone, images))}"
        )
    if len(found) < wanted.last:
        raise UserError(
            f"layer={wanted.layer}: {_name(backbone)} has {len(found)} blocks or stages. Expected {LAST}:{len(found)} "
            "or fewer."
        )
    return found


def _inside(backbone: nn.Module, images: Tensor, layer: str) -> Tensor:
    """One of the backbone's further outputs, or else of its stages, or of its modules, by its name."""
    for kind in ("outputs", "stages"):
        first = _named(backbone, kind, images[:1])
        if layer in first:
            return first[layer] if len(images) == 1 else _named(backbone, kind, images)[layer]
    modules = dict(backbone.named_modules())
    if not layer or layer not in modules:
        raise unknown("layer", layer, _known(backbone, images))
    outputs: list[Any] = []
    hook = modules[layer].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        backbone(images)
    finally:
        hook.remove()
    found = [each[0] if isinstance(each, tuple) and len(each) else each for each in outputs]
    if len(found) != 1 or not isinstance(found[0], Tensor):
        raise UserError(f"Layer '{layer}' gives {len(found)} output(s). Expected one tensor; name a module around it.")
    return found[0]


def _named(backbone: nn.Module, kind: str, images: Tensor) -> Mapping[str, Tensor]:
    """The backbone's further outputs or its stages; empty where it has none."""
    if kind == "outputs":
        return backbone.outputs(images) if isinstance(backbone, OutputBackbone) else {}
    stages: Any = getattr(backbone, "stages", None)
    return {} if stages is None or isinstance(stages, nn.Module) else stages(images)


def _known(backbone: nn.Module, images: Tensor) -> set[str]:
    """The names of layers that are there, modules down to some depth."""
    named = {name for kind in ("outputs", "stages") for name in _named(backbone, kind, images[:1])}
    modules = {name for name, _ in backbone.named_modules() if name and name.count(".") < LISTED}
    has_last = isinstance(backbone, TokenBackbone) or bool(_named(backbone, "stages", images[:1]))
    return {POOLED} | named | modules | ({LAST} if has_last else set())


def _name(backbone: nn.Module) -> str:
    architecture = getattr(backbone, "architecture", None)
    return architecture.name if architecture is not None else type(backbone).__name__


def _vectors(found: list[Tensor], wanted: FeatureSpec, prefix: int, has_class: bool) -> Float32[Tensor, "b d"]:
    """One vector an image, from maps `b c h w`, tokens `b n d` (the first `prefix` are no patches) or vectors."""
    with_class = wanted.pooling.startswith("token")
    for tensor in found:
        if tensor.ndim not in (2, 3, 4) or (with_class and not (tensor.ndim == 3 and has_class)):
            raise UserError(
                f"Layer '{wanted.layer}' gives {list(tensor.shape)} with {prefix} class and register token(s): "
                f"pooling={wanted.pooling} is not possible. Expected maps or vectors with mean or max, or tokens of "
                "which the first is a class token."
            )
    if not with_class:
        return torch.cat([_pooled(tensor, wanted.pooling, prefix) for tensor in found], 1)
    means = [_pooled(found[-1], "mean", prefix)] if wanted.pooling == "token+mean" else []
    return torch.cat([*(tensor[:, 0] for tensor in found), *means], 1)


def _pooled(tensor: Tensor, pooling: str, prefix: int) -> Float32[Tensor, "b d"]:
    if tensor.ndim == 2:
        return tensor
    places = tensor.flatten(2) if tensor.ndim == 4 else tensor[:, prefix:].transpose(1, 2)
    return places.mean(2) if pooling == "mean" else places.amax(2)
