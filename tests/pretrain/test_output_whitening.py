"""Whitening as a backbone's last layer: trained, resumed, in parts, in two processes, written down and judged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import ranks
from torch import Tensor

from decorssl import runlog
from decorssl.checks import check
from decorssl.loop import Training
from decorssl.losses import W2Uniformity
from decorssl.monitor import _features
from decorssl.output_whitening import OutputWhitening, Whitening
from decorssl.recipe import Recipe, read
from transferbench import state
from transferbench.backbones import Architecture
from transferbench.backbones.whitened import Whitened
from transferbench.checkpoints.load import load
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime, start, stop

Images = Callable[..., LabeledImages]
ONE = Runtime(torch.device("cpu"))
VIT = Architecture(family="vit", arguments={"image_size": 16, "patch_size": 8, "dim": 6, "depth": 1, "heads": 2})
KINDS = {"iternorm": ["whitening.kind=iternorm"], "zca": ["whitening={kind: zca, eps: 0.01}", "batch_size=72"]}
TAUGHT = ["method=byol", "settings={predictor_hidden: 16}"]
SMALL = [f"backbone={VIT.model_dump(mode='json')}", "epochs=2", "batch_size=12", "whitening.kind=zca"]


def ended(training: Training, steps: int | None = None) -> list[float]:
    """The losses of all steps, or of some."""
    losses: list[float] = []
    for step in training.steps():
        losses.append(step.terms["loss"].item())
        if step.index == steps:
            break
    return losses


def weights(training: Training) -> dict[str, Tensor]:
    taught = training.teacher.state_dict() if training.teacher else {}
    return {**training.learner.state_dict(), **{f"teacher.{name}": value for name, value in taught.items()}}


def trained(recipe: Recipe, images: LabeledImages) -> Training:
    training = Training(recipe, images, ONE, way="batched")
    ended(training)
    return training


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_gone_on_with_ends_as_the_unbroken_one(
    kind: str, recipe_file: Path, tiny_images: Images, tmp_path: Path
) -> None:
    recipe = read(recipe_file, [*TAUGHT, *KINDS[kind]])
    images = tiny_images(2 * recipe.batch_size)
    first, second = (Training(recipe, images, ONE, way="batched") for _ in range(2))
    ended(first, 3)
    state.save(tmp_path / "state.safetensors", first.state())
    second.restore(state.load(tmp_path / "state.safetensors"))
    ended(second)
    whole = weights(trained(recipe, images))
    assert all(torch.equal(value, whole[name]) for name, value in weights(second).items())
    names = ("encoder.whitening.mean", "encoder.whitening.matrix", "teacher.whitening.mean", "teacher.whitening.matrix")
    assert all((whole[name] - state_of_none(recipe, images)[name]).norm() > 1e-3 for name in names)
    assert (whole[names[0]] - whole[names[2]]).norm() > 0, "a teacher has averages of its own"


def state_of_none(recipe: Recipe, images: LabeledImages) -> dict[str, Tensor]:
    """What training begins with."""
    return weights(Training(recipe, images, ONE, way="batched"))


def test_parts_of_a_batch_are_whitened_together(recipe_file: Path, tiny_images: Images) -> None:
    """Where the network itself has no batch statistics, a run in parts ends where the whole one does."""
    changed = [*SMALL, *TAUGHT, "epochs=1"]
    first, second = (
        trained(read(recipe_file, [*changed, *more]), tiny_images(24)) for more in ([], ["micro_batch_size=4"])
    )
    expected = weights(first)
    for name, found in weights(second).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("parts", [[], ["micro_batch_size=24"]])
def test_what_watches_a_run_is_given_whitened_features(
    parts: list[str], recipe_file: Path, tiny_images: Images
) -> None:
    recipe = read(recipe_file, ["whitening={kind: zca, eps: 0}", "batch_size=72", *parts])
    step = next(Training(recipe, tiny_images(72), ONE, way="batched").steps())
    for features in step.features:
        torch.testing.assert_close(features.mean(0), torch.zeros(64), rtol=0, atol=1e-5)
        torch.testing.assert_close(features.T @ features / 72, torch.eye(64), rtol=0, atol=1e-4)


def test_the_file_holds_the_map_and_is_judged_with_it(recipe_file: Path, tiny_images: Images, tmp_path: Path) -> None:
    images = tiny_images(16)
    training = trained(read(recipe_file, [*TAUGHT, *KINDS["iternorm"]]), images)
    with runlog.open_run(tmp_path, training) as log:
        path = log.finish()
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    training.learner.eval()
    training.teacher.eval()  # pyright: ignore[reportOptionalMemberAccess]
    for file, encoder in ((path, training.encoder), (tmp_path / runlog.TEACHER, training.teacher)):
        assert encoder is not None
        candidate = load(file)
        with torch.no_grad():
            (expected,) = encoder.whitened([encoder.backbone(x)])
            torch.testing.assert_close(candidate.backbone(x), expected, rtol=1e-5, atol=1e-5)
            plain = load(file, overrides=["whitening=false"]).backbone(x)
            torch.testing.assert_close(plain, encoder.backbone(x), rtol=1e-5, atol=1e-5)
        assert candidate.card.architecture.name == "resnet10-w0.125-cifar-whitened"
    watched = torch.from_numpy(_features(training, images, "float32"))
    from transferbench.data.evaluation_views import evaluated
    from transferbench.data.loading import in_order

    (batch,) = evaluated(images, training.recipe.preprocess, in_order(len(images), 256), 0)
    with torch.no_grad():
        torch.testing.assert_close(load(path).backbone(batch.views[0]), watched, rtol=1e-4, atol=1e-4)


def test_without_it_nothing_is_written_of_it(recipe: Recipe, tiny_images: Images) -> None:
    assert {"whitening", "uniformity"}.isdisjoint(recipe.model_dump(mode="json"))
    training = Training(recipe, tiny_images(16), ONE)
    assert training.encoder.judged is training.encoder.backbone
    assert not isinstance(training.encoder.judged, Whitened)
    assert not [name for name in training.learner.state_dict() if "whiten" in name]


def test_a_singular_covariance_has_no_root_and_is_refused(recipe_file: Path) -> None:
    with pytest.raises(UserError, match=r"batch of 8 images to whiten 64 features.* whitening\.kind=iternorm"):
        check(read(recipe_file, ["whitening.kind=zca"]), 100, ONE)
    check(read(recipe_file, ["whitening.kind=zca", "batch_size=65"]), 100, ONE)
    check(read(recipe_file, ["whitening.kind=iternorm"]), 100, ONE)


@pytest.mark.parametrize("option", ["whitening.kind=iternorm", "uniformity.weight=0.5"])
def test_a_run_is_not_gone_on_with_under_another_option(option: str, recipe_file: Path, tmp_path: Path) -> None:
    plain, changed = read(recipe_file), read(recipe_file, [option])
    assert plain.sha256 != changed.sha256
    for before, now in ((plain, changed), (changed, plain)):
        state.write_json(tmp_path / runlog.RECIPE, before.model_dump(mode="json"))
        runlog.check_folder(tmp_path, before, resume=True)
        with pytest.raises(UserError, match=f"(?s)other settings.*{option.partition('.')[0]}: "):
            runlog.check_folder(tmp_path, now, resume=True)


OPTIONS: dict[str, list[str]] = {
    "iternorm": ["whitening.kind=iternorm"],
    "uniformity": ["uniformity={weight: 2.0, final_weight: 0.5}"],
}


def layered(kind: Any, rank: int, runtime: Runtime) -> tuple[Tensor, ...]:
    """(output, gradient, running mean, running matrix) of a rank's part of the rows, of a loss over all of them."""
    generator = torch.Generator().manual_seed(0)
    rows, target = (torch.randn(24, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    part = (rows @ torch.randn(5, 5, generator=generator, dtype=torch.float64)).chunk(runtime.world_size)[rank]
    layer = OutputWhitening(5, Whitening(kind=kind)).double().train()
    out = layer(part.requires_grad_())
    (slope,) = torch.autograd.grad((runtime.gather(out) * target).square().sum(), part)
    return out.detach(), slope / runtime.world_size, layer.mean, layer.matrix


def distance(rank: int, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """(W2 of all rows, its gradient at a rank's part of them), by the module for loops of one's own."""
    rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    part = rows.chunk(runtime.world_size)[rank].requires_grad_()
    value = W2Uniformity()(part)
    return value.detach(), torch.autograd.grad(value, part)[0] / runtime.world_size


@pytest.mark.slow
def test_two_processes_train_as_one_does(recipe_text: str, tmp_path: Path, tiny_images: Images) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(recipe_text)

    def runs(runtime: Runtime) -> Any:
        found = {}
        for name, changed in OPTIONS.items():
            recipe = read(path, [*TAUGHT, *changed, "epochs=1", "optim.lr=0.1"])
            training = Training(recipe, tiny_images(2 * recipe.batch_size), runtime, way="batched")
            found[name] = ended(training), {key: value.clone() for key, value in weights(training).items()}
        return found, {kind: layered(kind, runtime.rank, runtime) for kind in KINDS}, distance(runtime.rank, runtime)

    def in_process(rank: int) -> Any:
        torch.set_num_threads(1)
        found = runs(start("cpu"))
        stop()
        return found

    expected, whole, (exact, slopes) = runs(ONE)
    both = ranks(2, in_process, limit=100)
    for found, _, _ in both:
        for name, (losses, ends) in expected.items():
            assert found[name][0] == pytest.approx(losses, rel=1e-5), name
            for key, value in ends.items():
                torch.testing.assert_close(found[name][1][key], value, rtol=1e-3, atol=1e-5, msg=f"{name} {key}")
    for kind in KINDS:
        out, slope, *running = zip(*(layers[kind] for _, layers, _ in both), strict=True)
        for parts, value in zip((out, slope), whole[kind], strict=False):
            torch.testing.assert_close(torch.cat(parts), value, rtol=1e-9, atol=1e-9)
        for parts, value in zip(running, whole[kind][2:], strict=True):
            assert all(torch.allclose(part, value, rtol=1e-9, atol=1e-12) for part in parts)
    assert [found.item() for _, _, (found, _) in both] == pytest.approx([exact.item()] * 2, rel=1e-9)
    torch.testing.assert_close(torch.cat([slope for _, _, (_, slope) in both]), slopes, rtol=1e-9, atol=1e-12)
