"""A training step on this CPU against the published formulation: INTL, ResNet-18 for CIFAR-10, views included.

    python benchmarks/step.py [BATCH]        # one thread; about three minutes at the default batch of 64

Plain is the published code's step: views by torchvision on PIL images, float32, the usual layout of memory,
`loss.item()`, SGD, INTL's loss as in `benchmarks/losses.py`. Ours is a step of `pretrain`: views by the way that
`auto` chooses, bfloat16 where the CPU has instructions for it, channels last. Both give every view its own batch
statistics. Steps alternate; medians of CPU time; the parts of each are told apart.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from losses import plain_intl
from torch import Tensor
from views import published, synthetic

from decorssl import recipe as recipes
from decorssl import view_pipeline
from decorssl.encoder import Encoder
from decorssl.loop import Training
from decorssl.passes import Prepare
from decorssl.recipe import Recipe
from decorssl.views import Views
from transferbench.data import LabeledImages
from transferbench.data.loading import Plan
from transferbench.runtime import Runtime

REPEATS = 7
CPU = torch.device("cpu")


def timed(run: Callable[[], object]) -> tuple[float, object]:
    before = time.process_time()
    result = run()
    return time.process_time() - before, result


class Plain:
    def __init__(self, recipe: Recipe, images: LabeledImages) -> None:
        self.images, self.encoder = images, Encoder(recipe).train()
        views = Views(recipe.views, recipe.preprocess)
        self.transforms = [published(view.operations, views) for view in recipe.views]
        optim = recipe.optim
        self.optimizer = torch.optim.SGD(
            self.encoder.parameters(), lr=1e-3, momentum=optim.momentum, weight_decay=optim.weight_decay
        )
        self.loss = plain_intl(recipe.config)

    def views(self) -> list[Tensor]:
        loaded = [self.images.image(i) for i in range(len(self.images))]
        return [torch.stack([transform(image) for image in loaded]) for transform in self.transforms]

    def step(self, views: list[Tensor]) -> float:
        loss = self.loss([self.encoder.projector(self.encoder.backbone(view)) for view in views])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


class Ours:
    """A step of `pretrain` on the first images, a batch of them."""

    def __init__(
        self,
        recipe: Recipe,
        images: LabeledImages,
        device: torch.device = CPU,
        prepare: Prepare = lambda network: network,
    ) -> None:
        self.training = Training(recipe, images, Runtime(device), prepare=prepare)
        self.training.learner.train()
        self.passes = self.training._passes()
        self.source = view_pipeline.supply(images, Views(recipe.views, recipe.preprocess), 0, device)
        self.plan = Plan(0, np.arange(recipe.batch_size))

    def views(self) -> object:
        return self.source.finish(self.source.make(self.plan))

    def step(self, batch: object) -> object:
        self.training._set_learning_rate()
        return self.training._update(self.passes, batch)


def main() -> None:
    torch.set_num_threads(1)
    batch = int(sys.argv[1]) if sys.argv[1:] else 64
    recipe = recipes.read("intl-cifar10", [f"batch_size={batch}"]).resolved(CPU)
    images = synthetic(batch, 32, 32)
    sides = {"plain": Plain(recipe, images), "ours": Ours(recipe, images)}
    spent = {(name, part): [] for name in sides for part in ("views", "step")}
    for repeat in range(REPEATS + 1):
        for name, side in sides.items():
            making, views = timed(side.views)
            stepping, _ = timed(lambda side=side, views=views: side.step(views))
            if repeat:  # the first is a warm-up
                spent[name, "views"].append(making)
                spent[name, "step"].append(stepping)
    each = {key: statistics.median(times) for key, times in spent.items()}
    print(f"INTL, ResNet-18 for CIFAR-10, batch {batch}, {recipe.precision}, seconds of CPU time, one thread")
    for part in ("views", "step"):
        plain, ours = each["plain", part], each["ours", part]
        print(f"{part:6} plain {plain:7.3f}  ours {ours:7.3f}  {plain / ours:5.2f}x")
    plain, ours = (sum(each[name, part] for part in ("views", "step")) for name in ("plain", "ours"))
    print(f"both   plain {plain:7.3f}  ours {ours:7.3f}  {plain / ours:5.2f}x")


if __name__ == "__main__":
    main()
