"""Features of a data set as arrays, for whatever is done with them elsewhere; `evaluate features` writes them."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float32, Int8, Int64
from torch import nn

from transferbench import settings, state
from transferbench.checkpoints import Candidate
from transferbench.checkpoints.load import load, wrap
from transferbench.data import LabeledImages, looked_at, open_split
from transferbench.data.dataset import numbered_as
from transferbench.data.live import LabeledSplits, handed_over
from transferbench.data.subsets import limited
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError, unknown
from transferbench.features import extraction
from transferbench.features.spec import FeatureSpec
from transferbench.run.dataset_cache import LIMIT_SEED
from transferbench.runtime import Runtime, cache_root, data_root, start, version

ALL = "all"
SPLITS = ("train", "val", "test")
ENDING = ".npz"

Report = Callable[[int, int], None]
"""Called with (images done, images in all)."""


@dataclass(frozen=True)
class SplitFeatures:
    """One split as a candidate sees it, in the order of the data set.

    Attributes:
        features: what was read of the backbone, not normalized; may be mapped from disk, and then cannot be changed.
        labels: the number of each image's class, -1 where it has none; with several labels that of the first.
        ids: the name of each image in the data set.
        fingerprint: a sha256 that changes with images and labels.
        targets: where an image may show several classes, 1 (there), 0 (not there) or -1 (hard to tell) for each.
    """

    features: Float32[np.ndarray, "n d"]
    labels: Int64[np.ndarray, "n"]
    ids: tuple[str, ...]
    fingerprint: str
    targets: Int8[np.ndarray, "n c"] | None = None


@dataclass(frozen=True)
class ExtractedFeatures:
    """Features of the splits of a data set: `extracted["train"].features`.

    Attributes:
        splits: by their names.
        classes: what the labels number.
        about: what the features depend on, and names: candidate, digest, architecture, preprocessing, data,
            fingerprints, settings of features, limit, notes.
    """

    splits: Mapping[str, SplitFeatures]
    classes: tuple[str, ...]
    about: Mapping[str, Any]

    def __getitem__(self, split: str) -> SplitFeatures:
        """The split of that name.

        Raises:
            UserError: when it was not extracted.
        """
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        return self.splits[split]

    def write(self, path: Path, force: bool = False) -> None:
        """Write an `.npz`: for each split S `S_features`, `S_labels`, `S_ids`, with several labels `S_targets`.

        Beside them `classes`, and `about` as JSON. It is there whole or not at all, and is read without pickle.

        Raises:
            UserError: when something is there, unless by `force`, or the name does not end as it has to.
        """
        require_place(path, force)
        arrays: dict[str, np.ndarray] = {"classes": np.array(self.classes, np.str_)}
        for name, split in self.splits.items():
            arrays |= {f"{name}_features": split.features, f"{name}_labels": split.labels}
            arrays |= {f"{name}_ids": np.array(split.ids, np.str_)}
            arrays |= {} if split.targets is None else {f"{name}_targets": split.targets}
        about = json.dumps(dict(self.about), allow_nan=False)
        with state.replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays, about=np.array(about))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class ExtractionRequest:
    """What to extract, and of what: as for `extract`; `encoder` and `stated` as for `load`."""

    model: Candidate | nn.Module | str | Path
    data: str | Path | LabeledSplits
    split: str = ALL
    features: FeatureSpec | Mapping[str, Any] | None = None
    limit: int | None = None
    image_range: Sequence[int | float] | None = None
    preprocess: Preprocess | None = None
    encoder: str | None = None
    stated: Sequence[str] = ()


@dataclass(frozen=True)
class Extraction:
    """Work that is checked and ready: the model is read, and its images are found."""

    candidate: Candidate
    images: Mapping[str, LabeledImages]
    spec: FeatureSpec
    limit: int | None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the features has to know of the data."""
        return tuple(dict.fromkeys(note for images in self.images.values() for note in images.notes))

    def run(self, runtime: Runtime, cache: Path, workers: int = 0, report: Report | None = None) -> ExtractedFeatures:
        """Extract what does not lie in `cache`; a call that was stopped is continued by the next one.

        Raises:
            UserError: for an image that cannot be decoded, a layer that is not there, or features that are not finite.
        """
        total, before = sum(map(len, self.images.values())), 0
        splits: dict[str, SplitFeatures] = {}
        with extraction.cache_of(self.candidate, cache, runtime) as folder:
            for split, images in self.images.items():
                told = _part(report, (before, len(images), total))
                found = extraction.extract(self.candidate, images, folder, runtime, workers, self.spec, told)
                told(1, 1)
                before += len(images)
                kept = found.features if self.candidate.is_repeatable else np.array(found.features)
                names = tuple(images.names)
                splits[split] = SplitFeatures(kept, images.labels, names, images.fingerprint, images.targets)
        classes = next(iter(self.images.values())).info.classes
        return ExtractedFeatures(splits, classes, self._about())

    def _about(self) -> dict[str, Any]:
        candidate, first = self.candidate, next(iter(self.images.values()))
        return {
            "candidate": candidate.name,
            "digest": candidate.digest,
            "file_sha256": candidate.file_sha256,
            "architecture": candidate.card.architecture.model_dump(mode="json"),
            "preprocess": candidate.card.preprocess.model_dump(mode="json"),
            "dataset": first.info.name,
            "dataset_revision": first.info.revision,
            "data_fingerprint": {split: images.fingerprint for split, images in self.images.items()},
            "features": self.spec.model_dump(mode="json"),
            "limit": self.limit,
            "notes": list(self.notes),
            "transferbench": version("transferbench"),
        }


def extract(
    model: Candidate | nn.Module | str | Path,
    data: str | Path | LabeledSplits,
    split: str = ALL,
    *,
    features: FeatureSpec | Mapping[str, Any] | None = None,
    limit: int | None = None,
    image_range: Sequence[int | float] | None = None,
    preprocess: Preprocess | None = None,
    device: str = "auto",
) -> ExtractedFeatures:
    """Features and labels of a data set, as the tasks read them, from the cache where they lie there.

    Args:
        model: a checkpoint file, a library's name for one (`timm:NAME`), a module from images `b 3 h w` to features
            `b d`, or what `load` returned.
        data: a data set's name or path, or what `data_of` returned.
        split: `train`, `val` or `test`, or `all` for those that there are.
        features: settings of features, `layer`, `pooling`, ...; None is the backbone's own output in float32.
        limit: keep only so many images of each split, those that `evaluate` keeps.
        image_range: the values that are black and white in images of more than 8 bits a channel, such as (0, 65535).
        preprocess: what a live module expects; None is the images' own size and ImageNet's statistics.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UserError: for a setting, a file or a data set that does not fit, or an image that cannot be decoded.
    """
    asked = ExtractionRequest(model, data, split, features, limit, image_range, preprocess)
    return prepare(asked, data_root()).run(start(device), cache_root())


def prepare(request: ExtractionRequest, root: Path) -> Extraction:
    """Read the model and find the images, which lie under `root` where they are named.

    Raises:
        UserError: for settings of features, a file or a data set that does not fit.
    """
    if request.split not in (ALL, *SPLITS):
        raise unknown("split", request.split, (ALL, *SPLITS))
    if request.limit is not None and request.limit < 1:
        raise UserError(f"limit is {request.limit}. Expected 1 or more images of each split, or None for all.")
    spec = request.features
    if not isinstance(spec, FeatureSpec):
        spec = settings.read(FeatureSpec, spec or {})
    images = _opened(request, root)
    if request.limit is not None:
        images = {split: limited(each, request.limit, LIMIT_SEED) for split, each in images.items()}
    return Extraction(_candidate(request, images), images, spec, request.limit)


def require_place(path: Path, force: bool = False) -> None:
    """Refuse a file of features that could not be written, or one that is there, unless by `force`.

    Raises:
        UserError: when it is refused.
    """
    if path.suffix != ENDING:
        raise UserError(f"'{path}' does not end in {ENDING}. Expected a file of arrays: --out {path}{ENDING}")
    if path.is_dir():
        raise UserError(f"{path} is a folder. Expected the name of a file to write.")
    if os.path.lexists(path) and not force:
        raise UserError(f"{path} exists. Choose another name, or replace it with --force (force=True).")
    state.require_writable(path.parent)


def _opened(request: ExtractionRequest, root: Path) -> dict[str, LabeledImages]:
    """The splits that are asked for, their labels numbered by the classes of the training images."""
    (name,), live = handed_over([request.data])
    found: dict[str, LabeledImages] = {}

    def opened(split: str) -> LabeledImages:
        if split not in found:
            images = live[name].open_split(split) if live else open_split(name, split, root)
            found[split] = looked_at(images.ranged(request.image_range))
        return found[split]

    first = _first(opened, SPLITS if request.split == ALL else ("train", request.split))
    wanted = [each for each in SPLITS if each in first.info.splits] if request.split == ALL else [request.split]
    if first.info.carries != "one label":
        return {split: opened(split) for split in wanted}
    return {split: numbered_as(first.info, opened(split)) for split in wanted}


def _first(opened: Callable[[str], LabeledImages], splits: Sequence[str]) -> LabeledImages:
    """The first of these splits that there is."""
    problems: list[UserError] = []
    for split in splits:
        try:
            return opened(split)
        except UserError as error:
            problems.append(error)
    raise problems[0] if len(splits) > 2 else problems[-1]


def _candidate(request: ExtractionRequest, images: Mapping[str, LabeledImages]) -> Candidate:
    model = request.model
    if isinstance(model, Candidate):
        return model
    if not isinstance(model, nn.Module):
        return load(model, None, request.encoder, request.stated)
    sides = {each.info.image_size for each in images.values()}
    side = next(iter(sides)) if len(sides) == 1 else None
    if request.preprocess is None and side is None:
        raise UserError(
            "The images have no common size, and what a live module expects is not known. State it: "
            "preprocess=Preprocess(size=256, crop=224)."
        )
    return wrap(model, type(model).__name__, request.preprocess or Preprocess(size=None, crop=cast(int, side)))


def _part(report: Report | None, place: tuple[int, int, int]) -> Report:
    """Takes what is told of one split, a share of this process, and tells it as a part of all images.

    `place` is how many images lie before the split, in it, and in all.
    """
    before, count, total = place

    def told(done: int, of: int) -> None:
        if report is not None:
            report(before + count * done // of, total)

    return told
