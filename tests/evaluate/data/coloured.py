"""Small data sets of one colour a class in any layout, and a network with fixed weights that tells the colours apart.

Images are given as (colour, label), where label is what the files say: a right label is the number of the colour.
"""

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import nn

if TYPE_CHECKING:
    from transferbench.records import Record

COLOURS = ((200, 60, 60), (60, 200, 60), (60, 60, 200))
CLASSES = ("c0", "c1", "c2")
SIDE = 8
Labeled = Sequence[tuple[int, int]]


def right(each: int) -> list[tuple[int, int]]:
    """So many images of each colour, rightly labeled."""
    return [(colour, colour) for colour in range(len(COLOURS)) for _ in range(each)]


def relabeled(images: Labeled, labels: Mapping[int, int]) -> list[tuple[int, int]]:
    """The same images with other numbers for their classes."""
    return [(colour, labels[label]) for colour, label in images]


def picture(colour: int, number: int) -> Image.Image:
    """Image `number` of a colour with a little noise: no two numbers give the same pixels."""
    noise = np.random.default_rng([colour, number]).integers(-20, 21, (SIDE, SIDE, 3))
    return Image.fromarray((np.array(COLOURS[colour]) + noise).astype(np.uint8))


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    """The image as a file's content."""
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def pictures(split: str, images: Labeled) -> list[bytes]:
    """The images of a split as PNG files, in order; those of two splits differ."""
    start = {"train": 0, "val": 1000, "test": 2000}[split]
    return [encoded(picture(colour, start + i)) for i, (colour, _) in enumerate(images)]


def parquet(where: Path, split: str, images: Labeled, names: Sequence[str] = (), **columns: Any) -> None:
    """SPLIT.parquet, with the names of the classes as `datasets` notes them; `columns` are in place of those."""
    import pyarrow
    import pyarrow.parquet

    content = [{"bytes": content, "path": None} for content in pictures(split, images)]
    columns = {"image": content, "label": [label for _, label in images], **columns}
    table = pyarrow.table({name: column for name, column in columns.items() if column is not None})
    if names:
        noted = {"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(noted)})
    where.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, where / f"{split}.parquet")


def shard(where: Path, split: str, images: Labeled) -> None:
    """SPLIT.tar with KEY.png and KEY.cls."""
    content = pictures(split, images)
    named = {f"{i:04d}.png": each for i, each in enumerate(content)}
    named |= {f"{i:04d}.cls": str(label).encode() for i, (_, label) in enumerate(images)}
    members(where / f"{split}.tar", named)


def members(path: Path, named: Mapping[str, bytes]) -> None:
    """A tar of files by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in named.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def folder(where: Path, split: str, images: Labeled, names: Sequence[str] = CLASSES) -> None:
    """SPLIT/CLASS/NUMBER.png."""
    for i, (content, (_, label)) in enumerate(zip(pictures(split, images), images, strict=True)):
        (where / split / names[label]).mkdir(parents=True, exist_ok=True)
        (where / split / names[label] / f"{i:04d}.png").write_bytes(content)


def zipped(root: Path, inside: str = "") -> Path:
    """A zip of a folder, beside it."""
    target = root.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            archive.write(path, inside + path.relative_to(root).as_posix())
    return target


def network() -> nn.Module:
    """From images to 8 features, random weights that are always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def judged(data: Path | str, task: str = "knn", settings: Sequence[str] = ("knn.k=5",), **asked: Any) -> "Record":
    """The network's record on the data set at a path."""
    from transferbench import evaluate
    from transferbench.data.transforms import Preprocess
    from transferbench.suite import Suite, SuiteEntry

    suite = Suite.model_validate({"name": "one", "jobs": [SuiteEntry(task=task)]})
    # The tiny fit of a few images is what is checked, and no control beside it.
    how = {"preprocess": Preprocess(size=None, crop=SIDE), "control": False, **asked}
    data = data if isinstance(data, str) or data.is_file() else f"{data}/"
    (record,) = evaluate(network(), suite, str(data), overrides=settings, **how)
    return record


def knn(data: str, root: Path) -> float:
    """The network's 5-NN accuracy on a data set, per cent; `root` is the folder of named ones."""
    from transferbench.checkpoints.load import wrap
    from transferbench.data.transforms import Preprocess
    from transferbench.run import DatasetCache
    from transferbench.runtime import Runtime
    from transferbench.tasks import Bench
    from transferbench.tasks.knn import Config, run

    candidate = wrap(network(), "coloured", Preprocess(size=None, crop=SIDE))
    bench = Bench(Runtime(torch.device("cpu")), root / "cache", root / "scratch")
    return (
        run(candidate, DatasetCache(root).take(data), Config.model_validate({"k": 5, "ks": ()}), 0, bench)
        .scores[0]
        .value
    )


def top1(record: "Record") -> float:
    """The accuracy in a record, per cent; the record's error where there is none."""
    found = record.score("top1")
    assert found is not None, record.error
    return found.value
