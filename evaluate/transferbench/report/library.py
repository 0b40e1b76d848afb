"""Data sets and cached features as records name them, opened once each; nothing is computed or fetched for them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.data.located import located
from transferbench.errors import UserError
from transferbench.features import extraction as features
from transferbench.features.extraction import FeatureSet
from transferbench.features.spec import FeatureSpec, Precision
from transferbench.records import Record
from transferbench.report.artifacts import again
from transferbench.report.charts import MissingError
from transferbench.run.dataset_cache import DatasetCache
from transferbench.tasks import Dataset

IMAGE_BYTES = 3_000_000
"""What the images of one page may take: 4 MB once they are text, so that it stays a file that one can send."""


@dataclass
class Library:
    """Where a report's material lies.

    Attributes:
        folders: the output folder of each record, by the record's checksum.
        data_root: where data sets lie, by name or as NAME.zip.
        cache: where features are kept.
        with_images: whether images may be opened.
        image_bytes: what is left of them for the page.
    """

    folders: Mapping[str, Path]
    data_root: Path
    cache: Path
    with_images: bool = True
    image_bytes: int = IMAGE_BYTES
    _datasets: dict[str | None, DatasetCache] = field(init=False, default_factory=dict)

    def folder(self, record: Record) -> Path:
        """Where a record's artifacts lie."""
        return self.folders[record.record_sha256]

    def dataset(self, record: Record) -> Dataset:
        """The images a record was measured on.

        Raises:
            MissingError: when they are not here, or are other ones.
        """
        try:
            datasets = self._datasets.setdefault(record.split, DatasetCache(self.data_root, record.split))
            dataset = datasets.take(located(record.dataset, self.data_root), record.limit)
        except UserError as error:
            raise MissingError(f"The images of {record.dataset} were not found. {error}") from None
        if {images.split: images.fingerprint for images in (dataset.train, dataset.test)} != record.data_fingerprint:
            raise MissingError(
                f"{record.dataset} in {self.data_root} is not the data that {record.candidate} was evaluated on.",
                "evaluate report --data-root FOLDER",
            )
        return dataset

    def features(self, record: Record, images: LabeledImages, asked: Precision | FeatureSpec) -> FeatureSet:
        """The features of some images as a record's checkpoint sees them.

        Raises:
            MissingError: when they are not in the cache.
        """
        without_weights = Candidate(record.candidate, nn.Identity(), record.card, record.digest, record.load_report)
        kept = features.cached(without_weights, images, self.cache, asked)
        if kept is None:
            raise MissingError(
                f"The features of {record.dataset}'s {images.split} images are not in {self.cache}.", again(record)
            )
        return kept

    def spend(self, size: int, name: str, dataset: str) -> None:
        """Take some bytes for the images of a checkpoint from what is left for the page.

        Raises:
            MissingError: when so many are not left.
        """
        if size > self.image_bytes:
            raise MissingError(
                f"{dataset}: the page has reached its limit for images.", f"evaluate report --where 'candidate={name}'"
            )
        self.image_bytes -= size
