"""Every checkpoint format keeps the promises of `Layout`; a new file in formats/ is found by itself."""

import itertools
import re
from pathlib import Path

import pytest
import torch

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import FORMATS, File, Layout
from transferbench.checkpoints.reading import Contents
from transferbench.checkpoints.states import StateDict

ARCHITECTURES = [
    backbones.complete(Architecture(family=family, arguments=arguments))
    for family, arguments in (
        ("resnet", {"depth": 18}),
        ("resnet", {"depth": 50}),
        ("resnet", {"depth": 50, "stem": "deep", "avg_down": True}),
        ("resnet", {"depth": 18, "stem": "cifar"}),
        ("resnet", {"depth": 18, "stem": "small_maxpool"}),
        ("vit", {"dim": 192, "heads": 3, "registers": 4, "layer_scale": True}),
        ("vit", {"dim": 384, "heads": 6}),
        ("vit", {"dim": 192, "heads": 3, "depth": 2, "image_size": 518, "patch_size": 14, "class_token": False}),
        ("swin", {}),
    )
]
LAYOUTS = [
    pytest.param(layout, id=f"{name}-{index}")
    for name, module in FORMATS.all()
    for index, layout in enumerate(module.LAYOUTS)
]
NOTHING = {"num_batches_tracked": torch.zeros(())}
FILES = [
    File(Contents(Path(name), "torch zip", {"state_dict": NOTHING}), StateDict((), "", NOTHING, {}))
    for name in ("some.pth", "wmse_stl10_99.pt")
]


@pytest.mark.parametrize("name", FORMATS.names())
def test_every_format_says_what_it_is_and_offers_layouts(name: str) -> None:
    assert FORMATS.summary(name)
    layouts = FORMATS.load(name).LAYOUTS
    assert layouts
    assert all(isinstance(layout, Layout) for layout in layouts)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_asks_for_evidence_and_names_its_networks(layout: Layout) -> None:
    assert any(layout.weight)
    assert layout.encoders
    assert all(encoder.label for encoder in layout.encoders)
    assert all(not encoder.prefix or encoder.prefix.endswith(".") for encoder in layout.encoders)
    assert all(re.compile(pattern) for pattern in layout.evidence)
    assert not layout.refusal.endswith(".")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_layout_settles_is_a_network_of_the_same_tensors(layout: Layout) -> None:
    for architecture, file in itertools.product(ARCHITECTURES, FILES):
        settled = layout.settle(architecture, file)
        changed = Architecture(family=architecture.family, arguments={**architecture.arguments, **settled.arguments})
        assert backbones.expected_shapes(changed) == backbones.expected_shapes(architecture)
        assert settled.assumed or not settled.arguments, f"not reported of {architecture.name}, which does not say it"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_preprocessing_fits_the_network(layout: Layout) -> None:
    for architecture, file in itertools.product(ARCHITECTURES, FILES):
        preprocess = layout.preprocess(architecture, file)
        assert preprocess.size is None or preprocess.size >= preprocess.crop
        assert preprocess.crop % architecture.arguments.get("patch_size", 1) == 0, architecture.name
        assert all(std > 0 for std in preprocess.std)
