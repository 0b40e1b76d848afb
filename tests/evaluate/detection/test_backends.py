"""Which backend computes a detector, and Detectron2 as one where it is installed."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from transferbench import settings
from transferbench.backbones import Architecture, complete
from transferbench.checkpoints import Candidate
from transferbench.checkpoints.load import load, random_control
from transferbench.data import LabeledImages, open_split
from transferbench.data.transforms import Preprocess
from transferbench.detection import adaptation, backends, by_detectron2
from transferbench.detection.recipe import DetectionRecipe, read
from transferbench.detection.training.loop import Ground
from transferbench.detection.training.optimization import factor
from transferbench.detection.trial import Trial
from transferbench.errors import UserError
from transferbench.records import protocol_sha256
from transferbench.resources import resource
from transferbench.run import DatasetCache, run
from transferbench.runtime import Runtime
from transferbench.suite import Job, plan, suite_for
from transferbench.tasks import Bench, detect

SHIPPED = [
    path.stem for path in sorted(resource("detectron_configs").glob("*.yaml")) if not path.stem.startswith("Base")
]
QUICK = (
    *("SOLVER.MAX_ITER", "4", "SOLVER.STEPS", "(3,)", "SOLVER.WARMUP_ITERS", "2", "SOLVER.IMS_PER_BATCH", "2"),
    *("INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64", "TEST.PRECISE_BN.NUM_ITER", "1"),
)


def candidate(**arguments: Any) -> Candidate:
    """Statistics and affine weights differ from a fresh network's, which a detector has without being filled."""
    given = complete(Architecture(family="resnet", arguments={"depth": 18, **arguments}))
    found = random_control(given, Preprocess(size=None, crop=32), 0)
    generator = torch.Generator().manual_seed(1)
    for tensor in found.backbone.state_dict().values():
        if tensor.ndim == 1:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return found


def scenes(split: str, n: int = 4) -> LabeledImages:
    return open_split("digit-scenes", split, Path("no-root")).subset(np.arange(n), "a few")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """A switch for whether Detectron2 is there."""
    return lambda there: monkeypatch.setattr(by_detectron2, "is_installed", lambda: there)


def test_auto_is_detectron2_where_it_is_installed_and_can_run_the_recipe(installed):
    installed(False)
    assert detect.Config().backend == "torchvision"
    installed(True)
    assert detect.Config().backend == "detectron2"
    assert detect.Config(backend="torchvision").backend == "torchvision"
    assert detect.Config(overrides="MODEL.RESNETS.DEPTH 10").backend == "torchvision"
    narrow = "MODEL.RESNETS.DEPTH 18 MODEL.RESNETS.RES2_OUT_CHANNELS 32"
    assert detect.Config(overrides=narrow).backend == "torchvision"
    mixed = detect.Config(overrides="SOLVER.AMP.ENABLED True").backend
    assert mixed == ("detectron2" if torch.cuda.is_available() else "torchvision")


def test_the_backend_is_in_the_protocol_and_in_the_label(installed):
    installed(True)
    theirs = detect.Config()
    installed(False)
    ours = detect.Config()
    assert detect.label(theirs) == "coco_R_50_C4_1x, box AP (detectron2)"
    assert detect.label(ours) == "coco_R_50_C4_1x, box AP (torchvision)"
    assert protocol_sha256("detect", "1", theirs) != protocol_sha256("detect", "1", ours)
    again = settings.read(detect.Config, theirs.model_dump(mode="json"))
    assert again == theirs


def test_asked_for_and_absent_it_says_how_to_install_it(installed, tmp_path: Path):
    installed(False)
    job = Job("detect", "detect", "digit-scenes", detect.Config(recipe="micro-r18-c4", backend="detectron2"), 0)
    bench = Bench(Runtime(torch.device("cpu")), tmp_path / "cache", tmp_path / "scratch")
    (record,) = run([job], candidate(), bench, DatasetCache(tmp_path))
    assert record.status == "skipped"
    assert record.error is not None
    assert by_detectron2.INSTALL in record.error
    assert "detect.backend=torchvision" in record.error


@pytest.mark.parametrize(("arguments", "said"), [({"stem": "cifar"}, "stem=cifar"), ({"depth": 10}, "depth=10")])
def test_a_network_that_it_lacks_is_named_with_the_way_out(installed, arguments: dict[str, Any], said: str):
    installed(True)
    card = candidate(**arguments).card
    adapted = adaptation.resolved("micro-r18-c4", adaptation.following(card, scenes("train")), None)
    reason = backends.unfit("detectron2", adapted, card.architecture)
    assert reason is not None
    assert said in reason
    assert "detect.backend=torchvision" in reason
    assert backends.unfit("torchvision", adapted, card.architecture) is None


def test_a_folder_of_its_name_is_not_detectron2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = by_detectron2.is_installed()
    (tmp_path / "detectron2").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert by_detectron2.is_installed() == before


def test_the_small_recipe_of_suites_runs_everywhere_on_one_backend(installed):
    installed(True)
    jobs = plan({"digits": suite_for("digits"), "mine/": suite_for("mine/", lambda: "box_ap")})
    assert [job.config.backend for job in jobs if job.task == "detect"] == ["torchvision", "torchvision"]


def engine(folder: Path, recipe: DetectionRecipe, judged: Candidate | None = None, workers: int = 0) -> Any:
    pytest.importorskip("detectron2")
    judged = judged or candidate()
    ground = Ground(Runtime(torch.device("cpu")), folder, "test", workers)
    return backends.engine("detectron2", Trial(judged, scenes("train"), scenes("test"), recipe, 3), ground)


def quick(*more: str) -> DetectionRecipe:
    return adaptation.resolved("micro-r18-c4", (*QUICK, *more), None)


@pytest.mark.parametrize("name", SHIPPED)
def test_live_detectron2_reads_from_the_files_what_we_hand_it(name: str):
    config = pytest.importorskip("detectron2.config")
    from transferbench.detection.by_detectron2.configuration import configured

    path = resource("detectron_configs") / f"{name}.yaml"
    theirs = config.get_cfg()
    theirs.merge_from_file(str(path))
    assert json.loads(json.dumps(configured(read(path)))) == json.loads(json.dumps(theirs))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("SOLVER.WARMUP_ITERS", "10", "SOLVER.STEPS", "(4,20)", "SOLVER.MAX_ITER", "30"),
        ("SOLVER.WARMUP_ITERS", "10", "SOLVER.STEPS", "(4,)", "SOLVER.MAX_ITER", "6"),
        ("SOLVER.WARMUP_ITERS", "10", "SOLVER.STEPS", "(4,)", "SOLVER.WARMUP_METHOD", "constant"),
        ("SOLVER.WARMUP_ITERS", "0"),
    ],
)
def test_live_the_rates_of_every_iteration_are_detectron2s(words: tuple[str, ...]):
    solver = pytest.importorskip("detectron2.solver")
    from transferbench.detection.by_detectron2.configuration import configured

    recipe = adaptation.resolved("micro-r18-c4", words, None)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], recipe.SOLVER.BASE_LR)
    schedule = solver.build_lr_scheduler(configured(recipe), optimizer)
    for i in range(recipe.SOLVER.MAX_ITER):
        found = recipe.SOLVER.BASE_LR * factor(recipe, i)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(found, rel=1e-12), i
        optimizer.step()
        schedule.step()


def test_live_a_stopped_run_goes_on_where_it_was(tmp_path: Path):
    recipe = quick()
    stopped = engine(tmp_path, recipe)

    def stop(done: int) -> None:
        if done == 2:
            stopped.trainer.progress.stopped_by = lambda: signal.SIGINT

    with pytest.raises(KeyboardInterrupt):
        stopped.train(stop)
    assert [path.name for path in stopped.folder.glob("model*")] == ["model_0000002.pth"]
    again, seen = engine(tmp_path, recipe), []
    curve = again.train(seen.append)
    assert seen == [4]
    assert again.config.SEED == 3 + 3
    assert [line["iteration"] for line in curve] == [1, 2, 3, 4]
    assert [line["lr"] for line in curve] == pytest.approx([0.02 * factor(recipe, i) for i in range(4)])
    done = engine(tmp_path, recipe)
    assert done.train(seen.append) == curve
    assert done.predict() == again.predict()
    read = load(done.folder / "model_final.pth")
    trained = done.trainer.model.state_dict()
    assert (read.report.format, set(read.report.dropped)) == ("detectron2", {"detector"})
    state = read.backbone.state_dict()
    assert torch.equal(state["conv1.weight"], trained["backbone.stem.conv1.weight"])
    assert torch.equal(state["layer4.1.bn2.running_var"], trained["roi_heads.res5.1.conv2.norm.running_var"])


def test_live_a_loss_that_explodes_is_told_with_loader_processes_too(tmp_path: Path):
    found = engine(tmp_path, quick("SOLVER.BASE_LR", "1e30", "SOLVER.WARMUP_ITERS", "0"), workers=1)
    with pytest.raises(UserError, match=r"not finite in iteration [123] \(.*\)\. Lower SOLVER\.BASE_LR, now 1e\+30"):
        found.train(lambda done: None)


def test_live_pictures_on_the_way_change_nothing(tmp_path: Path):
    recipe = quick("SOLVER.MAX_ITER", "3", "INPUT.RANDOM_FLIP", "horizontal")
    plain, drawn = engine(tmp_path / "a", recipe), engine(tmp_path / "b", recipe)
    plain.train(lambda done: None)
    drawn.train(lambda done: drawn.predict())
    weights = drawn.trainer.model.state_dict()
    assert all(torch.equal(each, weights[name]) for name, each in plain.trainer.model.state_dict().items())


def test_live_a_record_of_detectron2_itself(tmp_path: Path):
    pytest.importorskip("detectron2")
    config = detect.Config(recipe="micro-r18-c4", overrides=" ".join(QUICK), picture_every=2)
    job = Job("detect", "detect", "digit-scenes", config, 0, 4)
    bench = Bench(Runtime(torch.device("cpu")), tmp_path / "cache", tmp_path / "scratch")
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    (record,) = run([job], candidate(), bench, DatasetCache(tmp_path))
    assert record.status == "ok", record.error
    assert record.label == "micro-r18-c4, box AP (detectron2)"
    assert record.config["backend"] == "detectron2"
    assert "detectron2" in record.environment["packages"]
    assert {"box_ap", "mask_ap50"} <= {score.metric for score in record.scores}
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


@pytest.mark.parametrize("name", ["micro-r18-c4", "coco_R_50_FPN_1x"])
def test_live_every_tensor_is_the_checkpoints_or_it_is_an_error(tmp_path: Path, name: str):
    pytest.importorskip("detectron2")
    from detectron2.modeling import build_model

    from transferbench.detection.by_detectron2 import weights

    judged = candidate()
    small = ("MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN", *QUICK)
    found = engine(
        tmp_path, adaptation.resolved(name, [*adaptation.following(judged.card, scenes("train")), *small], None)
    )
    model = build_model(found.config)
    with pytest.raises(UserError, match=r"different there: stem\.conv1\.weight"):
        weights.verify(model, found.weights)
    missing = {name: each for name, each in found.weights.items() if name != "res5.0.conv1.weight"}
    from detectron2.checkpoint import DetectionCheckpointer

    DetectionCheckpointer(model).load(found.config.MODEL.WEIGHTS)
    assert weights.verify(model, found.weights) == 100
    with pytest.raises(UserError, match=r"1 not in the checkpoint: \w+.*\.res5\.0\.conv1\.weight"):
        weights.verify(model, missing)
    with pytest.raises(UserError, match="1 not in the detector: res6"):
        weights.verify(model, {**found.weights, "res6": torch.zeros(1)})
    sample = scenes("test").image(0)
    from transferbench.detection.targets.samples import Sample
    from transferbench.detection.targets.views import pixels

    seen = Sample(pixels(sample, (128, 128), False), (128, 128))
    assert weights.difference(model, judged.backbone, seen) == 0  # pyright: ignore
    other = replace(judged, backbone=candidate().backbone)
    other.backbone.layer1[0].bn1.bias.data += 0.1  # pyright: ignore
    with pytest.raises(UserError, match="maps differ"):
        weights.difference(model, other.backbone, seen)  # pyright: ignore
