# pyright: reportMissingImports=false
"""Detectron2's predictions as COCO's results JSON."""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json

from transferbench.data.annotations import Annotated
from transferbench.detection.scoring.results import Results
from transferbench.runtime import Runtime


class PredictionCollector(DatasetEvaluator):
    """Collects the model's predictions; both backends share the code that scores them."""

    def __init__(self, annotated: Annotated) -> None:
        self.annotated = annotated
        self.mine: dict[int, Results] = {}

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Take in a batch, under the ids and categories of the data set's files."""
        categories = self.annotated.categories
        for each, output in zip(inputs, outputs, strict=True):
            index = int(each["image_id"])
            entries = instances_to_coco_json(output["instances"].to(torch.device("cpu")), self.annotated.ids[index])
            self.mine[index] = [{**entry, "category_id": categories[entry["category_id"]]} for entry in entries]

    def evaluate(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def everywhere(self, runtime: Runtime) -> Results:
        """The findings of all processes in the split's order; the same list in each."""
        parts = {index: part for each in runtime.gather_objects(self.mine) for index, part in each.items()}
        return [entry for index in sorted(parts) for entry in parts[index]]
