"""Features of a data set, extracted once for each (weights, images, transform) and cached on disk by content."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from transferbench import settings, state
from transferbench.checkpoints import Candidate
from transferbench.data import LabelledImages
from transferbench.data.loading import Plan, batches
from transferbench.data.transforms import evaluation
from transferbench.errors import UserError
from transferbench.runtime import Runtime

SCHEMA = 1
BATCH = 256

Precision = Literal["float32", "bfloat16"]
"""What a backbone computes in; features are kept in float32 either way."""

Report = Callable[[int, int], None]
"""Told (images done, images in all) by this process as a long loop goes on."""


@dataclass(frozen=True)
class FeatureSet:
    """One split as a backbone sees it, in the order of the data set; `features` may be mapped from disk."""

    features: Float32[np.ndarray, "n d"]
    labels: Int64[np.ndarray, "n"]


def extract(
    candidate: Candidate,
    images: LabelledImages,
    cache: Path,
    runtime: Runtime,
    workers: int,
    precision: Precision = "float32",
    report: Report | None = None,
) -> FeatureSet:
    """Pooled features of every image, from the cache when they lie there whole.

    Several processes share the images, each taking one contiguous part, and write into one file; `cache` must be a
    folder that all of them see. The backbone runs in eval mode and gets its training flags back.

    Raises:
        UserError: for an image that cannot be decoded, or features that are not finite.
    """
    identity = _identity(candidate, images, precision)
    path = cache / "features" / f"{settings.sha256(identity)}.npy"
    candidate.backbone.to(runtime.device)
    is_cached = runtime.gather_objects(_is_whole(path, identity) if runtime.is_main else None)[0]
    if not is_cached:
        token = runtime.gather_objects(os.urandom(4).hex())[0]
        part = path.with_name(f".{path.name}.{token}")
        try:
            _compute(candidate, images, part, runtime, workers, precision, report)
            if runtime.is_main:
                _seal(part, path, identity)
        finally:
            if runtime.is_main:
                part.unlink(missing_ok=True)
        runtime.barrier()
    return FeatureSet(np.load(path, mmap_mode="r"), images.labels)


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
    """This process's contiguous share of 0 ... n - 1; the shares in rank order are all of it, once."""
    return np.array_split(np.arange(n), runtime.world_size)[runtime.rank]


def stream(
    candidate: Candidate, images: LabelledImages, runtime: Runtime, workers: int, precision: Precision
) -> Iterator[tuple[Int64[Tensor, "b"], Float32[Tensor, "b d"]]]:
    """Positions and features of this process's share of the images, batch by batch in order; eval mode, no gradient."""
    share = mine(len(images), runtime)
    plans = [Plan(0, share[start : start + BATCH]) for start in range(0, len(share), BATCH)]
    transform = evaluation(candidate.card.preprocess)
    for batch in batches(images, transform, plans, workers=workers):
        with evaluating(candidate.backbone):
            features = forward(candidate.backbone, batch.views[0].to(runtime.device), precision)
        yield batch.indices, features


def width(candidate: Candidate, images: LabelledImages, runtime: Runtime) -> int:
    """How many features the backbone gives, found with the first image."""
    first = next(batches(images, evaluation(candidate.card.preprocess), [Plan(0, np.zeros(1, np.int64))]))
    with evaluating(candidate.backbone):
        return candidate.backbone(first.views[0].to(runtime.device)).shape[1]


def forward(backbone: nn.Module, images: Float[Tensor, "b 3 h w"], precision: Precision) -> Float32[Tensor, "b d"]:
    """The backbone's output in float32, computed in `precision`."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        return backbone(images).float()


def _identity(candidate: Candidate, images: LabelledImages, precision: Precision) -> dict[str, Any]:
    """Everything that features depend on."""
    return {
        "schema": SCHEMA,
        "digest": candidate.digest,
        "architecture": candidate.card.architecture.model_dump(mode="json"),
        "preprocess": candidate.card.preprocess.model_dump(mode="json"),
        "data": images.fingerprint,
        "layer": "pooled",
        "precision": precision,
        "n": len(images),
    }


def _compute(
    candidate: Candidate,
    images: LabelledImages,
    path: Path,
    runtime: Runtime,
    workers: int,
    precision: Precision,
    report: Report | None,
) -> None:
    """Write this process's part of the features into the array file at `path`, which the main process makes."""
    if runtime.is_main:
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (len(images), width(candidate, images, runtime))
        np.lib.format.open_memmap(path, "w+", np.float32, shape).flush()
    runtime.barrier()
    rows, done = np.lib.format.open_memmap(path, "r+"), 0
    for indices, features in stream(candidate, images, runtime, workers, precision):
        _require_finite(features, candidate, images, indices)
        rows[indices.numpy()] = features.cpu().numpy()
        if report is not None:
            done += len(indices)
            report(done, len(mine(len(images), runtime)))
    rows.flush()
    runtime.barrier()


def _require_finite(
    features: Float[Tensor, "b d"], candidate: Candidate, images: LabelledImages, indices: Int64[Tensor, "b"]
) -> None:
    bad = ~features.isfinite().all(1)
    if bad.any():
        first = images.names[int(indices[bad][0])]
        raise UserError(
            f"{candidate.name} gives features that are not finite for {int(bad.sum())} image(s), first '{first}'. "
            "Expected finite numbers: the weights may have diverged or belong to another preprocessing."
        )


def _seal(part: Path, path: Path, identity: dict[str, Any]) -> None:
    """Give a complete file its name, and the note beside it that proves it whole."""
    note = {"identity": identity, "sha256": _file_sha256(part)}
    part.replace(path)
    state.write_json(path.with_suffix(".json"), note)


def _is_whole(path: Path, identity: dict[str, Any]) -> bool:
    """Whether the file is there, belongs to `identity` and has the content it was sealed with."""
    try:
        note = json.loads(path.with_suffix(".json").read_text())
        return note == {"identity": identity, "sha256": _file_sha256(path)}
    except (OSError, ValueError):
        return False


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
