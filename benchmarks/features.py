"""What features of a frozen network cost: `python benchmarks/features.py [network] [images] [both] [many] [tuning]`.

network: ResNet-50 and ViT-S/16 at 224 pixels, of random values. The plain network in batches of 256 is what this
package did before (here all at once); a plain loop is torchvision's network (timm's ViT) with channels last in batches
of 32, with autocast where the precision is bfloat16; prepared is what an extraction does. images: coco-mini's JPEGs,
decoded, resized, cropped and normalized by PIL and torchvision, one after another, and as an extraction does. both: all
of it, from files to features of ResNet-50. many: the same for ten small networks, which share decoded images.
tuning: an epoch of fine-tuning ResNet-18 on 32 pixels, with ten test images for each training image.

One thread, interleaved; a line gives the median of the times of `REPEATS` rounds, the median of their quotients to the
first line, and for networks the largest difference to its features over the largest. bfloat16 gains where the processor
has instructions for it, which the first line of output says.
"""

import copy
import statistics
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from transferbench.backbones import Architecture, Backbone, build
from transferbench.data import DatasetInfo, LabeledImages, decoding, open_split
from transferbench.data.evaluation_views import Evaluated, SharedPixels
from transferbench.data.loading import Plan, batches, in_order
from transferbench.data.training_views import TrainedOn
from transferbench.data.transforms import Preprocess, TrainingTransform, evaluation
from transferbench.features.prepared import Prepared
from transferbench.features.spec import FeatureSpec, Precision, forward

JPEGS = Path(__file__).parents[2] / "shared/data/coco-mini.zip"
REPEATS, COUNT, LOOP, TUNED = 5, 64, 32, 128
NETWORKS = {
    "ResNet-50": Architecture(family="resnet", arguments={"depth": 50}),
    "ViT-S/16": Architecture(
        family="vit", arguments={"dim": 384, "depth": 12, "heads": 6, "patch_size": 16, "image_size": 224}
    ),
}


def compare(title: str, ways: Mapping[str, Callable[[], Tensor]]) -> None:
    """Time the ways in turn, `REPEATS` times, after once to warm up; print a line each."""
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            begun = time.process_time()
            way()
            times[name].append(time.process_time() - begun)
    print(f"\n{title}")
    first = next(iter(times.values()))
    for name, own in times.items():
        ratio = statistics.median(a / b for a, b in zip(first, own, strict=True))
        print(f"  {name:<44} {statistics.median(own):7.2f} s  {ratio:5.2f} x")


def networks() -> None:
    for name, architecture in NETWORKS.items():
        draw = torch.Generator().manual_seed(0)
        compared(name, lively(build(architecture).eval(), draw), torch.randn(COUNT, 3, 224, 224, generator=draw))


def compared(name: str, backbone: Backbone, images: Tensor) -> None:
    plain = with_weights(name, backbone).to(memory_format=torch.channels_last)
    ways: dict[str, Callable[[], Tensor]] = {}
    for precision in ("float32", "bfloat16"):
        wanted = FeatureSpec(precision=precision)
        ways[f"before, {precision}"] = partial(forward, backbone, images, wanted)
        ways[f"plain loop, channels last, {precision}"] = partial(loop, plain, images, precision)
    for precision in ("float32", "bfloat16", "bfloat16_folded"):
        ways[f"prepared, {precision}"] = partial(Prepared(backbone, FeatureSpec(precision=precision)), images)
    with torch.no_grad():
        compare(f"{name}, {COUNT} images", ways)
        expected = forward(backbone, images)
        for way, run in ways.items():
            print(f"  {way:<44} {float((run() - expected).abs().max() / expected.abs().max()):.1e} off")


def lively(backbone: Backbone, draw: torch.Generator) -> Backbone:
    """With statistics as batch norms of a trained network have them."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
    return backbone.requires_grad_(False)


def with_weights(name: str, backbone: Backbone) -> nn.Module:
    """The same network as other people build it."""
    if name == "ResNet-50":
        made: nn.Module = torchvision.models.resnet50()
        made.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    else:
        import timm

        made = timm.create_model("vit_small_patch16_224", num_classes=0)
    made.load_state_dict(backbone.state_dict())
    return made.eval().requires_grad_(False)


def loop(network: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    parts = []
    for part in images.split(LOOP):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            parts.append(network(part.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(parts)


def files() -> LabeledImages:
    with zipfile.ZipFile(JPEGS) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")][:COUNT]
        contents = [archive.read(name) for name in names]
    info = DatasetInfo("coco-mini", ("image",), ("test",), None, "")
    return LabeledImages(
        info, "test", np.zeros(len(names), np.int64), lambda i: decoding.opened(contents[i]), names, "coco-mini"
    )


def before(images: LabeledImages) -> Tensor:
    (batch,) = batches(images, evaluation(Preprocess()), in_order(len(images), len(images)))
    return batch.views[0]


def now(images: LabeledImages) -> Tensor:
    return Evaluated(images, Preprocess())(Plan(0, np.arange(len(images)))).views[0]


def decoded() -> None:
    images = files()
    assert torch.equal(before(images), now(images)), "the pixels are the same"
    compare(
        f"{len(images)} JPEGs of coco-mini", {"PIL and torchvision": lambda: before(images), "now": lambda: now(images)}
    )


def both() -> None:
    images, draw = files(), torch.Generator().manual_seed(0)
    backbone = lively(build(NETWORKS["ResNet-50"]).eval(), draw)
    ways = {
        "before, bfloat16": lambda: forward(backbone, before(images), FeatureSpec(precision="bfloat16")),
        "now, bfloat16_folded": lambda: Prepared(backbone, FeatureSpec(precision="bfloat16_folded"))(now(images)),
        "before, float32": lambda: forward(backbone, before(images)),
        "now, float32": lambda: Prepared(backbone, FeatureSpec())(now(images)),
    }
    with torch.no_grad():
        compare(f"{len(images)} JPEGs through ResNet-50", ways)


def many() -> None:
    images, draw = files(), torch.Generator().manual_seed(0)
    small = Architecture(family="resnet", arguments={"depth": 18, "width": 0.25})
    backbones = [lively(build(small, seed).eval(), draw) for seed in range(10)]

    def one_by_one() -> Tensor:
        return torch.stack([forward(backbone, before(images)) for backbone in backbones])

    def together() -> Tensor:
        views = SharedPixels(1 << 30).of(images, Preprocess())
        make, plan = Evaluated(images, Preprocess(), views), Plan(0, np.arange(len(images)))
        return torch.stack([Prepared(backbone, FeatureSpec())(make(plan).views[0]) for backbone in backbones])

    with torch.no_grad():
        title = f"{len(images)} JPEGs through ten ResNet-18 of a quarter of the width"
        compare(title, {"before": one_by_one, "now": together})


def tuning() -> None:
    """An epoch of fine-tuning with a hundredth of the labels: training images once, and ten times as many tested on."""
    train, test = (open_split(str(JPEGS.with_name("cifar10-jpeg.zip")), split, Path()) for split in ("train", "test"))
    train, test = train.subset(np.arange(TUNED), "few"), test.subset(np.arange(10 * TUNED), "few")
    preprocess, draw = Preprocess(size=None, crop=32), torch.Generator().manual_seed(0)
    transform = TrainingTransform(preprocess, (0.08, 1.0), 0.5)
    plans, seen = in_order(len(train), 128), in_order(len(test), 256)
    backbone = lively(build(Architecture(family="resnet", arguments={"depth": 18, "stem": "cifar"})), draw)
    backbone.requires_grad_(True)
    quick, views = (
        copy.deepcopy(backbone).to(memory_format=torch.channels_last),
        SharedPixels(1 << 30).of(test, preprocess),
    )
    make, tested = TrainedOn(train, transform, 0), Evaluated(test, preprocess, views)

    def step(network: nn.Module, images: Tensor) -> Tensor:
        loss = network.train()(images).square().mean()
        loss.backward()
        network.zero_grad()
        return loss.detach()

    def trained_before() -> Tensor:
        return torch.stack([step(backbone, batch.views[0]) for batch in batches(train, transform, plans)])

    def trained_now() -> Tensor:
        laid_out = (make(plan).views[0].contiguous(memory_format=torch.channels_last) for plan in plans)
        return torch.stack([step(quick, images) for images in laid_out])

    @torch.no_grad()
    def tested_before() -> Tensor:
        backbone.eval()
        return torch.cat([forward(backbone, batch.views[0]) for batch in batches(test, evaluation(preprocess), seen)])

    def tested_now() -> Tensor:
        compute = Prepared(quick, FeatureSpec())
        return torch.cat([compute(tested(plan).views[0]) for plan in seen])

    print(f"losses {float((trained_before() - trained_now()).abs().max()):.1e} apart")
    compare(f"{len(train)} training steps' images", {"before": trained_before, "now": trained_now})
    compare(f"{len(test)} test images", {"before": tested_before, "now": tested_now})
    epochs = {"before": (trained_before, tested_before), "now": (trained_now, tested_now)}
    compare(
        "an epoch",
        {name: partial(lambda run: torch.stack([each().sum() for each in run]), run) for name, run in epochs.items()},
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    kinds = [kind for kind in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {kind}" in flags]
    print(f"torch {torch.__version__}; {torch.backends.cpu.get_cpu_capability()}; {', '.join(kinds)}")
    parts = {"network": networks, "images": decoded, "both": both, "many": many, "tuning": tuning}
    for chosen in sys.argv[1:] or parts:
        parts[chosen]()
