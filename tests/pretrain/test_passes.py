"""A batch in parts has the gradient of the whole batch's loss."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from decorssl.encoder import Encoder
from decorssl.loop import Training
from decorssl.methods import METHODS, Context, Outputs
from decorssl.passes import GradCache, Whole
from decorssl.recipe import Recipe
from transferbench.backbones import Architecture
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime

Images = Callable[..., LabeledImages]
ONE = Runtime(torch.device("cpu"))
VIT = Architecture(family="vit", arguments={"image_size": 16, "patch_size": 8, "dim": 24, "depth": 2, "heads": 2})
LOSSES = {"intl": {}, "cwrgp": {"w_size": 4, "groups": 2}, "dbn": {"groups": 8}, "vicreg": {}}


def exact() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=False)


def views(count: int = 12) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, 3, 16, 16, generator=generator, dtype=torch.float64) for _ in range(2)]


def loss(method: str, embeddings: list[Tensor]) -> Tensor:
    chosen = METHODS.load(method)
    config = chosen.Config(**LOSSES[method])
    draws = torch.Generator().manual_seed(3)
    context = Context(config, 0, 1, 0, 1, draws, lambda z: z, torch.nn.ModuleDict())
    return chosen.loss(Outputs(tuple(embeddings)), context)["loss"]


def gradients(encoder: Encoder) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    scale = max(float(g.norm()) for g in expected.values())
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-9 * scale, name


@pytest.mark.parametrize("method", LOSSES)
def test_without_batch_statistics_parts_have_the_gradient_of_the_whole(method: str, recipe: Recipe) -> None:
    encoder = Encoder(recipe.model_copy(update={"backbone": VIT})).double().train()
    whole = Whole(encoder, ONE, exact, lambda network: network)
    whole.backward(loss(method, whole.forward(views())))
    expected = gradients(encoder)
    encoder.zero_grad(set_to_none=True)
    parts = GradCache(encoder, 4, exact, lambda network: network)
    parts.backward(loss(method, parts.forward(views())))
    assert_equal(gradients(encoder), expected)


@pytest.mark.parametrize("method", LOSSES)
def test_batch_statistics_are_of_a_part_and_all_else_is_of_the_batch(method: str, recipe: Recipe) -> None:
    """Against the same computation with everything kept: parts of a view by themselves, one loss, one backward pass."""
    encoder, other = Encoder(recipe).double().train(), Encoder(recipe).double().train()
    features = [torch.cat([other.backbone(part) for part in view.split(4)]) for view in views()]
    expected = loss(method, [other.projector(each) for each in features])
    expected.backward()
    parts = GradCache(encoder, 4, exact, lambda network: network)
    found = loss(method, parts.forward(views()))
    parts.backward(found)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert_equal(gradients(encoder), gradients(other))
    for (name, buffer), kept in zip(encoder.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(buffer, kept), name


def test_the_second_run_has_the_precision_of_the_first(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def half() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16)

    encoder = Encoder(recipe).train()
    seen, normalize = list[torch.dtype](), torch.nn.functional.batch_norm

    def noted(x: Tensor, *rest: Any, **named: Any) -> Tensor:
        seen.append(x.dtype)
        return normalize(x, *rest, **named)

    monkeypatch.setattr(torch.nn.functional, "batch_norm", noted)
    parts = GradCache(encoder, 4, half, lambda network: network)
    parts.backward(loss("vicreg", parts.forward([view.float() for view in views()])))
    assert len(seen) > 12
    assert set(seen) == {torch.bfloat16}


def test_parts_are_of_the_global_batch(recipe: Recipe, tiny_images: Images) -> None:
    changed = recipe.model_copy(update={"micro_batch_size": 4})
    passes = Training(changed, tiny_images(20), Runtime(torch.device("cpu"), 0, 2))._passes()
    assert isinstance(passes, GradCache)
    assert passes.size == 2


def test_activations_are_kept_of_one_part_at_a_time(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(recipe).double().train()
    seen, forward = list[tuple[int, bool]](), encoder.backbone.forward

    def noted(images: Tensor) -> Tensor:
        seen.append((len(images), torch.is_grad_enabled()))
        return forward(images)

    monkeypatch.setattr(encoder.backbone, "forward", noted)
    parts = GradCache(encoder, 4, exact, lambda network: network)
    parts.backward(loss("intl", parts.forward(views())))
    assert seen == [(4, False)] * 6 + [(4, True)] * 6


def trained(recipe: Recipe, images: LabeledImages) -> Training:
    training = Training(recipe, images, ONE)
    for _ in training.steps():
        pass
    return training


@pytest.mark.parametrize("method", ["intl", "byol", "mocov2"])
def test_a_run_in_parts_ends_where_the_whole_one_does(method: str, recipe: Recipe, tiny_images: Images) -> None:
    """With a teacher too; without batch statistics in the backbone, up to rounding."""
    settings: dict[str, Any] = {"byol": {"predictor_hidden": 16}, "mocov2": {"queue": 12}}.get(method, {})
    config = METHODS.load(method).Config(**settings).model_dump(mode="json")
    changed = {"backbone": VIT, "method": method, "settings": config, "seed": 1}
    whole = recipe.model_copy(update=changed)
    first, second = (
        trained(each, tiny_images(20)) for each in (whole, whole.model_copy(update={"micro_batch_size": 4}))
    )
    for (name, found), expected in zip(
        second.learner.state_dict().items(), first.learner.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4, msg=name)
    if first.teacher:
        for found, expected in zip(second.teacher.parameters(), first.teacher.parameters(), strict=True):  # pyright: ignore[reportOptionalMemberAccess]
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_teacher_sees_parts_of_the_same_size(
    recipe: Recipe, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {"method": "byol", "settings": {"predictor_hidden": 16}, "micro_batch_size": 4}
    training = Training(recipe.model_copy(update=changed), tiny_images(20), ONE)
    assert training.teacher
    seen, forward = list[int](), training.teacher.backbone.forward

    def noted(images: Tensor) -> Tensor:
        seen.append(len(images))
        return forward(images)

    monkeypatch.setattr(training.teacher.backbone, "forward", noted)
    next(training.steps())
    assert seen == [4] * 4


@pytest.mark.parametrize(
    ("size", "processes", "message"),
    [(3, 1, "not a multiple of micro"), (4, 8, "^micro_batch_size 4 .* over 8 processes")],
)
def test_parts_that_do_not_fill_the_batch_are_refused(
    size: int, processes: int, message: str, recipe: Recipe, tiny_images: Images
) -> None:
    with pytest.raises(UserError, match=message):
        Training(
            recipe.model_copy(update={"micro_batch_size": size}),
            tiny_images(20),
            Runtime(torch.device("cpu"), 0, processes),
        )


@pytest.mark.parametrize("size", [None, 4])
@pytest.mark.parametrize("method", ["resa", "byol"])
def test_a_loss_that_asks_for_features_has_those_behind_its_embeddings(
    method: str, size: int | None, recipe: Recipe, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {"method": method, "settings": {"predictor_hidden": 16}, "micro_batch_size": size}
    training = Training(recipe.model_copy(update=changed), tiny_images(20), ONE)
    assert training.teacher
    with torch.no_grad():
        for parameter in training.teacher.parameters():
            parameter.add_(torch.rand_like(parameter))
    teacher, seen = copy.deepcopy(training.teacher), list[Outputs]()
    compute = training.method.loss

    def noted(outputs: Outputs, context: Context) -> dict[str, Tensor]:
        seen.append(outputs)
        for network, embeddings, features in (
            (training.encoder, outputs.student, outputs.student_features),
            (teacher, outputs.teacher, outputs.teacher_features),
        ):
            assert not any(h.requires_grad for h in features)
            for z, again in zip(embeddings if features else (), network.project(list(features)), strict=True):
                torch.testing.assert_close(z, again)
        return compute(outputs, context)

    monkeypatch.setattr(training.method, "loss", noted)
    next(training.steps())
    assert [len(part) for part in (seen[0].student_features, seen[0].teacher_features)] == 2 * [
        2 if method == "resa" else 0
    ]
