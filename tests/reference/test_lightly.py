"""The baselines against the losses, gradients and updates of lightly (MIT), which golden/make_lightly.py wrote down."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from decorssl.methods import METHODS, Context, Outputs

GOLDEN = Path(__file__).parent / "golden"
LOSSES: dict[str, float] = json.loads((GOLDEN / "index_lightly.json").read_text())["loss"]
Build = Callable[..., Context]

SETTINGS: dict[str, dict[str, Any]] = {
    "simclr": {"temperature": 0.5},
    "mocov2": {"queue": 24, "temperature": 0.2},
    "byol": {"predictor_hidden": 32},
    "simsiam": {"predictor_hidden": 8},
    "swav": {"prototypes": 24, "frozen_epochs": 0},
    "swav_queue": {"prototypes": 24, "frozen_epochs": 0, "queue": 32},
    "dino": {"prototypes": 24, "frozen_epochs": 0, "warmup_epochs": 5},
}


class Golden:
    """The tensors of one file by name: `view`, `target`, `grad` ..."""

    def __init__(self, name: str) -> None:
        self.arrays = np.load(GOLDEN / f"lightly_{name}.npz")

    def __getitem__(self, name: str) -> list[Tensor]:
        keys = [key for key in self.arrays.files if key.rstrip("0123456789") == name]
        return [torch.from_numpy(self.arrays[key]) for key in sorted(keys)]


def filled(name: str, golden: Golden) -> tuple[Any, nn.ModuleDict]:
    """A method's settings and its own networks, holding lightly's weights."""
    method = METHODS.load(name.removesuffix("_queue"))
    config = method.Config(**SETTINGS[name])
    modules = method.modules(16, config).double()
    weights: Iterator[Tensor] = iter(golden["weight"])
    for key, parameter in modules.named_parameters():
        bias_in_front_of_norm = name == "byol" and key == "predictor.0.bias"
        parameter.data = torch.zeros_like(parameter) if bias_in_front_of_norm else next(weights)
    for queue, rows in zip([key for key in modules if key.startswith("queue")], golden["queue"], strict=False):
        modules[queue].load_state_dict({"rows": rows, "pushed": torch.tensor(len(rows))})
    if name == "dino":
        modules["centre"].load_state_dict({"value": golden["centre"][0]})
    return config, modules


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradients_equal_lightly(name: str, context: Build) -> None:
    golden = Golden(name)
    config, modules = filled(name, golden)
    views = tuple(view.requires_grad_() for view in golden["view"])
    outputs = Outputs(views, tuple(golden["key"] or golden["target"]))
    value = METHODS.load(name.removesuffix("_queue")).loss(outputs, context(config, modules, epoch=2))["loss"]
    value.backward()
    # BYOL here sums both directions' 2 - 2 cosine, where lightly's user averages -cosine.
    scale, shift = (4, 4) if name == "byol" else (1, 0)
    tolerance = 1e-8 if name == "dino" else 1e-10
    assert value.item() == pytest.approx(scale * LOSSES[name] + shift, rel=tolerance)
    trained = [p for key, p in modules.named_parameters() if p.requires_grad and key != "predictor.0.bias"]
    got = [*views, *trained]
    for parameter, expected in zip(got, golden["grad"] + golden["weight_grad"], strict=True):
        assert parameter.grad is not None
        assert (parameter.grad - scale * expected).norm() <= tolerance * scale * expected.norm()


def test_the_center_moves_as_lightly_moves_it(context: Build) -> None:
    golden = Golden("dino")
    config, modules = filled("dino", golden)
    outputs = Outputs(tuple(golden["view"]), tuple(golden["key"]))
    with torch.no_grad():
        METHODS.load("dino").after_step(outputs, context(config, modules))
    torch.testing.assert_close(modules["centre"].value, golden["centre"][1])
