"""What 800 epochs on ImageNet would take on 8 and on 64 GPUs: hours, bandwidth, storage. A model, not a measurement.

    python benchmarks/imagenet_plan.py                            # the published 800-epoch recipes of INTL
    python benchmarks/imagenet_plan.py cwrgp-imagenet dbn-imagenet

Counted here, of the recipe as it stands: parameters, and the multiplications of one image's views through network and
head. Taken from elsewhere: supervised ResNet-50 at 224 px trains at 2,600 images/s on an A100
(huggingface/pytorch-image-models#1491) and at 6,900 on an H100 (MLPerf 3.0, by division; 35 epochs assumed), so a
recipe of x times its multiplications goes at 1/x of that; decoding takes a core 1/1,675 s (simplejpeg, 500 x 375,
measured on an EPYC core). Assumed: 110 KB an image; 92 % of the rate is left on 8 GPUs of one machine and 85 % on 64 of
eight; a GPU sends 200 GB/s inside a machine, and 25 (A100) or 50 (H100) between machines; gradients go around a ring in
float32 during the backward pass, so a step takes the longer of computing and sending. What few images a GPU cost beyond
that is not in it, nor are the views' making.
"""

import sys
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from decorssl import recipe as recipes
from decorssl.encoder import Encoder
from decorssl.methods import METHODS
from decorssl.recipe import Recipe

IMAGES = 1_281_167
SUPERVISED = {"A100": 2600.0, "H100": 6900.0}
LEFT = {8: 0.92, 64: 0.85}
SENT = {("A100", 8): 200e9, ("H100", 8): 200e9, ("A100", 64): 25e9, ("H100", 64): 50e9}
LARGE = 4096
"""A batch that 64 GPUs are worth, beside the recipe's own."""
IMAGE_BYTES = 110e3
DECODED = 1675.0
EPOCHS = 800
PLAIN = 4.09e9
"""Multiplications of a ResNet-50 on one image of 224 px, forward."""


@dataclass(frozen=True)
class Cost:
    """One image and one step of a recipe: `products` of its views forward, `trained` of them backward too."""

    products: float
    trained: float
    parameters: int
    gathered: int
    """Bytes of embeddings an image of the batch brings to every process."""

    @property
    def ratio(self) -> float:
        """How much one image costs over one of supervised training."""
        return (self.products + 2 * self.trained) / (3 * PLAIN)


def cost(recipe: Recipe) -> Cost:
    encoder = Encoder(recipe).to("meta").eval()
    sizes = [next(o.size for o in view.operations if o.op == "crop") for view in recipe.views]
    each = {size: _products(encoder, size) for size in set(sizes)}
    routes = METHODS.load(recipe.method).routes(recipe.config, len(sizes))
    student = sum(each[sizes[i]] for i in routes.student)
    teacher = sum(each[sizes[i]] for i in routes.teacher or ())
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    seen = len(routes.student) + len(routes.teacher or ())
    return Cost(student + teacher, student, parameters, 4 * seen * recipe.projector.output)


def _products(encoder: Encoder, size: int) -> float:
    """Multiplications of one view, forward."""
    with FlopCounterMode(display=False) as counter:
        encoder([torch.empty(2, 3, size, size, device="meta")])
    return counter.get_total_flops() / 2 / 2


def line(name: str, found: Cost, batch: int, gpu: str, count: int) -> str:
    computing = batch * found.ratio / (SUPERVISED[gpu] * count * LEFT[count])
    sent = 2 * (count - 1) / count * 4 * found.parameters
    seconds = max(computing, sent / SENT[gpu, count])
    rate, nodes = batch / seconds, count // 8
    hours = IMAGES * EPOCHS / rate / 3600
    cells = (
        name, str(batch), f"{count} {gpu}", f"{rate:,.0f}", f"{computing / seconds:.0%}", f"{hours:,.0f}",
        f"{hours * count:,.0f}", f"{sent / computing / 1e9:,.0f}", f"{found.gathered * batch / seconds / 1e9:.1f}",
        f"{rate * IMAGE_BYTES / 1e6 / nodes:,.0f}", f"{rate / DECODED / nodes:.1f}",
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main(names: list[str]) -> None:
    heads = (
        "recipe", "batch", "GPUs", "images/s", "of the time computing", "hours", "GPU-hours",
        "gradients, GB/s a GPU for 100 %", "embeddings, GB/s a GPU", "reading, MB/s a node", "decoding cores a node",
    )  # fmt: skip
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    costs = {name: (recipes.read(name), cost(recipes.read(name))) for name in names}
    for name, (recipe, found) in costs.items():
        for gpu in SUPERVISED:
            for count, batch in ((8, recipe.batch_size), (64, recipe.batch_size), (64, LARGE)):
                print(line(name, found, batch, gpu, count))
    print(f"\n{IMAGES:,} images, {IMAGES * IMAGE_BYTES / 1e9:.0f} GB as JPEG, read {EPOCHS} times.")
    for name, (recipe, found) in costs.items():
        state, steps = 8 * found.parameters / 1e6, IMAGES // recipe.batch_size * EPOCHS
        print(
            f"{name}: an image costs {found.ratio:.2f} of supervised training; {found.parameters / 1e6:.0f} M "
            f"parameters; a state (weights and momentum) {state:,.0f} MB; {steps:,} steps of {recipe.batch_size}."
        )


if __name__ == "__main__":
    main(sys.argv[1:] or ["intl-imagenet", "intl_m-imagenet-800ep"])
