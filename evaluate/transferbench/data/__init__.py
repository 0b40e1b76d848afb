"""Labeled images by name: `digits`, `cifar10`, `hf:NAME`, or the path of a folder or zip."""

from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from transferbench import plugins, renamed
from transferbench.data.bundles import layout
from transferbench.data.labeled_images import Carries, DatasetInfo, LabeledImages, Metric, UnstatedRangeError
from transferbench.data.labels import checked
from transferbench.data.trees import files_by_split
from transferbench.errors import UserError, elsewhere, require_of_hub, unknown
from transferbench.registries import SOURCES

__all__ = [
    "HUB",
    "LOCAL",
    "LOOKED_AT",
    "SOURCES",
    "STORED",
    "Carries",
    "DatasetInfo",
    "Downloadable",
    "Helping",
    "LabeledImages",
    "Metric",
    "Source",
    "UnstatedRangeError",
    "download",
    "looked_at",
    "open_split",
    "require_known",
]

HUB = "hf:"

STORED = ("folder", "huggingface", "masks", "parquet", "webdataset")
"""The sources for any data set in a known layout, named by its path."""

LOCAL = "local"
"""The revision of a data set that lies in a folder or file of one's own."""
LOOKED_AT = 3
"""Images of such a one that are looked at before the others."""


@runtime_checkable
class Source(Protocol):
    """What a file in `sources` offers; it may offer a line `HELP` (`Helping`) and `download` (`Downloadable`) too."""

    def open_split(self, where: Path, split: str) -> LabeledImages:
        """One split of what lies at `where`."""
        ...


@runtime_checkable
class Helping(Protocol):
    """A source that says in a line, `HELP`, how to get it."""

    HELP: str


@runtime_checkable
class Downloadable(Protocol):
    """A source that a program can fetch."""

    def download(self, where: Path) -> None:
        """Fetch it into the folder `where`."""
        ...


def download(data: str, root: Path) -> Path:
    """Fetch a data set into its folder under `root`.

    Raises:
        UserError: when it cannot be fetched by a program, or the network fails.
    """
    source: Source = SOURCES.load(data)
    if not isinstance(source, Downloadable):
        how = f" {source.HELP}" if isinstance(source, Helping) else ""
        raise UserError(f"'{data}' cannot be downloaded by this command.{how}")
    try:
        source.download(root / data)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"Could not download {data} into {root / data}: {error}. Check the network and try again."
        ) from None
    return root / data


def open_split(data: str, split: str, root: Path) -> LabeledImages:
    """One split of a data set, its labels checked.

    Args:
        data: a source's name (looked for under `root`), a path to a folder or zip in ImageFolder's, COCO's or VOC's
            layout, of images and masks, or of parquet files or shards, or `hf:NAME` for a data set of the package
            `datasets`.
        split: `train`, or the one `DatasetInfo.test_split` names.

    Raises:
        UserError: when there is no such data set here, saying how to get it, or when a label is no number of a class.
    """
    images = _opened(data, split, root)
    where = f"{images.info.name}/{images.split}"
    return replace(images, labels=checked(images.labels, images.info.classes, where))


def looked_at(images: LabeledImages) -> LabeledImages:
    """The images, a few of which are decoded if the set is one's own: a damaged or unusual one is refused at once.

    Raises:
        UserError: naming an image that cannot be decoded, or whose label map cannot be read.
    """
    if images.info.revision.startswith(LOCAL) and images.info.carries in ("one label", "label maps"):
        for index in range(min(LOOKED_AT, len(images))):
            images.pixels(index)
            if images.label_maps is not None:
                images.label_maps.read(index)
    return images


def require_known(data: str) -> None:
    """Refuse, by a UserError, what is neither a path nor the name of a data set; nothing is opened or imported."""
    if plugins.is_outside(data):
        return
    if hint := elsewhere(data):
        raise UserError(hint)
    path = Path(data).expanduser()
    if data.startswith(HUB) or "/" in data or path.suffix == ".zip" or data.replace("-", "_") in SOURCES.names():
        return
    if path.exists():
        raise UserError(f"'{data}' is no data set's name but lies here. Name it by its path: --data ./{data}")
    raise UserError(
        f"{unknown('data set', data, SOURCES.names())} Name any other by its path: a folder or zip with "
        f"train/<class>/* and val/<class>/* or test/<class>/*: --data /path/to/{data}"
    )


def _opened(data: str, split: str, root: Path) -> LabeledImages:
    """The split as its source gives it."""
    require_known(data)
    path = Path(data).expanduser()
    if plugins.is_outside(data):
        return SOURCES.load(data).open_split(root / (path.stem if path.suffix == ".py" else data), split)
    if data.startswith(HUB):
        require_of_hub(data, "hf")
        return SOURCES.load("huggingface").open_split(Path(data.removeprefix(HUB)), split)
    if "/" in data or path.suffix == ".zip":
        kinds = {"parquet": ".parquet", "webdataset": ".tar"}
        if path.suffix in kinds.values():
            raise UserError(
                f"{path} is one file. Expected the folder with the files of all splits: --data {path.parent}/"
            )
        kind = next((kind for kind, suffix in kinds.items() if files_by_split(path, suffix)), None)
        kind = kind or layout(path) or "folder"
        return SOURCES.load(kind).open_split(path, split)
    return SOURCES.load(data).open_split(root / data, split)


__getattr__ = renamed.names_of(__name__)
