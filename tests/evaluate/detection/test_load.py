"""A detector holds a checkpoint's every tensor, or is refused with what is wrong."""

import copy

import numpy as np
import pytest
import torch

from transferbench.backbones import Architecture, Backbone
from transferbench.backbones import build as build_backbone
from transferbench.detection.model.detector import Detector, build
from transferbench.detection.model.load import load_backbone, tensors, verify
from transferbench.detection.model.names import to_detectron2
from transferbench.detection.recipe import DetectionRecipe, read
from transferbench.detection.recipe.compatibility import overrides
from transferbench.detection.targets.samples import Objects, Sample
from transferbench.errors import UserError
from transferbench.resources import resource

IMAGE = torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0)) * 255
SMALL = "MODEL.ROI_HEADS.NUM_CLASSES 3 MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE 4 MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION 4"
OWN = ["DATASETS.TRAIN", "('own',)", "DATASETS.TEST", "('own',)"]


def network(seed: int = 0, **arguments: object) -> Backbone:
    """A narrow ResNet-18 whose norms are not those of a fresh one, which would hide a norm that is not loaded."""
    given = {"depth": 18, "width": 0.25, **arguments}
    backbone = build_backbone(Architecture(family="resnet", arguments=given), seed)
    generator = torch.Generator().manual_seed(seed)
    for name, each in backbone.state_dict().items():
        if each.ndim == 1:
            each.copy_(torch.rand(each.shape, generator=generator) + 0.5 * ("var" in name))
    return backbone


def recipe(backbone: Backbone, *words: str) -> DetectionRecipe:
    path = resource("detectron_configs") / "coco_R_50_C4_1x.yaml"
    return read(path, [*overrides(backbone.architecture), *SMALL.split(), *words])


def detector(backbone: Backbone, *words: str) -> Detector:
    return build(recipe(backbone, *words), backbone, 3)


@pytest.mark.parametrize("norm", ["SyncBN", "FrozenBN"])
def test_every_tensor_is_loaded_and_the_maps_agree(norm: str) -> None:
    loaded = network(1)
    report = load_backbone(detector(network(0), "MODEL.RESNETS.NORM", norm), loaded.state_dict(), loaded, IMAGE)
    assert (report.trunk, report.res5) == (75, 25)
    assert report.difference <= 1e-6


def test_colors_are_turned_before_the_mean_is_taken_where_the_recipe_says_bgr() -> None:
    means = ("MODEL.PIXEL_MEAN", "(1.0,2.0,3.0)", "MODEL.PIXEL_STD", "(4.0,5.0,6.0)")
    sample = Sample(IMAGE, (64, 80))
    for order, first in (("RGB", 0), ("BGR", 2)):
        batch = detector(network(), "INPUT.FORMAT", order, *means).batch([sample])
        torch.testing.assert_close(batch[0, 0], (IMAGE[first] - 1) / 4)
        torch.testing.assert_close(batch[0, 2], (IMAGE[2 - first] - 3) / 6)


def test_a_missing_or_surplus_tensor_is_refused_by_name() -> None:
    backbone = network()
    state = backbone.state_dict()
    state["fc.weight"] = state.pop("layer4.1.bn2.bias")
    with pytest.raises(UserError, match=r"Missing: layer4\.1\.bn2\.bias\. Left over: fc\.weight\. Was it converted"):
        load_backbone(detector(backbone), state, backbone, IMAGE)


def test_a_tensor_that_is_only_left_over_is_refused() -> None:
    backbone = network()
    with pytest.raises(UserError, match=r"Missing: none\. Left over: layer3\.2\.bn1\.bias\."):
        load_backbone(detector(backbone), backbone.state_dict() | {"layer3.2.bn1.bias": IMAGE}, backbone, IMAGE)


def test_weights_of_detectron2s_names_are_refused_as_unconverted() -> None:
    backbone = network()
    state = {f"backbone.{name}": each for name, each in backbone.state_dict().items()}
    with pytest.raises(UserError, match="Missing: bn1"):
        load_backbone(detector(backbone), state, backbone, IMAGE)


@pytest.mark.parametrize("name", ["layer3.1.bn1.running_mean", "layer4.0.downsample.0.weight"])
def test_one_number_that_differs_is_found(name: str) -> None:
    backbone = network()
    found = detector(backbone)
    tensors(found)[name].view(-1)[3] += 1e-3
    with pytest.raises(UserError, match=f"1 of 100 tensors in the detector are not the checkpoint's: {name}"):
        verify(found, {key: each for key, each in backbone.state_dict().items() if "tracked" not in key})


def test_a_detector_that_computes_otherwise_with_the_same_tensors_is_refused() -> None:
    backbone = network()
    found = detector(backbone)
    found.trunk.maxpool = torch.nn.AvgPool2d(3, 2, 1)
    with pytest.raises(UserError, match="The detector's maps differ from the backbone's stages"):
        load_backbone(found, backbone.state_dict(), backbone, IMAGE)


def test_a_detector_shares_nothing_with_its_backbone() -> None:
    backbone = network()
    before = copy.deepcopy(backbone.state_dict())
    found = detector(backbone)
    for parameter in found.parameters():
        parameter.data.add_(1)
    assert all(torch.equal(each, before[name]) for name, each in backbone.state_dict().items())


@pytest.mark.parametrize(("count", "frozen"), [(0, []), (1, ["conv1"]), (3, ["conv1", "layer1", "layer2"])])
def test_freezing_fixes_as_many_parts_and_their_statistics(count: int, frozen: list[str]) -> None:
    found = detector(network(), "MODEL.BACKBONE.FREEZE_AT", str(count)).trunk
    fixed = {name.split(".")[0] for name, each in found.named_parameters() if not each.requires_grad}
    assert fixed == set(frozen)
    before = copy.deepcopy(found.state_dict())
    found.train()(torch.rand(2, 3, 64, 64))
    moved = {name.split(".")[0] for name, each in found.state_dict().items() if not torch.equal(each, before[name])}
    assert moved == {"bn1", "layer1", "layer2", "layer3"} - set(frozen) - ({"bn1"} if frozen else set())


def test_another_network_than_the_recipes_is_refused_with_the_overrides_that_would_do() -> None:
    backbone = network(width=1)
    stock = read(resource("detectron_configs") / "coco_R_50_C4_1x.yaml", ["MODEL.ROI_HEADS.NUM_CLASSES", "3"])
    with pytest.raises(UserError) as caught:
        build(stock, backbone, 3)
    assert "MODEL.RESNETS.DEPTH: the recipe says 50, the network has 18" in str(caught.value)
    assert str(caught.value).endswith("MODEL.RESNETS.DEPTH 18 MODEL.RESNETS.RES2_OUT_CHANNELS 64")


def test_another_number_of_classes_is_refused() -> None:
    backbone = network()
    with pytest.raises(UserError, match=r"3 classes and the data 20\. Override it: MODEL\.ROI_HEADS\.NUM_CLASSES 20"):
        build(recipe(backbone), backbone, 20)


@pytest.mark.parametrize(("stem", "stride"), [("cifar", 4), ("small_maxpool", 8), ("imagenet", 16)])
def test_a_3x3_stem_is_refused_in_published_recipes_only_and_gives_its_stride(stem: str, stride: int) -> None:
    backbone = network(stem=stem)
    if stem != "imagenet":
        with pytest.raises(UserError, match="A 3x3 stem gives finer maps"):
            detector(backbone)
    found = detector(backbone, *OWN)
    image = Sample(IMAGE, (64, 80))
    assert found.rpn.strides == (found.heads.stride,) == (stride,)
    assert found.maps([image])[0].shape[-2:] == (64 // stride, 80 // stride)
    assert load_backbone(found, backbone.state_dict(), backbone, IMAGE).difference <= 1e-6


def test_no_resnet_is_refused() -> None:
    backbone = build_backbone(Architecture(family="vit", arguments={}), device="meta")
    resnet = network()
    with pytest.raises(UserError, match="is not a ResNet"):
        build(recipe(resnet), backbone, 3)


def test_new_layers_are_drawn_from_the_seed_as_in_detectron2() -> None:
    backbone = network(width=1)
    first, second = (build(recipe(backbone), backbone, 3, seed).state_dict() for seed in (0, 0))
    other = build(recipe(backbone), backbone, 3, 1).state_dict()
    assert all(torch.equal(each, second[name]) for name, each in first.items())
    assert not torch.equal(first["rpn.conv.weight"], other["rpn.conv.weight"])
    deviations = {"rpn.conv": 0.01, "rpn.offsets": 0.01, "heads.scores": 0.01, "heads.offsets": 0.001}
    for name, deviation in (deviations | {"heads.mask.predictor": 0.001}).items():
        assert float(first[f"{name}.weight"].std()) == pytest.approx(deviation, rel=0.15), name
        assert not first[f"{name}.bias"].any()
    assert float(first["heads.mask.deconv.weight"].std()) == pytest.approx((2 / (512 * 4)) ** 0.5, rel=0.05)


def test_a_pyramid_is_filled_from_all_four_stages() -> None:
    loaded, path = network(1), resource("detectron_configs") / "coco_R_50_FPN_1x.yaml"
    words = [*overrides(loaded.architecture), *SMALL.split(), "MODEL.BACKBONE.FREEZE_AT", "5"]
    found = build(read(path, words), network(0), 3)
    report = load_backbone(found, loaded.state_dict(), loaded, IMAGE)
    assert (report.trunk, report.res5) == (75, 25)
    assert report.difference <= 1e-6
    sides = [tuple(each.shape[-2:]) for each in found.maps([Sample(IMAGE, (64, 80))])]
    assert sides == [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
    assert not any(each.requires_grad for each in found.trunk.parameters())
    names = to_detectron2(found.state_dict())
    assert len(set(names.values())) == len(names)


def test_detectron2s_names_are_one_to_one() -> None:
    names = to_detectron2(detector(network()).state_dict())
    assert len(set(names.values())) == len(names)
    assert names["trunk.bn1.weight"] == "backbone.stem.conv1.norm.weight"
    assert names["heads.extra_norm.bias"] == "roi_heads.res5.2.bias"


def test_an_image_without_objects_and_one_without_masks() -> None:
    found = detector(network(), "MODEL.RPN.PRE_NMS_TOPK_TRAIN", "50")
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), [])
    losses = found.losses([Sample(IMAGE, (64, 80), nothing)] * 2)
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert float(losses["loss_box_reg"]) == float(losses["loss_mask"]) == float(losses["loss_rpn_loc"]) == 0
    sum(losses.values(), torch.zeros(())).backward()
    bare = Objects(torch.tensor([[5.0, 5, 50, 50]]), torch.tensor([1]))
    with pytest.raises(UserError, match="these annotations have no masks"):
        found.losses([Sample(IMAGE, (64, 80), bare)] * 2)


def test_it_trains_and_detects_in_half_precision() -> None:
    found = detector(network(), "MODEL.RPN.PRE_NMS_TOPK_TEST", "50", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0")
    outline = [np.array([5.0, 5, 50, 5, 50, 50])]
    objects = Objects(torch.tensor([[5.0, 5, 50, 50]]), torch.tensor([1]), [outline])
    samples = [Sample(IMAGE, (64, 80), objects)]
    exact = found.losses(samples, torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = found.losses(samples, torch.Generator().manual_seed(0))
        detections = found.eval().detect(samples)[0]
    for name, loss in exact.items():
        assert float(rounded[name]) == pytest.approx(float(loss), rel=0.1, abs=0.02), name
    assert len(detections.boxes)
    assert detections.boxes.dtype == detections.scores.dtype == torch.float32


def test_training_that_has_diverged_says_so() -> None:
    found = detector(network())
    found.rpn.offsets.bias.data[:] = float("nan")
    objects = Objects(torch.tensor([[5.0, 5, 50, 50]]), torch.tensor([1]))
    with pytest.raises(UserError, match="training has diverged"):
        found.losses([Sample(IMAGE, (64, 80), objects)])
