"""A live module is who it is by what it computes: its weights, class and width are not enough."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transferbench.backbones import Architecture, Backbone, build
from transferbench.checkpoints import Candidate, digest
from transferbench.checkpoints.load import wrap
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError

PLACE = Preprocess(size=None, crop=8)
RESNET = Architecture(family="resnet", arguments={"depth": 10, "width": 0.125, "stem": "cifar"})


class Function(nn.Module):
    """A module without parameters."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


class Linear(nn.Module):
    """A layer of fixed weights, and then whatever is asked for."""

    def __init__(self, then: Callable[[Tensor], Tensor], width: int = 5) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)
        with torch.no_grad():
            self.layer.weight.copy_(torch.arange(3.0 * width).reshape(width, 3) / 8 - 1)
            self.layer.bias.fill_(0.25)
        self.then = then

    def forward(self, images: Tensor) -> Tensor:
        return self.then(self.layer(images.mean((2, 3))))


def who(module: nn.Module) -> str:
    return wrap(module, "mine", PLACE).digest


def same(x: Tensor) -> Tensor:
    return x


def halved(x: Tensor) -> Tensor:
    return x.bfloat16().float()


ALIKE = {
    "mean": lambda: Function(lambda x: x.mean((2, 3))),
    "maximum": lambda: Function(lambda x: x.amax((2, 3))),
    "a little more": lambda: Function(lambda x: x.mean((2, 3)) * 1.0001),
    "another channel": lambda: Function(lambda x: x.mean((2, 3))[:, [1, 0, 2]]),
    "wide": lambda: Function(lambda x: F.adaptive_avg_pool2d(x, 2).flatten(1)),
    "constant": lambda: Function(lambda x: x.mean((2, 3)) * 0),
    "the brightest": lambda: Function(lambda x: x.flatten(2).argmax(2)),
    "the darkest": lambda: Function(lambda x: x.flatten(2).argmin(2)),
    "linear": lambda: Linear(same),
    "squared": lambda: Linear(torch.square),
    "positive": lambda: Linear(torch.relu),
    "first three": lambda: Linear(lambda x: x[:, :3]),
    "repeated": lambda: Linear(lambda x: x.repeat(1, 2)),
    "in bfloat16": lambda: Linear(halved),
}


def test_modules_of_equal_weights_and_class_are_told_apart_by_what_they_compute() -> None:
    found = {name: who(make()) for name, make in ALIKE.items()}
    assert len(set(found.values())) == len(ALIKE)
    assert found == {name: who(make()) for name, make in ALIKE.items()}
    assert len({digest(ALIKE[name]().state_dict()) for name in ("linear", "squared", "positive")}) == 1


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Linear(same), "6a5dbfebaa82"),
        (lambda: Function(lambda x: F.gelu(x).flatten(1)[:, ::7].cumsum(1).tanh()), "95e692b3e7b0"),
    ],
    ids=["linear", "functions"],
)
def test_the_digest_is_the_same_on_every_processor(make: Callable[[], nn.Module], expected: str) -> None:
    candidate = wrap(make(), "mine", PLACE)
    assert candidate.report.assumed == []
    assert candidate.backbone.behavior.mark[:12] == expected  # pyright: ignore[reportAttributeAccessIssue]


def test_what_a_part_gives_counts_where_the_features_are_the_same() -> None:
    class Branch(Linear):
        def forward(self, images: Tensor) -> Tensor:
            features = super().forward(images)
            self.aside(features)
            return features

    modules = [Branch(same) for _ in range(2)]
    modules[0].aside, modules[1].aside = nn.ReLU(), nn.Threshold(0, 1)
    assert who(modules[0]) != who(modules[1])


def test_the_width_is_part_of_the_architecture() -> None:
    candidate = wrap(ALIKE["wide"](), "mine", PLACE)
    assert candidate.card.architecture.arguments["width"] == candidate.backbone.width == 12
    assert candidate.card.architecture.name.endswith("Function")


GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.dropout(x.mean((2, 3)), 0.5),
        lambda x: x.mean((2, 3)) + 1e-9 * torch.randn(len(x), 3),
        lambda x: x.mean((2, 3)) + torch.from_numpy(GENERATOR.normal(size=(len(x), 3))).to(x),
        lambda x: x.mean((2, 3)) if np.random.random() > 1e-6 else x.amax((2, 3)),
        lambda x: x.mean((2, 3)) if random.random() > 1e-6 else x.amax((2, 3)),
    ],
    ids=["dropout", "tiny noise", "its own generator", "seldom, by numpy", "seldom, by python"],
)
def test_a_module_that_is_random_is_another_one_each_time(function: Callable[[Tensor], Tensor]) -> None:
    state = torch.get_rng_state().tolist(), str(np.random.get_state())
    first, second = (wrap(Function(function), "mine", PLACE) for _ in range(2))
    assert not first.is_repeatable
    assert first.digest != second.digest
    assert "no feature is kept for another call" in first.report.assumed[0]
    assert (torch.get_rng_state().tolist(), str(np.random.get_state())) == state


def test_a_module_that_remembers_what_it_saw_is_not_repeatable_and_stays_as_it_was() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.ones(()))

        def forward(self, images: Tensor) -> Tensor:
            self.seen += 1
            return images.mean((2, 3)) * self.seen

    module = Counting()
    assert not wrap(module, "mine", PLACE).is_repeatable
    assert float(module.seen) == 1


def test_a_network_of_ours_is_who_its_weights_are_as_long_as_it_computes_what_its_family_does() -> None:
    whole = build(RESNET)
    candidate = wrap(whole, "mine", PLACE)
    assert candidate.backbone is whole
    assert candidate.digest == digest(whole.state_dict())
    assert candidate.card.architecture == whole.architecture

    class Other(type(whole)):
        pass

    def changed(how: str) -> Backbone:
        network = build(RESNET)
        stages = network.stages
        if how == "class":
            network.__class__ = Other
        elif how == "stages":
            network.stages = lambda images: {name: -found for name, found in stages(images).items()}
        elif how == "tokens":
            network.num_prefix_tokens = 1
        else:
            network.layer4.register_forward_hook(lambda part, given, found: found * 2)
        return network

    found: list[Candidate] = [wrap(changed(how), "mine", PLACE) for how in ("hook", "class", "stages", "tokens")]
    assert len({candidate.digest, *(each.digest for each in found)}) == 5
    assert {each.card.architecture.family for each in found} == {"module"}
    with torch.no_grad():
        assert set(found[1].backbone.eval().stages(torch.zeros(1, 3, 8, 8))) >= {"stem", "layer4"}


def test_a_module_that_cannot_be_run_is_refused_with_what_it_was_given() -> None:
    with pytest.raises(UserError, match=r"cannot be run on images \[.*3, 8, 8\]: RuntimeError.*preprocess="):
        wrap(nn.Sequential(nn.Flatten(), nn.Linear(5, 8)), "mine", PLACE)


def test_a_quantized_module_is_refused() -> None:
    class Quantized(nn.Module):
        def get_extra_state(self) -> object:
            return torch.qint8

        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3))

    with pytest.raises(UserError, match=r"state holds '_extra_state', a dtype.*quantized"):
        wrap(Quantized(), "mine", PLACE)


@pytest.mark.parametrize(
    "mixes", [lambda x: x - x.mean(0), lambda x: x.flip(0), lambda x: F.batch_norm(x, None, None, training=True)]
)
def test_a_module_whose_features_depend_on_other_images_is_told(mixes: Callable[[Tensor], Tensor]) -> None:
    with pytest.warns(UserWarning, match="mine: the features of an image depend on the others beside it"):
        found = wrap(Linear(lambda x: mixes(x) if len(x) > 1 else x), "mine", PLACE)
    assert found.is_repeatable
    assert "depend on the others" in found.report.assumed[-1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_module_of_another_precision_is_given_images_in_that(dtype: torch.dtype) -> None:
    images = torch.linspace(-1, 1, 3 * 3 * 64).reshape(3, 3, 8, 8)
    expected = wrap(Linear(same), "mine", PLACE).backbone(images)
    found = wrap(Linear(same).to(dtype), "mine", PLACE).backbone(images)
    torch.testing.assert_close(found.float(), expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("then", "said"),
    [(lambda x: x.to(torch.complex64), r"\[1, 5\] of torch.complex64 for 1 images"), (lambda x: x[:2], "for 3 images")],
)
def test_a_module_that_gives_no_row_of_real_numbers_for_each_image_is_refused(
    then: Callable[[Tensor], Tensor], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        wrap(Linear(then), "mine", PLACE)
