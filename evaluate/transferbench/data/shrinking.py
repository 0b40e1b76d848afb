"""A smaller copy of a data set, so that an epoch reads and decodes less; a data set of its own, a folder a class."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch.utils.data import DataLoader, Dataset

from transferbench import settings, state, stopping
from transferbench.data import LabeledImages
from transferbench.data.loading import on_start
from transferbench.errors import UserError

MARK = "shrunk.json"


@dataclass(frozen=True)
class Shape:
    """What the copies are: no shorter side above `size` pixels, JPEG of a quality of PIL's scale (1 to 95)."""

    size: int
    quality: int = 95


def shrink(splits: Sequence[LabeledImages], out: Path, shape: Shape, workers: int = 0) -> Iterator[int]:
    """Write OUT/SPLIT/CLASS/NAME.jpg, yielding how many are there after each; those that are there already are kept.

    Images are made smaller by PIL's bicubic filter, which averages, and never larger.

    Raises:
        UserError: for a set whose images have not one class each, a folder that holds something else, or an image that
            cannot be decoded.
    """
    for images in splits:
        _has_classes(images)
    _claim(out, splits, shape)
    done = 0
    for images in splits:
        work = _Work(images, _places(images, out / images.split), shape)
        for result in DataLoader(work, batch_size=None, num_workers=workers, worker_init_fn=on_start):
            if isinstance(result, Exception):
                raise result
            done += 1
            yield done
            stopping.check()


class _Work(Dataset[int | Exception]):
    """Item i writes image i; an error travels as a value, so that a process does not wrap its message."""

    def __init__(self, images: LabeledImages, places: Sequence[Path], shape: Shape) -> None:
        self.images, self.places, self.shape = images, places, shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> int | Exception:
        path = self.places[i]
        if path.is_file():
            return i
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            state.require_replaceable(path)
            image = _smaller(self.images.image(i), self.shape.size)
            path.parent.mkdir(parents=True, exist_ok=True)
            with state.naming(path):
                image.save(part, "JPEG", quality=self.shape.quality)
                part.replace(path)
        except (UserError, OSError) as error:
            part.unlink(missing_ok=True)
            return error
        return i


def _smaller(image: Image.Image, size: int) -> Image.Image:
    scale = size / min(image.size)
    if scale >= 1:
        return image
    width, height = (max(size, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _has_classes(images: LabeledImages) -> None:
    if images.info.carries != "one label" or (images.labels < 0).any():
        raise UserError(
            f"{images.info.name}/{images.split} does not have one class per image, which class folders need."
        )


def _claim(out: Path, splits: Sequence[LabeledImages], shape: Shape) -> None:
    """Refuse a folder that another copy, or something else, lies in; else mark it as this one's."""
    mark = {
        "of": splits[0].info.name,
        "fingerprints": {images.split: images.fingerprint for images in splits},
        "size": shape.size,
        "quality": shape.quality,
    }
    path = out / MARK
    if path.is_file():
        claim = settings.from_file(path)
        if claim != mark:
            differences = ", ".join(
                f"{key} {claim.get(key)!r} there, {mark[key]!r} asked for" for key in ("of", "size", "quality")
            )
            raise UserError(f"{out} holds another copy: {differences}. Choose another folder.")
    elif out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no {MARK}. Choose another folder.")
    else:
        state.write_json(path, mark)


def _places(images: LabeledImages, folder: Path) -> list[Path]:
    """Where each image is written: its file's own name where these differ within every class, else its number."""
    classes = [_plain(name) for name in images.info.classes]
    stems = [_plain(Path(name).stem) for name in images.names]
    pairs = list(zip((classes[label] for label in images.labels.tolist()), stems, strict=True))
    if len(set(classes)) < len(classes):
        raise UserError(f"Two classes of {images.info.name} would share a folder: {_twice(classes)}.")
    if len(set(pairs)) < len(pairs):
        pairs = [(name, f"{i:08d}") for i, (name, _) in enumerate(pairs)]
    return [folder / name / f"{stem}.jpg" for name, stem in pairs]


def _twice(names: Sequence[str]) -> str:
    return next(name for name, count in Counter(names).items() if count > 1)


def _plain(name: str) -> str:
    """A name that can be a file's."""
    return re.sub(r"[^\w.,+-]+", "_", name).strip(".") or "_"
