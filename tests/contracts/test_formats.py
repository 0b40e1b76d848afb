"""Every checkpoint format keeps the promises of `Layout`; a new file in formats/ is found by itself."""

import re

import pytest
import torch

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import FORMATS, Layout, reason

ARCHITECTURES = [
    backbones.complete(Architecture(family=family, arguments=arguments))
    for family, arguments in (
        ("resnet", {"depth": 18}),
        ("resnet", {"depth": 50}),
        ("resnet", {"depth": 18, "stem": "cifar"}),
        ("resnet", {"depth": 18, "stem": "small_maxpool"}),
        ("vit", {"dim": 192, "heads": 3, "registers": 4, "layer_scale": True}),
        ("vit", {"dim": 192, "heads": 3, "depth": 2, "image_size": 518, "patch_size": 14, "class_token": False}),
    )
]
LAYOUTS = [
    pytest.param(layout, id=f"{name}-{index}")
    for name, module in FORMATS.all()
    for index, layout in enumerate(module.LAYOUTS)
]


@pytest.mark.parametrize("name", FORMATS.names())
def test_every_format_says_what_it_is_and_offers_layouts(name: str) -> None:
    assert FORMATS.summary(name)
    layouts = FORMATS.load(name).LAYOUTS
    assert layouts
    assert all(isinstance(layout, Layout) for layout in layouts)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_asks_for_evidence_and_names_its_networks(layout: Layout) -> None:
    assert layout.evidence or layout.beside or layout.header
    assert layout.encoders
    assert all(encoder.label and encoder.at for encoder in layout.encoders)
    assert all(not encoder.prefix or encoder.prefix.endswith(".") for encoder in layout.encoders)
    for pattern in (*layout.evidence, *(drop.pattern for drop in layout.heads + layout.others)):
        re.compile(pattern)
    assert all(drop.reason for drop in layout.heads + layout.others)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_no_rule_drops_a_backbone_tensor(layout: Layout, architecture: Architecture) -> None:
    for name in backbones.expected_shapes(architecture):
        assert reason(layout.heads, name) is None
        assert all(reason(layout.others, encoder.prefix + name) is None for encoder in layout.encoders)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_what_a_layout_settles_is_a_network_of_the_same_tensors(layout: Layout, architecture: Architecture) -> None:
    settled = layout.settle(architecture)
    changed = Architecture(family=architecture.family, arguments={**architecture.arguments, **settled.arguments})
    assert backbones.expected_shapes(changed) == backbones.expected_shapes(architecture)
    assert settled.assumed or not settled.arguments, "a property the file does not say must be reported"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_preprocessing_fits_the_network(layout: Layout, architecture: Architecture) -> None:
    preprocess = layout.preprocess(architecture)
    assert preprocess.size is None or preprocess.size >= preprocess.crop
    assert preprocess.crop == architecture.arguments.get("image_size", preprocess.crop)
    assert all(std > 0 for std in preprocess.std)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_renaming_loses_no_tensor_it_does_not_know(layout: Layout) -> None:
    weights = {f"nobody.knows.{i}": torch.zeros(i) for i in range(3)}
    assert layout.rename(weights) == weights
