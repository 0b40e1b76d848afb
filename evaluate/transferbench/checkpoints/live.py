"""A network handed over as a live module: made to return one vector an image, and known by what it computes."""

import torch
from torch import Tensor, nn

from transferbench import backbones, settings
from transferbench.backbones import LIVE, Architecture, Backbone, OutputBackbone, TokenBackbone, _intermediates
from transferbench.checkpoints import digest
from transferbench.checkpoints.behavior import Behavior, computes_alike, observed
from transferbench.errors import UserError


class Live(Backbone):
    """Somebody's module, made to return `b d`. `behavior` is what it did when it was handed over."""

    behavior: Behavior

    def __init__(self, module: nn.Module, crop: int) -> None:
        super().__init__()
        self.module = module
        self.behavior = observed(self, crop)
        self.width = self.behavior.width
        self.num_prefix_tokens = _prefix(module)
        self.has_class_token = bool(getattr(module, "has_class_token", True))
        if isinstance(module, TokenBackbone) or _intermediates.offers(module):
            self.tokens = self._tokens
        if isinstance(module, OutputBackbone):
            self.outputs = self._outputs
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        self.architecture = Architecture(family=LIVE, arguments={"class": kind, "width": self.width})

    def forward(self, images: Tensor) -> Tensor:
        """Features, `b d`."""
        features = self.module(images.to(_precision(self.module) or images.dtype))
        if not isinstance(features, Tensor) or features.ndim not in (2, 4):
            found = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise UserError(
                f"The module should return features, [batch, width] or [batch, c, h, w]; it returned {found}."
            )
        if len(features) != len(images) or features.is_complex():
            raise UserError(
                f"The module returned {list(features.shape)} of {features.dtype} for {len(images)} images. Expected "
                "real features, one row an image."
            )
        return features.mean((2, 3)) if features.ndim == 4 else features

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """Those of a backbone; of any other module none are known."""
        return self.module.stages(images) if isinstance(self.module, Backbone) else {}

    def _tokens(self, images: Tensor, layers: int, normed: bool) -> list[Tensor]:
        """The module's own, or what it gives by timm's interface."""
        images = images.to(_precision(self.module) or images.dtype)
        if isinstance(self.module, TokenBackbone):
            return self.module.tokens(images, layers, normed)
        return _intermediates.tokens(self.module, images, layers, normed)

    def _outputs(self, images: Tensor) -> dict[str, Tensor]:
        assert isinstance(self.module, OutputBackbone)
        return self.module.outputs(images.to(_precision(self.module) or images.dtype))

    def digest(self) -> str:
        """Who the module is: its weights, its class, how many features it gives, and what it computes.

        Raises:
            UserError: when its state is not of tensors alone, as a quantized module's.
        """
        state = self.module.state_dict()
        odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
        if odd:
            raise UserError(
                f"The module's state holds '{odd[0]}', a {type(state[odd[0]]).__name__}. Expected tensors alone: a "
                "quantized module cannot be judged; hand over the one that it was made from."
            )
        known = {
            "prefix tokens": self.num_prefix_tokens,
            "weights": digest(state),
            "computes": self.behavior.mark,
            **self.architecture.arguments,
        }
        return settings.sha256(known)


def is_of_a_family(module: nn.Module, crop: int) -> bool:
    """Whether it is one of our networks in every part, and computes what that network does with these weights."""
    architecture = getattr(module, "architecture", None)
    if not isinstance(module, Backbone) or architecture is None or architecture.family == LIVE:
        return False
    like = backbones.build(architecture)
    states = [backbones.shapes(each.state_dict()) for each in (module, like)]
    if states[0] != states[1] or _kinds(module) != _kinds(like) or _prefix(module) != _prefix(like):
        return False
    like.load_state_dict(module.state_dict())
    first = next(module.parameters())
    return computes_alike(module, like.to(first.device, first.dtype), crop)


def _precision(module: nn.Module) -> torch.dtype | None:
    """The precision of all parameters, in which images are handed over; None where they have none in common."""
    found = {each.dtype for each in module.parameters() if each.is_floating_point()}
    return found.pop() if len(found) == 1 else None


def _prefix(module: nn.Module) -> int:
    """How many of its tokens are no patches, as ours and timm's modules say."""
    found = getattr(module, "num_prefix_tokens", 0)
    return found if isinstance(found, int) else 0


def _kinds(module: nn.Module) -> list[tuple[str, type]]:
    return [(name, type(part)) for name, part in module.named_modules()]
