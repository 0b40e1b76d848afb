"""Heads trained side by side are what plain torch makes of each alone, in float64."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from transferbench.data.label_maps import UNCOUNTED
from transferbench.segmentation import batched_heads
from transferbench.segmentation.batched_heads import HeadRecipe, Heads, Targets, without_channels

CLASSES, WIDTH, RATES = 4, 6, (0.003, 0.05, 0.2)


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    maps = torch.randn(3, WIDTH, 4, 5, generator=draw, dtype=torch.float64) * 3 + 1
    labels = torch.randint(UNCOUNTED, CLASSES, (3, 9, 11), generator=draw)
    return maps, labels


def together(recipe: HeadRecipe) -> Heads:
    heads = Heads.first(recipe, len(RATES), CLASSES, WIDTH, 0, torch.device("cpu"))
    for name in ("weight", "bias", "gamma", "beta", "mean", "variance"):
        setattr(heads, name, getattr(heads, name).double())
    heads.moments = [[each.double() for each in group] for group in heads.moments]
    return heads


class Alone(nn.Module):
    """One head as its papers' code has it: batch norm, then a 1x1 convolution, then bilinear enlarging."""

    def __init__(self, recipe: HeadRecipe, start: Heads) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(WIDTH).double() if recipe.batch_norm else nn.Identity()
        self.linear = nn.Conv2d(WIDTH, CLASSES, 1).double()
        self.linear.weight.data = start.weight[0, :, :, None, None].clone()
        nn.init.zeros_(self.linear.bias)
        self.recipe = recipe

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(maps))

    def loss(self, maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = self(maps)
        if self.recipe.trained_at == "pixels":
            logits = F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)
        each = F.cross_entropy(logits, labels, ignore_index=UNCOUNTED, reduction="none")
        return each.sum() / ((labels != UNCOUNTED).sum() if self.recipe.loss_over == "counted" else labels.numel())


RECIPES = [
    HeadRecipe(optimizer=optimizer, batch_norm=norm, loss_over=over, trained_at=at, weight_decay=0.02)
    for optimizer, norm, over, at in itertools.product(
        ("adamw", "sgd"), (True, False), ("counted", "all"), ("pixels", "places")
    )
]


@pytest.mark.parametrize("few", [1, 1 << 24], ids=["an image at a time", "all at once"])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: f"{r.optimizer}-{r.batch_norm}-{r.loss_over}-{r.trained_at}")
def test_each_head_becomes_what_it_becomes_alone(recipe: HeadRecipe, few: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batched_heads, "AT_ONCE", few)
    heads = together(recipe)
    alone = [Alone(recipe, heads) for _ in RATES]
    kinds = {
        "adamw": lambda p, lr: torch.optim.AdamW(p, lr, weight_decay=recipe.weight_decay),
        "sgd": lambda p, lr: torch.optim.SGD(p, lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay),
    }
    optimizers = [kinds[recipe.optimizer](one.parameters(), lr) for one, lr in zip(alone, RATES, strict=True)]
    for step in range(4):
        maps, labels = batch(step)
        labels = labels if recipe.trained_at == "pixels" else labels[:, :4, :5]
        factor = 1 - step / 4
        targets = Targets.of(labels, recipe, lambda x: x)
        losses = heads.step(maps, targets, [lr * factor for lr in RATES])
        for i, (one, optimizer) in enumerate(zip(alone, optimizers, strict=True)):
            optimizer.param_groups[0]["lr"] = RATES[i] * factor
            loss = one.loss(maps, labels)
            torch.testing.assert_close(losses[i], loss.detach(), atol=1e-10, rtol=1e-10)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    maps = batch(9)[0]
    for i, one in enumerate(alone):
        with torch.no_grad():
            expected = one.eval()(maps)
        torch.testing.assert_close(heads.logits(maps, i), expected, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(heads.only(i).logits(maps, 0), expected, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(heads.logits(maps, i, slice(1, 3)), expected[:, 1:3], atol=1e-8, rtol=1e-8)


def test_processes_that_share_a_batch_make_the_same_head():
    """Sums over processes are taken by hand: each call of `total` adds up what all of them bring."""
    recipe = HeadRecipe()
    maps, labels = batch(0)
    whole = together(recipe)
    whole.step(maps, Targets.of(labels, recipe, lambda x: x), RATES)
    brought: list[list[torch.Tensor]] = []
    for _ in range(8):  # until every sum that a process asks for is known
        asked = []
        for rank in range(2):
            calls, heads = [], together(recipe)

            def total(x: torch.Tensor, calls=calls) -> torch.Tensor:
                calls.append(x)
                return brought[len(calls) - 1][0] if len(calls) <= len(brought) else x

            targets = Targets.of(labels[rank::2], recipe, total)
            heads.step(maps[rank::2], targets, RATES)
            asked.append((calls, heads))
        if len(brought) == len(asked[0][0]):
            break
        at = len(brought)
        brought.append([asked[0][0][at] + asked[1][0][at]])
    for _, heads in asked:
        for own, expected in zip(heads.parameters, whole.parameters, strict=True):
            torch.testing.assert_close(own, expected, atol=1e-9, rtol=1e-9)


def test_channels_are_left_out_of_whole_maps_and_the_others_grow():
    recipe, maps = HeadRecipe(dropout=0.5), torch.ones(400, 20, 2, 3)
    found = without_channels(maps, recipe, seed=3)
    assert set(found.unique().tolist()) == {0.0, 2.0}
    assert (found == found[:, :, :1, :1]).all()
    assert abs(float((found == 0).float().mean()) - 0.5) < 0.02
    assert torch.equal(found, without_channels(maps, recipe, seed=3))
    parts = [without_channels(maps[rank::2], recipe, 3, (rank, 2)) for rank in range(2)]
    assert torch.equal(torch.stack(parts, 1).flatten(0, 1), found)
    assert without_channels(maps, HeadRecipe(), seed=3) is maps


def test_a_state_that_is_taken_up_goes_on_as_if_never_left():
    recipe = HeadRecipe()
    heads, again = (Heads.first(recipe, 3, CLASSES, WIDTH, 0, torch.device("cpu")) for _ in range(2))
    maps, labels = batch(0)
    heads.step(maps.float(), Targets.of(labels, recipe, lambda x: x), RATES)
    assert heads.digest() != again.digest()
    again.restore(heads.state())
    for each in (heads, again):
        each.step(maps.float(), Targets.of(labels, recipe, lambda x: x), RATES)
    assert heads.digest() == again.digest()
