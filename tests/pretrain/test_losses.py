"""Losses as modules are what `pretrain` calls, in one process and in two, and train in a loop of one's own."""

import copy
import inspect
import pydoc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import ranks
from torch import Tensor, nn

from decorssl import losses
from decorssl.loop import Training
from decorssl.losses import Progress, TeacherLoss, loss_of
from decorssl.losses.embeddings import checked
from decorssl.methods import METHODS, Context, Keeping, Outputs, needs_features, no_modules
from decorssl.recipe import read
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime, seeded, start, stop
from transferbench.runtime.gradients import average_gradients

SETTINGS: dict[str, dict[str, Any]] = {
    "batchnorm": {"w_size": 8},
    "byol": {"predictor_hidden": 24},
    "cwrgp": {"w_size": 8, "groups": 2, "covariance_weight": 0.01},
    "dbn": {"groups": 4, "shuffled": True},
    "dino": {"prototypes": 24, "frozen_epochs": 0},
    "lejepa": {"directions": 300},
    "matrix_ssl": {"predictor_hidden": 16},
    "mec": {"predictor_hidden": 16},
    "mocov2": {"queue": 48, "symmetric": True},
    "pca": {"w_size": 16},
    "resa": {"predictor_hidden": 16},
    "simsiam": {"predictor_hidden": 16},
    "swav": {"prototypes": 24, "frozen_epochs": 0, "queue": 16, "queue_from_epoch": 0},
    "visreg": {"directions": 300},
    "wmse": {"w_size": 8, "eps": 0.1},
    "zca": {"w_size": 8, "eps": 0.1},
}
"""What fits 16 images and 32 channels, for the methods whose defaults are made for more."""
CHANNELS = {"pca": 8}
NOW = Progress(step=3, steps_per_epoch=2, epochs=5)


def built(name: str, **settings: Any) -> Any:
    """The module of a method, from one seed."""
    has_modules = METHODS.load(name).modules is not no_modules
    with seeded(5):
        sizes = {"dim": CHANNELS.get(name, 32)} if has_modules else {}
        return loss_of(name)(**sizes, **{**SETTINGS.get(name, {}), **settings})


def called(
    criterion: Any,
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    now: Progress = NOW,
    features: Sequence[Sequence[Tensor]] | None = None,
) -> Tensor:
    """With features that go by the embeddings, where some are needed and none are given."""
    names = ("student_features", "teacher_features")[: 1 + isinstance(criterion, TeacherLoss)]
    each = [[z.square() for z in part] for part in (student, teacher)] if features is None else features
    given = dict(zip(names, each, strict=False)) if needs_features(criterion.method) else {}
    if isinstance(criterion, TeacherLoss):
        return criterion(student, teacher, now=now, **given)
    return criterion(*student, now=now, **given)


def embeddings(name: str, rows: int = 16) -> tuple[list[Tensor], list[Tensor]]:
    """(the student's, the teacher's) of correlated views, three where the method takes so many."""
    method, dim = METHODS.load(name), CHANNELS.get(name, 32)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(rows, dim, generator=generator)
    views = [image + 0.5 * torch.randn(rows, dim, generator=generator) for _ in range(3)]
    config = method.Config(**SETTINGS.get(name, {}))
    try:
        routes = method.routes(config, 3)
    except UserError:
        routes = method.routes(config, 2)
    return [views[i] for i in routes.student], [views[i] + 0.1 for i in routes.teacher]


def gradients(value: Tensor, student: Sequence[Tensor], modules: nn.Module) -> list[Tensor]:
    trained = [p for p in modules.parameters() if p.requires_grad]
    return list(torch.autograd.grad(value, [*student, *trained], retain_graph=True))


@dataclass
class Seen:
    """What the loop gave a method in one step, and what came of it."""

    calls: int = 0
    outputs: Any = None
    context: Any = None
    before: Any = None
    draws: Any = None
    loss: Any = None
    gradients: list[Tensor] = field(default_factory=list)
    kept: list[dict[str, Tensor]] = field(default_factory=list)


def watched(name: str, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """The method's functions, which go on doing what they do and write down the first call."""
    method, seen = METHODS.load(name), Seen()
    loss, after_step = method.loss, getattr(method, "after_step", None)

    def spied(outputs: Outputs, context: Context) -> dict[str, Tensor]:
        seen.calls += 1
        if seen.calls > 1:
            return loss(outputs, context)
        seen.outputs, seen.context, seen.before = outputs, context, copy.deepcopy(context.modules)
        seen.draws = context.generator.get_state()
        terms = loss(outputs, context)
        seen.loss, seen.gradients = terms["loss"], gradients(terms["loss"], outputs.student, context.modules)
        return terms

    def spied_after(outputs: Outputs, context: Context) -> None:
        seen.kept += [copy.deepcopy(context.modules.state_dict())]
        after_step(outputs, context)
        seen.kept += [copy.deepcopy(context.modules.state_dict())]

    monkeypatch.setattr(method, "loss", spied)
    if after_step:
        monkeypatch.setattr(method, "after_step", spied_after)
    return seen


@pytest.mark.parametrize("name", METHODS.names())
def test_a_module_is_the_call_that_pretrain_makes(
    name: str, recipe_file: Path, tiny_images: Callable[..., LabeledImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = f"projector={{layers: 1, output: {CHANNELS.get(name, 32)}}}"
    recipe = read(recipe_file, [f"method={name}", f"settings={SETTINGS.get(name, {})}", "batch_size=16", output])
    seen = watched(name, monkeypatch)
    training = Training(recipe, tiny_images(32), Runtime(torch.device("cpu")), way="batched")
    step = next(training.steps())

    criterion = built(name)
    criterion.own.load_state_dict(seen.before.state_dict())
    student = [z.detach().requires_grad_() for z in seen.outputs.student]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(seen.draws)
        now = Progress(0, training.steps_per_epoch, recipe.epochs)
        features = (seen.outputs.student_features, seen.outputs.teacher_features)
        value = called(criterion, student, seen.outputs.teacher, now, features)
    assert seen.calls == 2
    torch.testing.assert_close(value, step.terms["loss"], rtol=1e-6, atol=1e-7)
    for found, expected in zip(gradients(value, student, criterion.own), seen.gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert criterion.terms.keys() == step.terms.keys()
    if not isinstance(criterion.method, Keeping):
        return
    before, after = seen.kept
    criterion.own.load_state_dict(before)
    criterion.after_step()
    for key, tensor in criterion.own.state_dict().items():
        torch.testing.assert_close(tensor, after[key])


@pytest.mark.parametrize("name", METHODS.names())
def test_a_module_computes_in_float32_inside_autocast(name: str) -> None:
    student, teacher = ([z.bfloat16() for z in part] for part in embeddings(name))
    values = []
    for enabled in (False, True):
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            values.append(called(built(name), student, teacher))
    assert values[1].dtype == torch.float32
    torch.testing.assert_close(*values)


@pytest.mark.parametrize("name", METHODS.names())
def test_a_plain_loop_trains_with_a_module(name: str) -> None:
    student, teacher = embeddings(name)
    network = nn.Linear(CHANNELS.get(name, 32), CHANNELS.get(name, 32))
    criterion = built(name)
    begin = network.weight.detach().clone()
    optimizer = torch.optim.SGD([*network.parameters(), *criterion.parameters()], lr=0.01)
    for step in range(3):
        optimizer.zero_grad()
        called(criterion, [network(z) for z in student], teacher, replace(NOW, step=step)).backward()
        optimizer.step()
        criterion.after_step()
    assert network.weight.isfinite().all()
    assert (network.weight - begin).norm() > 1e-6
    assert all(p.grad is not None for p in criterion.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", [name for name in METHODS.names() if METHODS.load(name).modules is not no_modules])
def test_state_is_all_that_a_module_keeps(name: str, tmp_path: Path) -> None:
    student, teacher = embeddings(name)
    first = built(name)
    with torch.no_grad():
        called(first, student, teacher)
    first.after_step()
    torch.save(first.state_dict(), tmp_path / "loss.pt")
    torch.manual_seed(11)
    second = loss_of(name)(32, **SETTINGS.get(name, {}))
    expected = called(copy.deepcopy(first), student, teacher)
    assert (called(second, student, teacher) - expected).abs() > 1e-4
    second.load_state_dict(torch.load(tmp_path / "loss.pt"))
    torch.testing.assert_close(called(second, student, teacher), expected)


GATHERED = [name for name in METHODS.names() if not getattr(METHODS.load(name), "PER_PROCESS", False)]


def stepped(name: str, rank: int, count: int, runtime: Runtime) -> tuple[float, list[Tensor], dict[str, Tensor]]:
    """(loss, gradients of network and module, what the module keeps) of a rank's part of the batch, in one step."""
    with seeded(1):
        network = nn.Linear(32, 32)
    criterion = built(name)
    parameters = [*network.parameters(), *criterion.parameters()]
    student, teacher = ([z.chunk(count)[rank] for z in part] for part in embeddings(name))
    value = called(criterion, [network(z) for z in student], teacher)
    value.backward()
    average_gradients(parameters, runtime)
    criterion.after_step()
    slopes = [p.grad.clone() for p in parameters if p.grad is not None]
    return value.item(), slopes, {key: tensor.clone() for key, tensor in criterion.state_dict().items()}


LAYERS = {
    "iternorm": losses.IterNorm(global_batch=True),
    "zca": losses.ZCA("samples", global_batch=True),
    "cholesky": losses.Cholesky(eps=0.1, global_batch=True),
    "groups": losses.GroupWhitening(2, shuffled=False, global_batch=True),
    "dbn": losses.DBN(4, global_batch=True),
}


def in_process(rank: int) -> Any:
    torch.set_num_threads(1)
    runtime = start("cpu")
    found = {name: stepped(name, rank, 2, runtime) for name in GATHERED}
    (rows,) = embeddings("plain")[0][:1]
    whitened = {name: layer(rows.chunk(2)[rank]) for name, layer in LAYERS.items()}
    stop()
    return found, whitened


def test_two_processes_give_the_loss_and_gradients_of_one_with_the_whole_batch() -> None:
    runtime = Runtime(torch.device("cpu"))
    both = ranks(2, in_process, limit=60)
    for name in GATHERED:
        value, slopes, kept = stepped(name, 0, 1, runtime)
        for found, _ in both:
            assert found[name][0] == pytest.approx(value, rel=1e-4), name
            assert len(found[name][1]) == len(slopes)
            for ours, whole in zip(found[name][1], slopes, strict=True):
                assert (ours - whole).norm() <= 1e-4 * whole.norm() + 1e-6, name
            for key, tensor in kept.items():
                torch.testing.assert_close(found[name][2][key], tensor, rtol=1e-4, atol=1e-5, msg=f"{name} {key}")
    (rows,) = embeddings("plain")[0][:1]
    for name, layer in LAYERS.items():
        together = torch.cat([whitened[name] for _, whitened in both])
        torch.testing.assert_close(together, layer(rows), rtol=1e-3, atol=1e-4, msg=name)


def test_a_networks_parameters_stay_its_own_where_a_predictor_is_synchronized() -> None:
    """An optimizer made before the first step has them."""
    criterion = built("byol")
    before = dict(criterion.named_parameters()) | dict(criterion.named_buffers())
    criterion._synchronize(Runtime(torch.device("cpu"), 0, 2))
    after = dict(criterion.named_parameters()) | dict(criterion.named_buffers())
    assert type(criterion.own["predictor"][1]).__name__ == "SynchronizedBatchNorm"
    assert before.keys() == after.keys()
    assert all(before[key] is after[key] for key in before)


@pytest.mark.parametrize("name", METHODS.names())
def test_the_arguments_are_the_methods_settings(name: str) -> None:
    kind, fields = loss_of(name), METHODS.load(name).Config.model_fields
    arguments = {key: each for key, each in inspect.signature(kind).parameters.items() if key != "dim"}
    assert {key: each.default for key, each in arguments.items()} == {key: each.default for key, each in fields.items()}
    told = pydoc.plain(pydoc.render_doc(kind))
    assert all(f"{key}: {each.description}." in told for key, each in fields.items())
    assert kind.__name__ in losses.__all__
    assert f"{kind.__name__}(" in (kind.__doc__ or "")


Z = torch.zeros(16, 32)
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "one view": (lambda: losses.INTLLoss()(Z), r"INTLLoss: found embeddings of 1 view\(s\)\. Expected 2, 3, 4 or more"),
    "three of two": (lambda: losses.VICRegLoss()(Z, Z, Z), r"found embeddings of 3 view\(s\)\. Expected 2\."),
    "images": (lambda: losses.INTLLoss()(Z[:, :, None], Z), r"view 1 is torch\.float32 of shape \(16, 32, 1\)"),
    "other rows": (lambda: losses.INTLLoss()(Z, Z[:8]), r"view 2 has shape \(8, 32\), the first embeddings \(16, 32\)"),
    "a list": (lambda: checked("INTLLoss", None, [[Z, Z]], ()), "INTLLoss: view 1 is a list"),
    "no images": (lambda: losses.MMCRLoss()(Z[:0], Z[:0]), r"MMCRLoss: view 1 has shape \(0, 32\)\. Expected images"),
    "other precision": (
        lambda: losses.MECLoss(dim=32)((Z, Z.double()), (Z, Z), now=Progress(0, 1, 1)),
        r"MECLoss: found embeddings of torch\.float64 and weights of torch\.float32\. Expected one type",
    ),
    "other channels": (
        lambda: losses.BYOLLoss(dim=8)((Z, Z), (Z, Z)),
        "found embeddings of 32 channels. Expected dim=8",
    ),
    "teacher of one view": (
        lambda: losses.BYOLLoss(dim=32)((Z, Z), Z),
        "2 view.s. by the student and 1 by the teacher",
    ),
    "no features": (
        lambda: losses.ReSALoss(dim=32)((Z, Z), (Z, Z), student_features=(Z, Z)),
        r"ReSALoss: found 0 teacher_features for 2 view\(s\)\. Expected what the backbone made of each, before the",
    ),
    "feature maps": (
        lambda: losses.ReSALoss(dim=32)((Z, Z), (Z, Z), student_features=(Z, Z[:8]), teacher_features=(Z, Z)),
        r"found torch\.float32 of shape \(8, 32\) in student_features\. Expected .* of shape \(16, width\)",
    ),
    "useless features": (
        lambda: losses.BYOLLoss(dim=32)((Z, Z), (Z, Z), teacher_features=(Z, Z)),
        "BYOLLoss: found teacher_features. Expected embeddings alone",
    ),
    "no dim": (lambda: losses.BYOLLoss(), r"BYOLLoss: found dim=None\. Expected dim=, the channels"),
    "dim": (lambda: losses.INTLLoss(dim=32), r"INTLLoss: found dim=32\. Expected settings alone"),
    "setting": (lambda: losses.INTLLoss(iteratons=3), r"INTLLoss: .*\n.*Did you mean 'iterations'"),
    "distortion": (lambda: losses.EMPSSLLoss(eps=1e-15), "eps: found 1e-15"),
    "distortion of the student": (lambda: losses.SimDINOLoss(eps=1e-15), "eps: found 1e-15"),
    "value": (lambda: losses.INTLLoss(iterations=9), "iterations: found 9"),
    "no progress": (lambda: losses.SwAVLoss(dim=32)(Z, Z), "SwAVLoss changes in the course of a run. Expected now="),
    "sub-batches": (lambda: losses.WMSELoss(w_size=12, eps=0.1)(Z, Z), "sub-batches of w_size=12.* w_size=8"),
    "layer of one image": (lambda: losses.ZCA()(Z[0]), r"ZCA: found shape \(32,\)"),
    "singular": (lambda: losses.ZCA()(Z), "found 16 samples to whiten 32 channels. Expected more samples"),
    "iterations": (lambda: losses.IterNorm(8), "IterNorm: found iterations=8. Expected 1 to 7"),
    "groups": (lambda: losses.GroupWhitening(4)(Z), "GroupWhitening: .* groups=4 cannot whiten"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_with_what_was_found_and_expected(case: str) -> None:
    call, told = WRONG[case]
    with pytest.raises(UserError, match=told):
        call()


def test_a_method_from_elsewhere_has_a_module_too(tmp_path: Path) -> None:
    source = Path(inspect.getfile(METHODS.load("vicreg"))).read_text()
    (tmp_path / "mine.py").write_text(source)
    criterion = loss_of(str(tmp_path / "mine.py"))(variance_weight=3.0)
    views, _ = embeddings("vicreg")
    torch.testing.assert_close(criterion(*views), losses.VICRegLoss(variance_weight=3.0)(*views))
    assert loss_of(str(tmp_path / "mine.py")) is type(criterion)
    assert loss_of("vicreg") is losses.VICRegLoss


def test_a_step_that_is_never_told_is_missed() -> None:
    criterion, keys = losses.MoCoV2Loss(dim=4, queue=8), torch.randn(2, 4)
    for _ in range(99):
        criterion(keys, keys)
    with pytest.warns(UserWarning, match=r"MoCoV2Loss: 100 passes without after_step\(\)"):
        criterion(keys, keys)


def test_a_teacher_follows_by_the_methods_schedule() -> None:
    teacher, student = nn.Linear(2, 2), nn.Linear(2, 2)
    expected = 0.25 * teacher.weight + 0.75 * student.weight
    losses.follow(teacher, student, 0.25)
    torch.testing.assert_close(teacher.weight, expected)
    criterion = losses.BYOLLoss(dim=32, momentum=0.9, momentum_per="step")
    assert [criterion.momentum(Progress(step, 2, 5)) for step in (0, 5, 10)] == pytest.approx([0.9, 0.95, 1.0])


@pytest.mark.parametrize("between", ["samples", "channels"])
def test_layers_whiten(between: Any) -> None:
    z = torch.randn(*((12, 40) if between == "samples" else (40, 12)), dtype=torch.float64)
    identity = torch.eye(12, dtype=torch.float64)
    rows = (z if between == "samples" else z.T).numpy(force=True)
    sigma = torch.cov(torch.from_numpy(rows))
    roots = {"ZCA": torch.linalg.eigh(sigma), "Cholesky": torch.linalg.cholesky(sigma)}
    centered = torch.from_numpy(rows - rows.mean(1, keepdims=True))
    values, vectors = roots["ZCA"]
    symmetric = vectors / values.sqrt() @ vectors.T @ centered
    triangular = torch.linalg.inv(roots["Cholesky"]) @ centered
    for layer, expected in ((losses.ZCA(between), symmetric), (losses.Cholesky(between), triangular)):
        out = layer(z) if between == "samples" else layer(z).T
        torch.testing.assert_close(out, expected)
        torch.testing.assert_close(torch.cov(out), identity)
    out = losses.IterNorm(7, between)(z)
    assert (torch.cov(out if between == "samples" else out.T) - identity).abs().max() < 0.2


@pytest.mark.parametrize("shuffled", [False, True])
def test_layers_whiten_group_by_group(shuffled: bool) -> None:
    z = torch.randn(32, 24, dtype=torch.float64)
    out = losses.DBN(4, shuffled)(z)
    covariance = out.T @ out / len(z)
    within = torch.block_diag(*[torch.ones(6, 6, dtype=torch.bool)] * 4)
    identity = torch.eye(24, dtype=torch.float64)
    assert torch.allclose(covariance[within], identity[within]) == (not shuffled)
    assert torch.allclose(covariance.diagonal(), identity.diagonal())
    samples = losses.GroupWhitening(4, shuffled)(z[:4])
    parts = samples.unflatten(1, (4, 6)).transpose(0, 1)
    covariances = parts @ parts.mT / 5
    assert torch.allclose(covariances, torch.eye(4, dtype=torch.float64).expand(4, 4, 4)) == (not shuffled)
