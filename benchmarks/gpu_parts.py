"""What `benchmarks/gpu.py` measures: every part is a generator of rows, and runs in a process of its own.

A row is a number with its unit, how many runs it is of, and what was timed. A row whose value is None says in `timed`
why there is no number. Sizes behind `ask.pick` are those of a measurement and those of a smoke run.
"""

import gc
import io
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from decorssl import capacity, compiling, monitor, pace
from decorssl import recipe as recipes
from decorssl.loop import Training
from decorssl.recipe import Recipe
from transferbench.data import LabeledImages, open_split, resident
from transferbench.data.loading import Batch
from transferbench.data.sources.cifar10 import CifarReader
from transferbench.data.subsets import limited
from transferbench.errors import UserError
from transferbench.runtime import Runtime, fast_precision, share_cores

T = TypeVar("T")

VIEWS = 2
"""Of every image, in the recipes that are measured."""
SMALL = (
    "backbone={family: vit, arguments: {dim: 32, depth: 1, heads: 2, patch_size: 8, image_size: 32}}",
    "batch_size=16",
    "projector={layers: 1, output: 64}",
)
"""Of the network of a smoke run, which torch.compile is done with in some seconds."""
LARGE = ("backbone.arguments.patch_size=32", "backbone.arguments.image_size=224", "zero_init_residual=false")
"""Of the same at 224 pixels."""
WHOLE_STEP = "forward, loss, backward and SGD of one batch whose views lie on the device"


@dataclass(frozen=True)
class Row:
    """One number. Of rows of one `series` the table shows the last."""

    what: str
    value: float | None
    unit: str
    n: int
    timed: str
    series: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """What is asked of a part: sizes, CIFAR-10's folder, loader processes, how the last part compiles, the commit."""

    smoke: bool
    data: str | None
    workers: int
    compile: compiling.Mode = "off"
    commit: str | None = None

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.smoke else "cuda")

    def pick(self, measured: T, smoke: T) -> T:
        return smoke if self.smoke else measured


Rows = Iterator[Row]


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clocked(work: Callable[[], object], device: torch.device, most: int = 30, enough: float = 3.0) -> list[float]:
    """Seconds of each run after two to warm up, or one that is long: three, and more until `enough` are spent.

    The device has finished before a clock is started and before it is stopped.
    """
    begun = time.perf_counter()
    work()
    synchronize(device)
    if time.perf_counter() - begun < enough / 3:
        work()
    times: list[float] = []
    while len(times) < 3 or (len(times) < most and sum(times) < enough):
        synchronize(device)
        begun = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - begun)
    return times


def rate(what: str, amount: float, unit: str, times: Sequence[float], timed: str, **detail: Any) -> Row:
    """The amount of a run over the median of its seconds."""
    spread = {"fastest_s": min(times), "slowest_s": max(times)}
    return Row(what, amount / statistics.median(times), unit, len(times), timed, detail=spread | detail)


def duration(what: str, times: Sequence[float], timed: str, **detail: Any) -> Row:
    """The median, in milliseconds."""
    spread = {"fastest_s": min(times), "slowest_s": max(times)}
    return Row(what, 1e3 * statistics.median(times), "ms", len(times), timed, detail=spread | detail)


def without(what: str, unit: str, reason: object) -> Row:
    """Why there is no number."""
    kind = f"{type(reason).__name__}: " if isinstance(reason, BaseException) else ""
    lines = str(reason).strip().splitlines()
    return Row(what, None, unit, 0, f"{kind}{lines[0] if lines else ''}")


def copying(ask: Ask) -> tuple[int, list[float]]:
    """Bytes that a copy on the device reads and writes, and the seconds of each."""
    source = torch.empty(ask.pick(4 << 30, 16 << 20), dtype=torch.uint8, device=ask.device)
    target = torch.empty_like(source)
    return 2 * source.nbytes, clocked(partial(target.copy_, source), ask.device)


def limits(ask: Ask) -> Rows:
    """What the device can do at most: bytes copied and products of matrices."""
    size, times = copying(ask)
    yield rate("copy", size / 1e9, "GB/s", times, f"a copy on the device; {size} bytes are read or written")
    side = ask.pick(8192, 256)
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(side, side, device=ask.device, dtype=dtype) for _ in range(2))
        times = clocked(partial(torch.matmul, a, b), ask.device)
        name = str(dtype).removeprefix("torch.")
        yield rate(f"matrix product, {name}", 2 * side**3 / 1e12, "TFLOP/s", times, f"two square matrices of {side}")


def losses(ask: Ask) -> Rows:
    """Whitening losses and the plain formulas of `benchmarks/losses.py`, on the same embeddings.

    CW-RGP not at 8,192 channels: its plain formula inverts permutations by `list.index`, which takes seconds there.
    """
    import losses as plain

    from decorssl.methods import cwrgp, intl
    from decorssl.whiten import Between

    shapes = ask.pick(((256, 2048), (256, 8192), (1024, 2048)), ((16, 64),))
    for n, d in shapes:
        for between in get_args(Between):
            config = intl.Config.model_validate({"covariance_between": between})
            ways = plain.plain_intl(config), plain.ours(intl, config, ask.device)
            yield from _against(ask, plain.Line(f"INTL, {between}", *ways, n, d), is_exact=True)
    for n, d in shapes:
        config = cwrgp.Config.model_validate({"w_size": ask.pick(64, 8)})
        ways = plain.plain_cwrgp(config), plain.ours(cwrgp, config, ask.device)
        if d <= 2048:
            yield from _against(ask, plain.Line("CW-RGP", *ways, n, d), is_exact=False)


def _against(ask: Ask, line: Any, is_exact: bool) -> Rows:
    """The milliseconds of both, and where both are of the same numbers the errors of their gradients."""
    import losses as plain

    views = [z.to(ask.device) for z in plain.embeddings(line)]
    ways = {"plain formula": line.plain, "ours": line.ours}
    errors: dict[str, float] = {}
    if is_exact:
        truth = plain.gradient(line.plain, views, torch.float64)
        norm = truth.norm()
        errors = {name: float((plain.gradient(way, views) - truth).norm() / norm) for name, way in ways.items()}
        del truth
    timed = "forward and backward of the loss of two views in float32"
    for name, way in ways.items():
        times = clocked(partial(plain.gradient, way, views), ask.device)
        error = {"gradient_error": errors[name]} if math.isfinite(errors.get(name, math.nan)) else {}
        yield duration(f"{line.name}, {line.n} x {line.d}, {name}", times, timed, **error)


def neighbors(ask: Ask) -> Rows:
    """Exact k-NN by every engine that is here, all with the same answer."""
    from knn import draw

    from transferbench.neighbors import search

    n, m, d, k = ask.pick((50_000, 10_000, 512, 20), (2_000, 200, 32, 5))
    bank, queries, _ = draw(n, m, d)
    known = None
    timed = "a search from arrays in the host's memory to the answer there, ranked in float64"
    for engine in ("torch", "torch_bf16", "faiss"):
        what = f"{n} x {m} x {d}, k {k}, {engine}"
        if engine == "faiss" and not find_spec("faiss"):
            yield without(what, "queries/s", "FAISS is not installed")
            continue
        if engine == "torch_bf16" and fast_precision(ask.device) != "bfloat16":
            yield without(what, "queries/s", "the device has no instructions for bfloat16")
            continue
        try:
            found = search(bank, queries, k, "cosine", engine, ask.device).indices
            known = found if known is None else known
            times = clocked(partial(search, bank, queries, k, "cosine", engine, ask.device), ask.device, most=5)
            yield rate(what, m, "queries/s", times, timed, same_answer=bool((found == known).all()))
        except UserError as error:
            yield without(what, "queries/s", error)


def extraction(ask: Ask) -> Rows:
    """Features of ResNet-50 and ViT-B/16 as an extraction computes them, without reading images."""
    from features import lively

    from transferbench.backbones import Architecture, build
    from transferbench.features.extraction import BATCH
    from transferbench.features.prepared import Prepared
    from transferbench.features.spec import FeatureSpec, Precision

    vit = {"dim": 768, "depth": 12, "heads": 12, "patch_size": 16, "image_size": 224}
    tiny = {"dim": 48, "depth": 2, "heads": 3, "patch_size": 8, "image_size": 32}
    networks = {
        ask.pick("ResNet-50", "small ResNet"): ("resnet", ask.pick({"depth": 50}, {"depth": 18, "width": 0.25})),
        ask.pick("ViT-B/16", "small ViT"): ("vit", ask.pick(vit, tiny)),
    }
    size, copies = copying(ask)
    bandwidth = size / statistics.median(copies)
    n, side = ask.pick((BATCH, 224), (4, 32))
    for name, (family, arguments) in networks.items():
        draw = torch.Generator().manual_seed(0)
        backbone = lively(build(Architecture(family=family, arguments=arguments)).eval(), draw).to(ask.device)
        images = torch.randn(n, 3, side, side, generator=draw).to(ask.device)
        for precision in get_args(Precision):
            compute = Prepared(backbone, FeatureSpec(precision=precision))
            work = partial(compute, images)
            moved, flops = traffic(compute.backbone, work)
            times = clocked(work, ask.device)
            second = statistics.median(times)
            detail = {
                "layer_bytes": moved,
                "share_of_copy": moved / second / bandwidth,
                "tflops": flops / second / 1e12,
            }
            timed = f"batches of {n} that lie on the device"
            yield rate(f"{name}, {precision}", n, "images/s", times, timed, **detail)
            yield Row(
                f"{name}, {precision}, layers' bytes over those of a copy",
                100 * detail["share_of_copy"],
                "%",
                len(times),
                "bytes of every layer's input, output and weights a second, over the bytes of a copy a second",
            )


def traffic(network: nn.Module, work: Callable[[], object]) -> tuple[int, int]:
    """Bytes and floating-point operations of one run: what each layer reads and writes, once, and its products.

    Layers are modules without others inside. What is no layer, such as a sum with a shortcut or attention inside a
    block, is not among the bytes, and weights that autocast converts are counted as they are kept.
    """
    total = 0

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        if isinstance(module, nn.Identity | nn.Dropout):
            return
        tensors = [each for each in (*inputs, output) if isinstance(each, Tensor)]
        total += sum(each.nbytes for each in (*tensors, *module.parameters(recurse=False)))

    hooks = [part.register_forward_hook(note) for part in network.modules() if not list(part.children())]
    with FlopCounterMode(display=False) as counter:
        work()
    for hook in hooks:
        hook.remove()
    return total, counter.get_total_flops()


def titled(recipe: Recipe) -> str:
    """What is trained, in words."""
    return f"{recipe.name}, {recipe.backbone.name}, batch {recipe.batch_size}, {recipe.precision}"


def _recipe(ask: Ask, name: str) -> Recipe:
    small = (*SMALL, *(LARGE if name == "intl-imagenet" else ()))
    return recipes.read(name, ask.pick((), small)).resolved(ask.device)


def pictures(ask: Ask, recipe: Recipe) -> LabeledImages:
    """As small as the views, so that the device holds them; or JPEGs in memory for loader processes to decode."""
    from views import of, synthetic

    n = 8 * recipe.batch_size
    if recipe.preprocess.crop == 32:
        return synthetic(n, 32, 32)
    some, files = synthetic(ask.pick(64, 4), *ask.pick((500, 375), (160, 140))), list[bytes]()
    for i in range(len(some)):
        file = io.BytesIO()
        some.image(i).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    from PIL import Image

    return of(lambda i: Image.open(io.BytesIO(files[i % len(files)])), n, None)


def step32(ask: Ask) -> Rows:
    """INTL with a ResNet-18 at 32 pixels, not compiled."""
    yield from steps(ask, "intl-cifar10")


def step224(ask: Ask) -> Rows:
    """INTL with a ResNet-50 at 224 pixels, not compiled."""
    yield from steps(ask, "intl-imagenet")


def steps(ask: Ask, name: str) -> Rows:
    """The training step alone, then the training loop with everything that it waits for."""
    from step import Ours

    recipe = _recipe(ask, name)
    images, device = pictures(ask, recipe), ask.device
    side = Ours(recipe, images, device)
    views = side.views()
    seen, what = VIEWS * recipe.batch_size, titled(recipe)
    times = clocked(partial(side.step, views), device, most=ask.pick(50, 3))
    yield rate(f"{what}, eager", seen, "views/s", times, WHOLE_STEP)
    del side, views
    share_cores(ask.workers)
    training = Training(recipe, images, Runtime(device), ask.workers)
    stream, warm, most = training.steps(), *ask.pick((10, 200), (1, 3))
    for _ in islice(stream, warm):
        pass
    synchronize(device)
    begun = time.perf_counter()
    count, waited = 0, 0.0
    for step in stream:
        count, waited = count + 1, waited + step.waited
        if count == most or time.perf_counter() - begun > ask.pick(12.0, 5.0):
            break
    synchronize(device)
    spent = time.perf_counter() - begun
    source = "images on the device" if recipe.preprocess.crop == 32 else "JPEGs in memory, decoded by loader processes"
    timed = f"{count} steps of the training loop with {ask.workers} loader processes; {source}"
    yield Row(f"{what}, eager, with views made", seen * count / spent, "views/s", count, timed)
    yield Row(f"{what}, eager, waiting for views", 100 * waited / spent, "% of the time", count, timed)


def compile32(ask: Ask) -> Rows:
    """The step of `step32` by `torch.compile`, which with `reduce-overhead` records CUDA graphs of the network."""
    yield from compiled(ask, "intl-cifar10")


def compile224(ask: Ask) -> Rows:
    """The step of `step224` likewise."""
    yield from compiled(ask, "intl-imagenet")


def compiled(ask: Ask, name: str) -> Rows:
    """`--compile default` and `reduce-overhead`; a network that fell back to eager has no number."""
    from step import Ours

    recipe, device = _recipe(ask, name), ask.device
    images = pictures(ask, recipe)
    seen, what = VIEWS * recipe.batch_size, titled(recipe)
    views = Ours(recipe, images, device).views()
    for mode in ask.pick(("default", "reduce-overhead"), ("default",)):
        said: list[str] = []
        side = Ours(recipe, images, device, compiling.prepare(mode, said.append))
        synchronize(device)
        begun = time.perf_counter()
        side.step(views)
        synchronize(device)
        first = time.perf_counter() - begun
        network = side.passes.network
        assert isinstance(network, compiling.CompiledNetwork)
        if network._compiled is network.network:
            yield without(f"{what}, --compile {mode}", "views/s", said[-1])
            continue
        times = clocked(partial(side.step, views), device, most=ask.pick(50, 3))
        yield rate(f"{what}, --compile {mode}", seen, "views/s", times, WHOLE_STEP, said=said)
        yield Row(f"{what}, --compile {mode}, first step", first, "s", 1, "the first step, which compiles")


def graph32(ask: Ask) -> Rows:
    """The whole step of `step32` as one CUDA graph."""
    yield captured(ask, "intl-cifar10")


def graph224(ask: Ask) -> Rows:
    """The whole step of `step224` likewise."""
    yield captured(ask, "intl-imagenet")


def captured(ask: Ask, name: str) -> Row:
    """Whether a whole training step can be recorded as one CUDA graph, and how fast it is replayed.

    A replay has the learning rate and the random numbers of its recording: this is a measure, and no way to train.
    """
    from step import Ours

    recipe = _recipe(ask, name)
    what, unit = f"{titled(recipe)}, whole step as a CUDA graph", "views/s"
    if ask.device.type != "cuda":
        return without(what, unit, "not tried: CUDA graphs are of a GPU, and this device is the CPU")
    side = Ours(recipe, pictures(ask, recipe), ask.device)
    views = side.views()
    try:
        apart = torch.cuda.Stream()
        apart.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(apart):
            for _ in range(3):
                side.step(views)
        torch.cuda.current_stream().wait_stream(apart)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            side.step(views)
        before = [weight.clone() for weight in side.training.learner.parameters()]
        times = clocked(graph.replay, ask.device, most=50)
        after = side.training.learner.parameters()
        moved = any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    except Exception as error:
        return without(what, unit, error)
    if not moved:
        return without(what, unit, "captured, but a replay leaves the weights as they are")
    return rate(what, VIEWS * recipe.batch_size, unit, times, "a replay of the captured step", captured=True)


def detection(ask: Ask) -> Rows:
    """Training steps of Mask R-CNN with ResNet-50-C4, on scenes that are resized as the recipe says."""
    from transferbench.backbones import Architecture
    from transferbench.checkpoints.load import random_control
    from transferbench.data.transforms import Preprocess
    from transferbench.detection import adaptation
    from transferbench.detection.model.detector import build
    from transferbench.detection.training import Ground, loop, optimization

    name, depth = ask.pick(("coco_R_50_C4_1x", 50), ("micro-r18-c4", 18))
    candidate = random_control(Architecture(family="resnet", arguments={"depth": depth}), Preprocess(), 0)
    train = open_split("digit-scenes", "train", Path())
    recipe = adaptation.resolved(name, adaptation.following(candidate.card, train), None)
    backbone: Any = candidate.backbone
    detector = build(recipe, backbone, len(train.info.classes), 0)
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(Runtime(ask.device), Path(folder), "benchmark", ask.workers)
        training = loop._Training(detector, train, recipe, 0, ground)
        for group in training.optimizer.param_groups:  # where its warm-up begins: what is random does not diverge
            group["lr"] = group["base"] * optimization.factor(recipe, 0)
        begun, count = time.perf_counter(), ask.pick(6, 2)
        batches = list(training._batches(0, count))
        spent = time.perf_counter() - begun
        again = cycle(batches)
        times = clocked(lambda: training._step(next(again)), ask.device, most=20, enough=ask.pick(10.0, 1.0))
    images, sides = recipe.SOLVER.IMS_PER_BATCH, [list(each.pixels.shape[1:]) for each in batches[0]]
    timed = f"a step of {images} images that are loaded; the embedded scenes, square, resized by the recipe"
    half = recipe.SOLVER.AMP.ENABLED
    yield duration(f"{name}, {images} images a step", times, timed, sides=sides, mixed_precision=half, **peak(ask))
    timed = f"{count} batches, {ask.workers} loader processes, their start included"
    yield Row(f"{name}, loading", images * count / spent, "images/s", count, timed)


def peak(ask: Ask) -> dict[str, float]:
    """The most bytes that torch held on the device since it was asked to count anew."""
    return {"peak_bytes": torch.cuda.max_memory_allocated(ask.device)} if ask.device.type == "cuda" else {}


def memory(ask: Ask) -> Rows:
    """The memory of a step, and the largest batch: planned by `decorssl.capacity`, then tried."""
    from step import Ours

    for name in ("intl-cifar10", "intl-imagenet"):
        recipe = _recipe(ask, name)
        side = Ours(recipe, pictures(ask, recipe), ask.device)
        what = titled(recipe)
        if ask.device.type != "cuda":
            side.step(_noise(recipe, recipe.batch_size, ask.device))
            yield without(f"{what}, peak memory", "GiB", "torch counts the memory of a GPU, and this device is the CPU")
            continue
        side.step(side.views())
        torch.cuda.reset_peak_memory_stats(ask.device)
        side.step(side.views())
        timed = f"most held by torch during a step of batch {recipe.batch_size}, its views included"
        yield Row(f"{what}, peak memory", peak(ask)["peak_bytes"] / 2**30, "GiB", 1, timed)
        planned = capacity.fitting(side.training)
        side.training.learner.train()
        yield _tried(side, recipe, planned, ask.device, f"{what}, largest batch")
        del side
        _emptied()


def _tried(side: Any, recipe: Recipe, planned: int | None, device: torch.device, what: str) -> Row:
    """The planned batch, or the first of its halves with which a step runs."""
    errors: list[str] = []
    size = planned or recipe.batch_size
    while size >= recipe.batch_size and len(errors) < 4:
        try:
            side.step(_noise(recipe, size, device))
            synchronize(device)
            timed = "a step of random views ran; halved from the planned batch until one did"
            return Row(what, size, "images", 1, timed, detail={"planned": planned, "failed": errors})
        except RuntimeError as error:  # too little memory, or more numbers than a kernel can count
            errors.append(f"{size}: {str(error).splitlines()[0]}")
        _emptied()
        size //= 2
    return without(what, "images", f"planned {planned}; failed: {'; '.join(errors)}")


def _emptied() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def _noise(recipe: Recipe, n: int, device: torch.device) -> Batch:
    side = recipe.preprocess.crop
    views = tuple(torch.randn(n, 3, side, side, device=device) for _ in range(VIEWS))
    return Batch(views, torch.zeros(n, dtype=torch.int64), torch.arange(n))


def train(ask: Ask) -> Rows:
    """The recipe `intl-cifar10-fast` until the time is up, with 20-NN on the test split after each epoch.

    Seconds of training are those of epochs, from the first batch that is waited for to the device's end; k-NN between
    them is not counted, and loader processes can work ahead while it runs.
    """
    small = (*SMALL, "epochs=2", "growth=[{until_epoch: 1, scale: 0.5}]")
    recipe = recipes.read("intl-cifar10-fast", (f"data={ask.data or 'digits'}", *ask.pick((), small)))
    recipe, device = recipe.resolved(ask.device), ask.device
    begun = time.perf_counter()
    images, test = (open_split(recipe.data, split, Path()) for split in (recipe.split, "test"))
    images, test = (held(limited(each, 128, 0) if ask.smoke else each) for each in (images, test))
    decoded = time.perf_counter() - begun
    yield Row("images decoded", len(images) + len(test), "images", 1, f"once, in {decoded:.1f} s, before training")
    said: list[str] = []
    share_cores(ask.workers)
    training = Training(
        recipe, images, Runtime(device), ask.workers, "auto", compiling.prepare(ask.compile, said.append)
    )
    every, lines, reached = training.steps_per_epoch, list[dict[str, float]](), set[float]()
    began = before = time.perf_counter()
    waited = 0.0
    for step in training.steps():
        waited += step.waited
        if step.index % every:
            continue
        synchronize(device)
        lines.append({"seconds": time.perf_counter() - before, "waited": waited})
        lines.append({"epoch": step.epoch, "knn": monitor.accuracy(training, test)})
        now, wall = pace.of(recipe.name, lines, every * recipe.batch_size), time.perf_counter() - began
        yield from _told(recipe, now, lines[-2]["seconds"], wall, len(test), said)
        for level in pace.LEVELS:
            if level not in reached and (point := now.reached(level)):
                reached.add(level)
                timed = f"training until the end of epoch {point.epoch + 1}, the first with such a k-NN; k-NN left out"
                yield Row(f"to {level:g} %", point.seconds, "s", 1, timed, detail={"wall_s": wall})
        before, waited = time.perf_counter(), 0.0


def _told(recipe: Recipe, now: pace.Pace, last: float, wall: float, n: int, said: list[str]) -> Rows:
    """What an epoch led to, of whose training `last` are the seconds, and how fast all went so far."""
    check, share = now.checks[-1], now.waited / now.seconds
    epoch = check.epoch + 1
    detail = {"epoch": epoch, "epoch_s": last, "training_s": now.seconds, "wall_s": wall, "said": list(said)}
    timed = f"20-NN after epoch {epoch} of {recipe.epochs}; {now.seconds:.1f} s of training, {wall:.1f} s with k-NN"
    yield Row("k-NN", check.knn, "%", n, timed, "k-NN", detail)
    timed = f"epochs 1 to {epoch}, views growing; waiting for views {100 * share:.1f} % of the time"
    yield Row("training", VIEWS * now.images / now.seconds, "views/s", epoch, timed, "speed")


def held(images: LabeledImages) -> LabeledImages:
    """The same images, decoded once."""
    pixels = resident.pixels(images, torch.get_num_threads())
    return images if pixels is None else replace(images, read=CifarReader(pixels))


@dataclass(frozen=True)
class Part:
    """What is measured, and how many seconds it may take of a measurement's 480."""

    work: Callable[[Ask], Rows]
    limit: float


PARTS: dict[str, Part] = {
    "limits": Part(limits, 15),
    "losses": Part(losses, 35),
    "neighbors": Part(neighbors, 30),
    "step32": Part(step32, 35),
    "extraction": Part(extraction, 50),
    "step224": Part(step224, 40),
    "detection": Part(detection, 40),
    "memory": Part(memory, 35),
    "graph32": Part(graph32, 15),
    "graph224": Part(graph224, 20),
    "compile32": Part(compile32, 60),
    "compile224": Part(compile224, 75),
    "train": Part(train, 480),
}
"""Cheapest first; the last has all the time that is left."""
