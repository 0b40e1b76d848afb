"""Features of a data set, extracted once for each (weights, images, transform) and cached on disk by content."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from transferbench import settings, state
from transferbench.backbones import Backbone
from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.data.evaluation_views import evaluated
from transferbench.data.loading import Plan
from transferbench.errors import UserError
from transferbench.features import repeats
from transferbench.features.prepared import Prepared
from transferbench.features.pruning import touch
from transferbench.features.resumable_array import ResumableArray, claimed
from transferbench.features.spec import POOLED, LayerSpec, Precision, feature_spec, forward
from transferbench.runtime import Runtime

SCHEMA = 4
"""Changes with the bits of features: no array mixes those of two ways to compute."""
BATCH = 256
"""Images that are loaded and kept together, and on an accelerator computed together: their last bits depend on it."""

Report = Callable[[int, int], None]
"""Called with (images done, images in all) by this process during a long loop."""


@dataclass(frozen=True)
class FeatureSet:
    """One split as a backbone sees it, in the order of the data set; `features` may be mapped from disk.

    They are float32 unless the reading says otherwise.
    """

    features: Float[np.ndarray, "n d"]
    labels: Int64[np.ndarray, "n"]


def extract(
    candidate: Candidate,
    images: LabeledImages,
    cache: Path,
    runtime: Runtime,
    workers: int,
    asked: Precision | LayerSpec = "float32",
    report: Report | None = None,
) -> FeatureSet:
    """Features of every image, from the cache when they lie there whole.

    Several processes share the images, each taking a contiguous range of the same batches, and write into one file;
    `cache` must be a folder that all of them see. What was computed before a call was stopped or killed is found again
    by the next one, and the result is the same to the bit, by however many processes. The backbone runs in eval mode
    and gets its training flags back. A `RepeatedFeaturesWarning` tells where most images have the same features.

    Raises:
        UserError: for an image that cannot be decoded, a layer that is not there, features that are not finite, or kept
            ones of another width.
    """
    identity = _identity(candidate, images, feature_spec(asked))
    path = place(candidate, images, cache, asked)
    candidate.backbone.to(runtime.device)
    is_cached = runtime.gather_objects(_is_whole(path, identity) if runtime.is_main else None)[0]
    if not is_cached:
        with claimed(path, runtime, feature_spec(asked).kept_in) as work:
            _compute(candidate, images, work, runtime, workers, feature_spec(asked), report)
            if runtime.is_main:
                _seal(work.path, path, identity)
        runtime.barrier()
    features = np.load(path, mmap_mode="r")
    if is_cached:
        touch(path.with_suffix(".json"))
        _require_width(path, features.shape[1], _width_of(candidate, images, runtime, feature_spec(asked)), candidate)
    if runtime.is_main:
        repeats.warn(features, candidate.name, f"{images.info.name}/{images.split}")
    return FeatureSet(features, images.labels)


def cached(candidate: Candidate, images: LabeledImages, cache: Path, asked: Precision | LayerSpec) -> FeatureSet | None:
    """Features that lie whole in the cache; None where they do not. The candidate's weights are not looked at."""
    path = place(candidate, images, cache, asked)
    is_whole = _is_whole(path, _identity(candidate, images, feature_spec(asked)))
    return FeatureSet(np.load(path, mmap_mode="r"), images.labels) if is_whole else None


def place(candidate: Candidate, images: LabeledImages, cache: Path, asked: Precision | LayerSpec) -> Path:
    """Where the features of a split are kept, once they are extracted."""
    return cache / "features" / f"{settings.sha256(_identity(candidate, images, feature_spec(asked)))}.npy"


@contextmanager
def cache_of(candidate: Candidate, cache: Path, runtime: Runtime) -> Iterator[Path]:
    """Where a candidate's features are kept; where they hold for this call alone, a folder that goes afterwards."""
    if candidate.is_repeatable:
        yield cache
        return
    cache.mkdir(parents=True, exist_ok=True)
    made = tempfile.mkdtemp(prefix="call-", dir=cache) if runtime.is_main else ""
    folder = Path(runtime.gather_objects(made)[0])
    try:
        yield folder
    finally:
        if runtime.is_main:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside the block; every submodule's own training flag is put back afterwards."""
    flags = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, flag in flags.items():
            part.training = flag


def mine(n: int, runtime: Runtime) -> Int64[np.ndarray, "m"]:
    """This process's contiguous share of the batches that 0 ... n - 1 fall into; in rank order they cover all."""
    return np.array_split(np.arange(-(-n // BATCH)), runtime.world_size)[runtime.rank]


def stream(
    candidate: Candidate,
    images: LabeledImages,
    runtime: Runtime,
    workers: int,
    asked: Precision | LayerSpec,
    numbers: Int64[np.ndarray, "m"] | None = None,
) -> Iterator[tuple[Int64[Tensor, "b"], Float32[Tensor, "b d"]]]:
    """Positions and features of the images in the batches of these numbers, this process's when none are given.

    Batch by batch in order; eval mode, no gradient.
    """
    numbers = mine(len(images), runtime) if numbers is None else numbers
    plans = [Plan(0, np.arange(k * BATCH, min(len(images), (k + 1) * BATCH))) for k in numbers.tolist()]
    compute = Prepared(candidate.backbone, feature_spec(asked))
    for batch in evaluated(images, candidate.card.preprocess, plans, workers):
        with evaluating(candidate.backbone):
            features = compute(batch.views[0].to(runtime.device))
        yield batch.indices, features


def width(
    candidate: Candidate, images: LabeledImages, runtime: Runtime, asked: Precision | LayerSpec = "float32"
) -> int:
    """How many features the reading gives, found with the first image."""
    first = next(evaluated(images, candidate.card.preprocess, [Plan(0, np.zeros(1, np.int64))]))
    with evaluating(candidate.backbone):
        return forward(candidate.backbone, first.views[0].to(runtime.device), asked).shape[1]


def _identity(candidate: Candidate, images: LabeledImages, wanted: LayerSpec) -> dict[str, Any]:
    """Everything that features depend on."""
    return {
        "schema": SCHEMA,
        "digest": candidate.digest,
        "architecture": candidate.card.architecture.model_dump(mode="json"),
        "preprocess": candidate.card.preprocess.model_dump(mode="json"),
        "data": images.fingerprint,
        **wanted.identity,
        "n": len(images),
    }


def _compute(
    candidate: Candidate,
    images: LabeledImages,
    work: ResumableArray,
    runtime: Runtime,
    workers: int,
    wanted: LayerSpec,
    report: Report | None,
) -> None:
    """Fill in those batches that are this process's and were not done before."""
    if runtime.is_main:
        shape = len(images), width(candidate, images, runtime, wanted)
        work.prepare(shape, -(-len(images) // BATCH))
    runtime.barrier()
    work.open()
    share = mine(len(images), runtime)
    left = share[~work.done[share]]
    sizes = np.minimum(BATCH, len(images) - BATCH * share)
    done = int(sizes[work.done[share]].sum())
    seen = 0
    for indices, features in stream(candidate, images, runtime, workers, wanted, left):
        seen += len(indices)
        rows = features.to(getattr(torch, wanted.kept_in))
        _require_finite(rows, candidate, images, indices, seen)
        work.put(int(indices[0]) // BATCH, int(indices[0]), rows.cpu().numpy())
        if report is not None:
            done += len(indices)
            report(done, int(sizes.sum()))
    work.save()
    runtime.barrier()


def _width_of(candidate: Candidate, images: LabeledImages, runtime: Runtime, wanted: LayerSpec) -> int:
    """How many features the reading gives; of a backbone's own output that is known."""
    backbone = candidate.backbone
    if wanted.layer == POOLED and isinstance(backbone, Backbone):
        return backbone.width
    return width(candidate, images, runtime, wanted)


def _require_width(path: Path, kept: int, expected: int, candidate: Candidate) -> None:
    if kept != expected:
        raise UserError(
            f"{path} holds {kept} features an image for {candidate.name}, which gives {expected}: they are another "
            f"network's. Remove {path.with_suffix('')}.* and run again."
        )


def _require_finite(
    features: Float[Tensor, "b d"], candidate: Candidate, images: LabeledImages, indices: Int64[Tensor, "b"], seen: int
) -> None:
    bad = ~features.isfinite().all(1)
    if bad.any():
        half = features.dtype == torch.float16
        first = images.names[int(indices[bad][0])]
        raise UserError(
            f"{candidate.name} gives features that are not finite for {int(bad.sum())} image(s) among the first {seen} "
            f"looked at of {images.info.name}/{images.split}, the first of them '{first}'. Expected finite numbers: "
            "the weights may have diverged or need another preprocessing"
            + (", or the features reach beyond float16, where they are kept in it." if half else ".")
        )


def _seal(part: Path, path: Path, identity: dict[str, Any]) -> None:
    """Give a complete file its name, and the note beside it that proves it whole."""
    note = {"identity": identity, "sha256": state.file_sha256(part)}
    part.replace(path)
    state.write_json(path.with_suffix(".json"), note)


def _is_whole(path: Path, identity: dict[str, Any]) -> bool:
    """Whether the file is there, belongs to `identity` and has the content it was sealed with."""
    try:
        note = json.loads(path.with_suffix(".json").read_text())
        return note == {"identity": identity, "sha256": state.file_sha256(path)}
    except (OSError, ValueError):
        return False
