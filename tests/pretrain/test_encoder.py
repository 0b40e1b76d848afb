"""Views go through the backbone together only where that changes nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor

from decorssl.encoder import Encoder
from decorssl.recipe import Recipe
from transferbench.backbones import Architecture

VIT = Architecture(family="vit", arguments={"image_size": 16, "patch_size": 8, "dim": 24, "depth": 2, "heads": 2})
SIZES = (16, 16, 8, 16, 8)


def views() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(6, 3, size, size, generator=generator) for size in SIZES]


def calls(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that the backbone is called with."""
    seen, forward = list[tuple[int, ...]](), encoder.backbone.forward

    def noted(images: Tensor, *rest: Any) -> Tensor:
        seen.append(tuple(images.shape))
        return forward(images, *rest)

    monkeypatch.setattr(encoder.backbone, "forward", noted)
    return seen


def test_without_batch_statistics_views_of_one_size_go_together_and_come_back_in_their_order(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder(recipe.model_copy(update={"backbone": VIT})).double()
    each = [view.double() for view in views()]
    expected = [encoder.projector(encoder.backbone(view)) for view in each]
    seen = calls(encoder, monkeypatch)
    found = encoder(each)
    assert seen == [(18, 3, 16, 16), (12, 3, 8, 8)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_batch_statistics_are_of_one_view(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(recipe).train()
    seen = calls(encoder, monkeypatch)
    encoder(views())
    assert seen == [(6, 3, size, size) for size in SIZES]
