"""Every method keeps the promises of `decorssl.methods.Method`; the folder says which there are."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from decorssl.loop import Training
from decorssl.methods import METHODS, Context, Outputs, needs_features
from decorssl.recipe import Recipe, read
from transferbench import state
from transferbench.data import DatasetInfo, LabeledImages
from transferbench.runtime import Runtime, seeded
from transferbench.settings import Settings

aten = torch.ops.aten

FITTING = {
    "batchnorm": {"w_size": 16},
    "byol": {"predictor_hidden": 64},
    "cwrgp": {"w_size": 8, "groups": 2},
    "dino": {"prototypes": 64, "frozen_epochs": 0},
    "lejepa": {"directions": 300},
    "matrix_ssl": {"predictor_hidden": 16},
    "mec": {"predictor_hidden": 16},
    "mocov2": {"queue": 64},
    "pca": {"w_size": 16},
    "resa": {"predictor_hidden": 16},
    "simsiam": {"predictor_hidden": 16},
    "swav": {"prototypes": 64, "frozen_epochs": 0, "queue": 16, "queue_from_epoch": 0},
    "visreg": {"directions": 300},
    "wmse": {"w_size": 16, "eps": 0.1},
    "zca": {"w_size": 16, "eps": 0.1},
}
"""What the few methods that cut up batch or embedding need for 16 images and 32 channels."""

CHANNELS = {"pca": 8}
"""The methods that cannot do with so few images for 32 channels."""


def recipe(method: str) -> Recipe:
    changed = [f"settings={FITTING.get(method, {})}", f"method={method}", "epochs=2", "batch_size=16"]
    small = ["backbone.arguments.depth=10", "backbone.arguments.width=0.125", "precision=float32"]
    projector = f"projector={{layers: 2, hidden: 32, output: {CHANNELS.get(method, 32)}}}"
    return read("intl-digits", [*changed, *small, projector])


def training(name: str, kind: str = "sgd") -> Training:
    """With the optimizers' operations on all tensors at once, which they choose on a GPU by themselves."""
    chosen = recipe(name)
    chosen = chosen.model_copy(update={"optim": chosen.optim.model_copy(update={"kind": kind})})
    run = Training(chosen, images(), Runtime(torch.device("cpu")), way="batched")
    for group in run.optimizer.param_groups:
        group["foreach"] = True
    return run


def images() -> LabeledImages:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(32, dtype=np.int64) % 2
    info = DatasetInfo("noise", ("a", "b"), ("train", "test"), 32, "1")
    return LabeledImages(info, "train", labels, lambda i: Image.fromarray(pixels[i]), [str(i) for i in range(32)], "x")


@pytest.mark.parametrize("name", METHODS.names())
def test_a_method_has_settings_with_defaults_and_says_what_it_is(name: str) -> None:
    method = METHODS.load(name)
    assert issubclass(method.Config, Settings)
    method.Config()
    assert METHODS.summary(name).endswith(".")
    assert re.search(r"docs/methods\.md#[\w-]+|arXiv \d{4}\.\d{5}|checked against", method.__doc__ or "")


class Questions(TorchDispatchMode):
    """Counts the operations that make the program wait for its device."""

    WAITING = (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2, aten.equal)

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket in self.WAITING
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Run:
    begin: Tensor
    """A weight of the backbone before the first step."""
    losses: list[float]
    questions: int
    """Asked in the last step."""
    ended: Training


@cache
def unbroken(name: str, kind: str = "sgd") -> Run:
    run = training(name, kind)
    begin = run.encoder.backbone.state_dict()["layer4.0.conv1.weight"].clone()
    steps = run.steps()
    losses = [next(steps).terms["loss"].item() for _ in range(run.total_steps - 1)]
    with Questions() as questions:
        last = next(steps)
    assert not list(steps)
    return Run(begin, [*losses, last.terms["loss"].item()], questions.count, run)


@pytest.mark.parametrize("name", METHODS.names())
def test_a_method_trains_through_the_loop(name: str) -> None:
    run = unbroken(name)
    assert len(run.losses) == 4
    assert np.isfinite(run.losses).all()
    assert not torch.equal(run.begin, run.ended.encoder.backbone.state_dict()["layer4.0.conv1.weight"])


@pytest.mark.parametrize("name", METHODS.names())
def test_a_run_gone_on_with_from_a_file_ends_as_the_unbroken_one(name: str, tmp_path: Path) -> None:
    first, second = training(name), training(name)
    for step in first.steps():
        if step.index == 2:
            state.save(tmp_path / "state.safetensors", first.state())
            break
    second.restore(state.load(tmp_path / "state.safetensors"))
    for _ in second.steps():
        pass
    ends = [
        {**run.learner.state_dict(), **(run.teacher.state_dict() if run.teacher else {})}
        for run in (unbroken(name).ended, second)
    ]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


FACTORIZATIONS = {"cwrgp": 1, "dbn": 2, "pca": 1, "st": 2, "wmse": 2, "zca": 1}
"""How often methods that factor matrices must know, within a step, whether one could be factored."""


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "sgd") for name in METHODS.names()),
        *(pytest.param(name, "lars", marks=[] if name == "swav" else pytest.mark.slow) for name in METHODS.names()),
    ],
)
def test_a_step_never_waits_for_its_device_but_to_know_whether_a_matrix_could_be_factored(name: str, kind: str) -> None:
    assert unbroken(name, kind).questions == FACTORIZATIONS.get(name, 0)


def evaluated(name: str, gather: Callable[[Tensor], Tensor] = lambda z: z) -> Tensor:
    """The loss of two fixed views, under one seed."""
    method, dim = METHODS.load(name), CHANNELS.get(name, 32)
    config = method.Config(**FITTING.get(name, {}))
    views = tuple(torch.randn(32, dim, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    routes = method.routes(config, 2)
    seen = [tuple(views[i] for i in part) for part in (routes.student, routes.teacher)]
    features = [tuple(z.square() for z in part) for part in seen] if needs_features(method) else []
    outputs = Outputs(*seen, *features)
    with seeded(7):
        modules = method.modules(dim, config)
    context = Context(config, 0, 1, 0, 1, torch.Generator().manual_seed(0), gather, modules)
    return method.loss(outputs, context)["loss"]


@pytest.mark.parametrize("name", METHODS.names())
def test_a_loss_is_a_function_of_embeddings_modules_and_the_given_generator(name: str) -> None:
    torch.manual_seed(1)
    first = evaluated(name)
    torch.manual_seed(2)
    assert torch.equal(evaluated(name), first)


@pytest.mark.parametrize("name", METHODS.names())
def test_a_method_says_whether_its_loss_is_over_the_images_of_one_process(name: str) -> None:
    gathered: list[Tensor] = []

    def gather(z: Tensor) -> Tensor:
        gathered.append(z)
        return z

    evaluated(name, gather)
    assert getattr(METHODS.load(name), "PER_PROCESS", False) == (not gathered)


@pytest.mark.parametrize("name", METHODS.names())
def test_a_loss_is_float32_whatever_the_autocast(name: str) -> None:
    value = evaluated(name)
    with torch.autocast("cpu", torch.bfloat16):
        under = evaluated(name)
    assert value.dtype == torch.float32
    assert torch.equal(value, under)
