"""What is trained: a backbone, its projector, and the whitening between them where there is one."""

import torch
from torch import Tensor, nn

from decorssl.heads import projector
from decorssl.output_whitening import OutputWhitening
from decorssl.recipe import Recipe
from transferbench import backbones
from transferbench.backbones import Backbone
from transferbench.backbones.resnet import zero_last_norms
from transferbench.backbones.whitened import behind
from transferbench.runtime import seeded


class Encoder(nn.Module):
    """Backbone, whitening of its features where the recipe has it, and projector.

    Views go through the backbone one at a time where it has batch statistics, which are per view as in the published
    code; else those of one size go together. The projector takes one view at a time, or all at once where the recipe
    says so. Whitening is of one view. Source: docs/methods.md#projectors.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.backbone = backbones.build(recipe.backbone, recipe.seed)
        if recipe.zero_init_residual:
            zero_last_norms(self.backbone)
        width = self.backbone.width
        self.whitening = OutputWhitening(width, recipe.whitening) if recipe.whitening else None
        with seeded(recipe.seed):
            self.projector = projector(self.backbone.width, recipe.projector)
        self.joined = recipe.projector.statistics == "views"
        self.apart = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.backbone.modules())

    def forward(self, views: list[Tensor]) -> list[Tensor]:
        """One embedding `n d` for each view `n 3 h w`."""
        return self.project(self.whitened(self.features(views)))

    def features(self, views: list[Tensor]) -> list[Tensor]:
        """What the backbone makes of each view `n 3 h w`: `n width`."""
        if self.apart:
            return [self.backbone(view) for view in views]
        features: dict[int, Tensor] = {}
        for shape in dict.fromkeys(view.shape for view in views):
            places = [i for i, view in enumerate(views) if view.shape == shape]
            parts = self.backbone(torch.cat([views[i] for i in places])).chunk(len(places))
            features.update(zip(places, parts, strict=True))
        return [features[i] for i in range(len(views))]

    def whitened(self, features: list[Tensor]) -> list[Tensor]:
        """What the backbone gives in the end, `n width`: each view's features whitened, or as they are."""
        return features if self.whitening is None else [self.whitening(x) for x in features]

    @property
    def judged(self) -> Backbone:
        """The backbone as it is judged and kept: whitening is one affine map behind it, of now."""
        return (
            self.backbone
            if self.whitening is None
            else behind(self.backbone, self.whitening.mean, self.whitening.matrix)
        )

    def project(self, features: list[Tensor]) -> list[Tensor]:
        """What the projector makes of each view's features, whitened where they are to be: `n d`."""
        if self.joined:
            return list(self.projector(torch.cat(features)).chunk(len(features)))
        return [self.projector(x) for x in features]
