"""`detect` as people run it: a record with its artifacts, or the reason why there is none."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pydantic
import pytest
from annotated import annotation, coco, edit, voc
from PIL import Image
from safetensors.torch import load_file

import transferbench
from transferbench import suite
from transferbench.api import EvaluationRequest, Execution, prepare
from transferbench.backbones import Architecture, complete
from transferbench.checkpoints import Candidate
from transferbench.checkpoints.load import load, random_control
from transferbench.data import open_split
from transferbench.data.transforms import Preprocess
from transferbench.detection.scoring import pictures
from transferbench.records import Record
from transferbench.run import DatasetCache, Output, run
from transferbench.runtime import Runtime, start
from transferbench.suite import Job
from transferbench.tasks import TASKS, Bench, detect

pytest.importorskip("pycocotools")
QUICK = (
    "SOLVER.MAX_ITER 2 SOLVER.STEPS (1,) INPUT.MIN_SIZE_TRAIN (64,) INPUT.MIN_SIZE_TEST 64 TEST.PRECISE_BN.NUM_ITER 1"
)


def candidate(**arguments) -> Candidate:
    given = Architecture(family="resnet", arguments={"depth": 10, "width": 0.125, **arguments})
    return random_control(complete(given), Preprocess(size=None, crop=32), 0)


def record(data: str, judged: Candidate, out: Path, **settings) -> Record:
    config = detect.Config(**{"recipe": "micro-r18-c4", "overrides": QUICK, "backend": "torchvision", **settings})
    job = Job("detect", "detect", data, config, 0)
    bench = Bench(start("cpu"), out / "cache", out / "unfinished")
    (found,) = run([job], judged, bench, DatasetCache(out / "data"), Output(out))
    return found


def test_a_folder_in_cocos_format_gives_a_record_that_says_everything(tmp_path: Path):
    judged = candidate()
    found = record(f"{coco(tmp_path / 'mine')}/", judged, tmp_path / "out", keep_weights=True)
    assert found.status == "ok", found.error
    assert "keep_weights" not in found.config
    assert found.primary == "box_ap"
    assert found.chance is None
    assert {"box_ap", "box_ap50", "box_ap75", "mask_ap", "mask_ap50"} <= {score.metric for score in found.scores}
    assert {score.split for score in found.scores} == {"val"}
    assert set(found.data_fingerprint) == {"train", "val"}
    assert found.config["backend"] == "torchvision"
    assert len(found.config["recipe_sha256"]) == 64
    assert found.label == "micro-r18-c4, box AP (torchvision)"
    kept = {name: (tmp_path / "out" / each.path) for name, each in found.artifacts.items()}
    assert set(kept) == {"curve", "detections", "classes", "loaded", "recipe", "pictures", "weights"}
    assert load(kept["weights"]).report.format == "detectron2"
    trained = load_file(kept["weights"])
    assert trained["roi_heads.box_predictor.cls_score.weight"].shape[0] == 3 + 1
    assert json.loads(kept["loaded"].read_text()) == {"trunk": 45, "res5": 15, "difference": 0.0}
    assert json.loads(kept["recipe"].read_text())["MODEL"]["ROI_HEADS"]["NUM_CLASSES"] == 3
    assert json.loads(kept["recipe"].read_text())["MODEL"]["RESNETS"]["DEPTH"] == 10
    assert {each["image_id"] for each in json.loads(kept["detections"].read_text())} <= {10, 500, 77}
    assert Image.open(io.BytesIO(kept["pictures"].read_bytes())).size == (1024, 256)
    assert not list((tmp_path / "out" / "unfinished").iterdir())


def test_voc_is_scored_as_voc(tmp_path: Path):
    root = voc(tmp_path / "mine", 2007, {"trainval": ["a", "b"], "test": ["c"]})
    found = record(f"{root}/", candidate(), tmp_path / "out", overrides=f"{QUICK} MODEL.MASK_ON False")
    assert found.status == "ok", found.error
    assert {score.metric for score in found.scores} == {"box_ap", "box_ap50", "box_ap75"}


def reason(data: str, out: Path, judged: Candidate | None = None, **settings) -> str:
    found = record(data, judged or candidate(), out, **settings)
    assert found.status == "skipped"
    assert found.error is not None
    return found.error


SMALL_VIT = {"dim": 32, "depth": 1, "heads": 1, "patch_size": 8, "image_size": 32}


def test_what_cannot_be_run_is_skipped_with_the_reason(tmp_path: Path):
    data, out = f"{coco(tmp_path / 'mine')}/", tmp_path / "out"
    small = candidate(stem="cifar")
    assert "3x3 stem" in reason(data, out, small, recipe="coco_R_50_C4_1x", overrides=())
    assert "MODEL.MASK_ON False" in reason(f"{voc(tmp_path / 'v', 2007, {'train': ['a'], 'val': ['b']})}/", out)
    vit = random_control(
        complete(Architecture(family="vit", arguments=SMALL_VIT)),
        Preprocess(size=None, crop=32), 0,
    )  # fmt: skip
    assert "is not a ResNet" in reason(data, out, vit)
    assert "evaluated once" in reason(data, out, overrides=f"{QUICK} TEST.EVAL_PERIOD 5")
    other = coco(tmp_path / "other")
    path = other / "annotations" / "instances_val2017.json"
    tables = json.loads(path.read_text())
    tables["categories"][0]["name"] = "fox"
    path.write_text(json.dumps(tables))
    assert "differ in their categories: train has 3 dog, 7 cat, 90 eel, val has 3 dog, 7 fox, 90 eel" in reason(
        f"{other}/", out
    )


@pytest.mark.slow
def test_the_recipe_follows_the_pixels_that_the_card_states(tmp_path: Path):
    data, out, rgb = f"{coco(tmp_path / 'mine')}/", tmp_path / "out", candidate()
    pixels = {"mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395)}
    taken = Preprocess(size=None, crop=32, channel_order="bgr", input_range=255, **pixels)
    bgr = replace(rgb, card=rgb.card.model_copy(update={"preprocess": taken}))
    for judged, order, mean in ((rgb, "RGB", [123.675, 116.28, 103.53]), (bgr, "BGR", [103.53, 116.28, 123.675])):
        recipe = json.loads((out / record(data, judged, out).artifacts["recipe"].path).read_text())
        assert (recipe["INPUT"]["FORMAT"], recipe["MODEL"]["PIXEL_MEAN"]) == (order, mean)
    against = {"MODEL.PIXEL_MEAN": "(1.0,2.0,3.0)", "MODEL.PIXEL_STD": "(1.0,1.0,1.0)", "INPUT.FORMAT": "BGR"}
    for key, value in against.items():
        assert f"{key} was overridden with" in reason(data, out, rgb, overrides=f"{QUICK} {key} {value}")
    assert "MODEL.ROI_HEADS.NUM_CLASSES was overridden with 80; the network and the data have 3" in reason(
        data, out, rgb, overrides=f"{QUICK} MODEL.ROI_HEADS.NUM_CLASSES 80"
    )
    same = f"{QUICK} INPUT.FORMAT RGB MODEL.PIXEL_MEAN (123.675,116.28,103.53)"
    assert record(data, rgb, out, overrides=same).status == "ok"


def test_other_tasks_are_not_asked_of_boxes_nor_this_one_of_labels(tmp_path: Path):
    data = f"{coco(tmp_path / 'mine')}/"
    bench = Bench(Runtime(start("cpu").device), tmp_path / "cache", tmp_path / "scratch")
    jobs = [
        Job("knn", "knn", data, TASKS.load("knn").Config(), 0),
        Job("detect", "detect", "digits", detect.Config(), 0),
    ]
    found = list(run(jobs, candidate(), bench, DatasetCache(tmp_path)))
    assert [each.status for each in found] == ["skipped", "skipped"]
    assert found[0].error == "mine carries boxes. Expected a task for that: detect."
    assert found[1].error is not None
    assert found[1].error.startswith("digits carries one label.")


def test_no_object_to_learn_fails_in_words(tmp_path: Path):
    crowd = {"size": [30, 40], "counts": [0, 60, 1140]}
    root = coco(tmp_path / "mine", [annotation(1, 10, 7, segmentation=crowd, iscrowd=1)])
    edit(root, lambda tables: tables.update(annotations=[annotation(1, 10, 7)]), "val")
    found = record(f"{root}/", candidate(), tmp_path / "out")
    assert found.status == "failed"
    assert found.error == "No image of mine/train has an object that can be learned."


def test_a_recipe_is_part_of_the_settings(tmp_path: Path):
    recipe = tmp_path / "mine.yaml"
    text = "_BASE_: {}\nSOLVER: {{MAX_ITER: {}}}\n"
    base = Path(__file__).parents[3] / "detectron_configs" / "micro-r18-c4.yaml"
    recipe.write_text(text.format(base, 3))
    first = detect.Config(recipe=str(recipe))
    recipe.write_text(text.format(base, 4))
    assert detect.Config(recipe=str(recipe)).recipe_sha256 != first.recipe_sha256
    with pytest.raises(pydantic.ValidationError, match="recipe_sha256 is"):
        detect.Config.model_validate(first.model_dump())
    with pytest.raises(pydantic.ValidationError, match="Did you mean 'micro-r18-c4'"):
        detect.Config(recipe="micro-r18-c5")
    with pytest.raises(pydantic.ValidationError, match=r"MODEL\.RPN\.NMS_TRESH"):
        detect.Config(overrides=("MODEL.RPN.NMS_TRESH", "0.5"))
    assert detect.cost(detect.Config(recipe="micro-r18-c4"), 9, 9, 9).updates == 400


def test_the_batch_is_in_the_label_and_the_rates(tmp_path: Path):
    config = detect.Config(recipe="coco_R_50_C4_1x", batch_size=8, backend="torchvision")
    assert detect.label(config) == "coco_R_50_C4_1x, box AP (torchvision, batch 8)"
    mixed = detect.Config(recipe="coco_R_50_C4_1x", overrides=("SOLVER.AMP.ENABLED", "True"))
    assert detect.label(mixed) == "coco_R_50_C4_1x, box AP (torchvision, half precision)"
    assert config.resolved().SOLVER.BASE_LR == 0.01
    usual = detect.Config(recipe="coco_R_50_C4_1x")
    assert detect.cost(config, 9, 9, 9).updates == detect.cost(usual, 9, 9, 9).updates


def test_suites_know_which_data_detection_is_for(tmp_path: Path):
    plans = suite.plan({"digits": suite.suite_for("digits"), "cifar10": suite.suite_for("cifar10")})
    assert [job.data for job in plans if job.task == "detect"] == ["digit-scenes"]
    assert suite.suite_for("coco", lambda: "box_ap").name == "detection"
    assert suite.suite_for("my/folder", lambda: "box_ap").name == "boxes"
    assert suite.suite_for("my/folder", lambda: "top1").name == "quick"
    request = EvaluationRequest(
        models=[candidate().backbone], data=[f"{coco(tmp_path)}/"], preprocess=Preprocess(crop=32)
    )
    assigned = prepare(request, Execution(start("cpu"))).assignments
    assert {job.task for _, jobs in assigned for job in jobs} == {"detect"}


def test_pictures_show_what_was_found():
    images = open_split("digit-scenes", "test", Path("no-root"))
    assert images.annotated is not None
    found = [{"image_id": images.annotated.ids[0], "category_id": 2, "bbox": [20, 20, 40, 60], "score": 0.9}]
    plain, marked = pictures.drawn(images, 0, []), pictures.drawn(images, 0, found)
    assert plain.getpixel((40, 80)) != marked.getpixel((40, 80))
    assert plain.getpixel((200, 200)) == marked.getpixel((200, 200))
    assert pictures.drawn(images, 0, [{**found[0], "score": 0.1}]).tobytes() == plain.tobytes()


def test_it_is_reached_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    overrides = [f"detect.overrides={QUICK}"]
    model = candidate().backbone
    (found,) = transferbench.evaluate(
        model, "boxes", "digit-scenes", out=tmp_path, control=False, overrides=overrides, limit=4, device="cpu"
    )
    assert found.task == "detect"
    assert found.status in ("ok", "skipped")
