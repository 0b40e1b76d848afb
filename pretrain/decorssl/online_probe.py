"""A linear classifier that learns beside a run, from the very features of its steps; the run does not know of it.

As in solo-learn and lightly: detached features, cross-entropy, no weight decay (docs/methods.md#monitoring).
"""

from typing import Any

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from decorssl.loop import Step, Training
from decorssl.views import View
from transferbench.optim import cosine

LR, MOMENTUM = 0.1, 0.9
NAME = "linear"
"""What it is called among a run's companions, and its accuracy in the run's lines."""


class OnlineProbe:
    """SGD from zero weights, at a rate of 0.1 that falls by a half cosine to 0 with the run; always in float32.

    It learns from the labeled images of each batch and from those views that are as large as the largest, as solo-learn
    does. With several processes each gives the gradient of its part, and all make the same step.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        classes, device = len(training.images.info.classes), training.runtime.device
        width = training.encoder.backbone.width
        self.weight = nn.Parameter(torch.zeros(classes, width, device=device))
        self.bias = nn.Parameter(torch.zeros(classes, device=device))
        self.optimizer = torch.optim.SGD([self.weight, self.bias], lr=LR, momentum=MOMENTUM)
        self.places = largest([training.recipe.views[i] for i in training.routes.student])

    def learn(self, step: Step) -> None:
        """One step of its own, after a step of the run."""
        assert step.labels is not None
        here = self.training.runtime
        x = torch.cat([step.features[i] for i in self.places]).float()
        labels = step.labels.to(x.device).repeat(len(self.places))
        count = here.total((labels >= 0).sum())
        loss = F.cross_entropy(self.logits(x), labels, ignore_index=-1, reduction="sum")
        gradients = torch.autograd.grad(loss, (self.weight, self.bias))
        for parameter, gradient in zip((self.weight, self.bias), gradients, strict=True):
            mean = here.total(gradient) / count.clamp(min=1)
            parameter.grad = mean.nan_to_num(0.0, 0.0, 0.0)  # a run that breaks is told so by its own loss
        self.optimizer.param_groups[0]["lr"] = LR * cosine(step.index - 1, self.training.total_steps, 0.0)
        self.optimizer.step()

    def logits(self, x: Float32[Tensor, "n width"]) -> Float[Tensor, "n classes"]:
        """Scores of the classes."""
        return F.linear(x, self.weight, self.bias)

    @torch.no_grad()
    def accuracy(self, features: Float32[Tensor, "n width"], labels: Int64[Tensor, "n"]) -> float:
        """Top-1 accuracy in percent."""
        predicted = self.logits(features.to(self.weight.device)).argmax(1).cpu()
        return 100 * (predicted == labels).double().mean().item()

    def state_dict(self) -> dict[str, Any]:
        """Weights and momentum."""
        return {"weight": self.weight.detach(), "bias": self.bias.detach(), "optimizer": self.optimizer.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: Any) -> None:
        """Go on from there."""
        self.weight.copy_(state["weight"])
        self.bias.copy_(state["bias"])
        self.optimizer.load_state_dict(state["optimizer"])


def largest(views: list[View]) -> list[int]:
    """The places of the views that are cropped to the largest side; of all where none has a crop."""
    sides = [view.side for view in views]
    return [i for i, side in enumerate(sides) if side == max(sides)]
