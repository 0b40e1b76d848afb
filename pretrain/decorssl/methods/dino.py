"""DINO: the student's softmax over prototypes matches the momentum teacher's, centered and sharpened, on other views.

L = - mean over the teacher's views a and the student's b != a of sum_k p_ak log q_bk, with
p = softmax((t - center) / tau_teacher) and q = softmax(s / tau_student), mean over the batch.

Caron et al., *Emerging Properties in Self-Supervised Vision Transformers*, arXiv 2104.14294. Source:
docs/methods.md#dino (ran lightly). The projector is the head's first layers, to a bottleneck (256 in the paper).
"""

import copy

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear, log_softmax, normalize, softmax

from decorssl.methods import Context, Outputs, Routes, any_batch, every_view
from transferbench.optim import cosine
from transferbench.settings import Settings


class Config(Settings):
    """DINO's settings."""

    prototypes: int = Field(65536, ge=2, description="outputs of the head's last layer")
    frozen_epochs: int = Field(1, ge=0, description="epochs in which the last layer is frozen at its initial value")
    student_temperature: float = Field(0.1, gt=0, description="student temperature")
    teacher_temperature: float = Field(0.07, gt=0, description="teacher temperature after the warm-up")
    first_teacher_temperature: float = Field(
        0.04, gt=0, description="teacher temperature in the first epoch; rises linearly"
    )
    warmup_epochs: int = Field(30, ge=0, description="warm-up epochs of the teacher temperature")
    centre_momentum: float = Field(0.9, ge=0, le=1, description="momentum of the center")
    momentum: float = Field(0.996, ge=0, le=1, description="initial momentum; rises to 1 along half a cosine, by step")


check = any_batch


class Prototypes(nn.Linear):
    """The head's last layer: unit embeddings against unit rows (weight normalization with the gain fixed at 1)."""

    def __init__(self, dim: int, count: int) -> None:
        super().__init__(dim, count, bias=False)

    def forward(self, input: Float[Tensor, "n d"], frozen: bool = False) -> Float[Tensor, "n k"]:
        """Cosines of embeddings with every row; `frozen` rows take no gradient."""
        weight = self.weight.detach() if frozen else self.weight
        return linear(normalize(input, dim=1), normalize(weight, dim=1))


class Center(nn.Module):
    """The moving mean of the teacher's outputs."""

    value: Float[Tensor, " k"]

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(count))


def routes(config: Config, views: int) -> Routes:
    """The student sees all views, the teacher the first two, which are the global crops."""
    return Routes(every_view(config, views).student, (0, 1))


def modules(dim: int, config: Config) -> nn.ModuleDict:
    """The last layer, its momentum copy, and the center."""
    prototypes = Prototypes(dim, config.prototypes)
    followed = copy.deepcopy(prototypes).requires_grad_(False)
    return nn.ModuleDict({"student": prototypes, "teacher": followed, "centre": Center(config.prototypes)})


def momentum(context: Context) -> float:
    """1 - (1 - m0) (cos(pi progress) + 1) / 2 by step."""
    config: Config = context.config
    return 1 - (1 - config.momentum) * cosine(context.step, context.total_steps)


def teacher_temperature(epoch: int, config: Config) -> float:
    """Linear from the first epoch's to the last's within the warm-up, then constant."""
    share = min(1.0, epoch / max(1, config.warmup_epochs - 1)) if config.warmup_epochs else 1.0
    return config.first_teacher_temperature + share * (config.teacher_temperature - config.first_teacher_temperature)


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Cross-entropy of the student with the teacher over all pairs of different views and the global batch."""
    config: Config = context.config
    frozen, center = context.epoch < config.frozen_epochs, context.modules["centre"].value
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        taught = [context.modules["teacher"](context.gather(z)) - center for z in outputs.teacher]
        targets = [softmax(t / teacher_temperature(context.epoch, config), dim=1) for t in taught]
        seen = [context.modules["student"](context.gather(z), frozen) for z in outputs.student]
        predictions = [log_softmax(s / config.student_temperature, dim=1) for s in seen]
        pairs = [(t, s) for i, t in enumerate(targets) for j, s in enumerate(predictions) if i != j]
        return {"loss": -torch.stack([(t * s).sum(1).mean() for t, s in pairs]).mean()}


def after_step(outputs: Outputs, context: Context) -> None:
    """The center moves towards the mean of what the teacher gave, then the teacher's last layer to the student's."""
    student, teacher, center = (context.modules[name] for name in ("student", "teacher", "centre"))
    assert isinstance(student, Prototypes)
    assert isinstance(teacher, Prototypes)
    assert isinstance(center, Center)
    taught = torch.cat([teacher(context.gather(z)) for z in outputs.teacher])
    center.value.lerp_(taught.mean(0), 1 - context.config.centre_momentum)
    teacher.weight.lerp_(student.weight, 1 - momentum(context))
