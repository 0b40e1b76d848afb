"""Views by PIL, in batches of tensors and by machine code: the same views, one thread, CPU time, in one run.

    python benchmarks/views.py                        # synthetic pictures: about two minutes on one core
    python benchmarks/views.py /path/to/data          # also the folder's cifar10-jpeg.zip and coco-mini.zip, if there

A line gives microseconds a view by the plain pipeline (torchvision's transforms on PIL images, as in published code),
the ratio of the other ways to it, and how much their pixels differ from PIL's by the same numbers: nothing at all.
Ways alternate; medians. Lines of JPEGs include decoding: an image is decoded once and gives two views.
"""

import io
import statistics
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms as T

from decorssl import recipe as recipes
from decorssl import view_pipeline
from decorssl.views import Views
from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.augment import Blur, Change, Crop, Flip, Gray, Jitter, Solarize
from transferbench.data.loading import OneByOne, Plan

REPEATS = 7
CPU = torch.device("cpu")
WAYS: list[view_pipeline.Way] = ["pil", "batched", *(["compiled"] if find_spec("numba") else [])]


def published(operations: Sequence[Change], views: Views) -> T.Compose:
    """The view with torchvision's transforms."""
    steps: list[Callable] = []
    for operation in operations:
        match operation:
            case Crop():
                mode = T.InterpolationMode(operation.interpolation)
                steps.append(T.RandomResizedCrop(operation.size, operation.scale, operation.ratio, mode))
            case Jitter():
                parts = operation.brightness, operation.contrast, operation.saturation, operation.hue
                steps.append(T.RandomApply([T.ColorJitter(*parts)], operation.p))
            case Gray():
                steps.append(T.RandomGrayscale(operation.p))
            case Blur():
                steps.append(lambda image, blur=operation: blur(image, np.random.default_rng()))
            case Solarize():
                steps.append(T.RandomSolarize(operation.threshold, operation.p))
            case Flip():
                steps.append(T.RandomHorizontalFlip(operation.p))
            case _:
                raise ValueError(operation)
    return T.Compose([*steps, T.ToTensor(), T.Normalize(views.preprocess.mean, views.preprocess.std)])


def of(read: Callable[[int], Image.Image], n: int, side: int | None) -> LabeledImages:
    info = DatasetInfo("benchmark", ("a",), ("train",), side, "1")
    return LabeledImages(info, "train", np.zeros(n, np.int64), read, [str(i) for i in range(n)], "benchmark")


def synthetic(n: int, width: int, height: int) -> LabeledImages:
    rng = np.random.default_rng(0)
    small = [Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)) for _ in range(n)]
    large = [image.resize((width, height), Image.Resampling.BICUBIC) for image in small]
    return of(lambda i: large[i].copy(), n, None)


def jpegs(path: Path, n: int) -> LabeledImages:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith((".jpg", ".jpeg"))]
        files = [archive.read(name) for name in names[:: max(1, len(names) // n)][:n]]
    return of(lambda i: Image.open(io.BytesIO(files[i])), len(files), None)


def compare(name: str, images: LabeledImages, recipe_name: str, batch: int) -> None:
    recipe = recipes.read(recipe_name)
    views = Views(recipe.views, recipe.preprocess)
    plain = [published(view.operations, views) for view in recipe.views]
    plans = [Plan(0, np.arange(start, start + batch)) for start in range(0, len(images) - batch + 1, batch)]
    sources = {way: view_pipeline.supply(images, views, 0, CPU, way).make for way in WAYS}
    exact = OneByOne(images, views, 0)(plans[0])
    apart = {way: difference(sources[way](plans[0]).views, exact.views, views) for way in WAYS}

    def by_torchvision(plan: Plan) -> None:
        torch.stack([transform(image) for i in plan.indices for image in [images.image(int(i))] for transform in plain])

    makers = {"torchvision": by_torchvision, **sources}
    spent = {way: [] for way in makers}
    for _ in range(REPEATS):
        for way, make in makers.items():
            before = time.process_time()
            for plan in plans:
                make(plan)
            spent[way].append(time.process_time() - before)
    count = len(plans) * batch * len(plain)
    each = {way: statistics.median(times) / count * 1e6 for way, times in spent.items()}
    ratios = "  ".join(f"{way} {each['torchvision'] / each[way]:5.2f}x" for way in WAYS)
    worst = "  ".join(f"{way} {most:.0f}/255 (mean {mean:.3f})" for way, (most, mean) in apart.items() if way != "pil")
    print(f"{name:34} torchvision {each['torchvision']:7.1f} us  {ratios}   differ: {worst}", flush=True)


def difference(ours: Sequence[torch.Tensor], pils: Sequence[torch.Tensor], views: Views) -> tuple[float, float]:
    """The largest and the mean difference, in levels of 255."""
    std = torch.tensor(views.preprocess.std)[:, None, None]
    apart = torch.cat([((a - b).abs() * std * 255).flatten() for a, b in zip(ours, pils, strict=True)])
    return apart.max().item(), apart.mean().item()


def main() -> None:
    torch.set_num_threads(1)
    compare("32 px in memory, INTL", synthetic(256, 32, 32), "intl-cifar10", 64)
    compare("32 px in memory, SimCLR with blur", synthetic(256, 32, 32), "simclr-cifar10-solo", 64)
    compare("64 px in memory, W-MSE", synthetic(128, 64, 64), "wmse-tiny-imagenet-2views", 32)
    compare("500 x 375 in memory, INTL 224 px", synthetic(24, 500, 375), "intl-imagenet", 8)
    for folder in map(Path, sys.argv[1:2]):
        if (folder / "cifar10-jpeg.zip").is_file():
            compare("CIFAR-10, INTL", jpegs(folder / "cifar10-jpeg.zip", 256), "intl-cifar10", 64)
        if (folder / "coco-mini.zip").is_file():
            compare("COCO, decoded, INTL 224 px", jpegs(folder / "coco-mini.zip", 24), "intl-imagenet", 8)


if __name__ == "__main__":
    main()
