"""Old names of modules and classes: until version 0.3 they stand for what took their place, with a warning."""

import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULES = {
    "transferbench.archive": "transferbench.records.archive",
    "transferbench.batchnorm": "transferbench.runtime.sync_batchnorm",
    "transferbench.checkpoints.accounts": "transferbench.checkpoints.tensor_accounting",
    "transferbench.checkpoints.drops": "transferbench.checkpoints.unused_tensors",
    "transferbench.checkpoints.filters": "transferbench.checkpoints.first_conv_stats",
    "transferbench.checkpoints.inert": "transferbench.checkpoints.safe_globals",
    "transferbench.collection": "transferbench.records.collection",
    "transferbench.comparison.contestants": "transferbench.comparison.sides",
    "transferbench.crops": "transferbench.probing.cached_crops",
    "transferbench.data.compiled.colour": "transferbench.data.compiled.color",
    "transferbench.data.pixels.colour": "transferbench.data.pixels.color",
    "transferbench.detection.adapting": "transferbench.detection.adaptation",
    "transferbench.detection.anchors": "transferbench.detection.model.anchors",
    "transferbench.detection.boxes": "transferbench.detection.targets.boxes",
    "transferbench.detection.by_detectron2.catalogue": "transferbench.detection.by_detectron2.catalog",
    "transferbench.detection.by_detectron2.findings": "transferbench.detection.by_detectron2.predictions",
    "transferbench.detection.capacity": "transferbench.detection.training.out_of_memory",
    "transferbench.detection.coco_precision": "transferbench.detection.scoring.coco_precision",
    "transferbench.detection.codes": "transferbench.detection.targets.rle",
    "transferbench.detection.detector": "transferbench.detection.model.detector",
    "transferbench.detection.failures": "transferbench.detection.training.failures",
    "transferbench.detection.feeding": "transferbench.detection.training.loader",
    "transferbench.detection.fitness": "transferbench.detection.recipe.compatibility",
    "transferbench.detection.frozen": "transferbench.detection.model.frozen_norm",
    "transferbench.detection.heads": "transferbench.detection.model.heads",
    "transferbench.detection.judging": "transferbench.detection.scoring.scores",
    "transferbench.detection.keys": "transferbench.detection.recipe.keys",
    "transferbench.detection.layouts": "transferbench.detection.recipe.variants",
    "transferbench.detection.load": "transferbench.detection.model.load",
    "transferbench.detection.losses": "transferbench.detection.model.losses",
    "transferbench.detection.masks": "transferbench.detection.targets.masks",
    "transferbench.detection.matching": "transferbench.detection.targets.matching",
    "transferbench.detection.names": "transferbench.detection.model.names",
    "transferbench.detection.outlines": "transferbench.detection.targets.polygons",
    "transferbench.detection.pictures": "transferbench.detection.scoring.pictures",
    "transferbench.detection.pooling": "transferbench.detection.model.pooling",
    "transferbench.detection.precise": "transferbench.detection.training.precise_bn",
    "transferbench.detection.pyramid": "transferbench.detection.model.pyramid",
    "transferbench.detection.region_losses": "transferbench.detection.model.region_losses",
    "transferbench.detection.regions": "transferbench.detection.model.regions",
    "transferbench.detection.results": "transferbench.detection.scoring.results",
    "transferbench.detection.rpn": "transferbench.detection.model.rpn",
    "transferbench.detection.runs": "transferbench.detection.targets.rle",
    "transferbench.detection.samples": "transferbench.detection.targets.samples",
    "transferbench.detection.schedule_keys": "transferbench.detection.recipe.schedule_keys",
    "transferbench.detection.solving": "transferbench.detection.training.optimization",
    "transferbench.detection.trunk": "transferbench.detection.model.trunk",
    "transferbench.detection.views": "transferbench.detection.targets.views",
    "transferbench.detection.voc_precision": "transferbench.detection.scoring.voc_precision",
    "transferbench.effort": "transferbench.probing.cost",
    "transferbench.experiments": "transferbench.comparison.experiments",
    "transferbench.fit": "transferbench.probing.fit",
    "transferbench.forecast": "transferbench.planning.plan",
    "transferbench.gate": "transferbench.comparison.gate",
    "transferbench.heads": "transferbench.probing.batched_heads",
    "transferbench.interruption": "transferbench.runtime.signals",
    "transferbench.layers": "transferbench.features.spec",
    "transferbench.logreg": "transferbench.probing.logistic_regression",
    "transferbench.neighbours": "transferbench.neighbors",
    "transferbench.neighbours.kept": "transferbench.neighbors.cache",
    "transferbench.probe": "transferbench.probing.probe",
    "transferbench.published": "transferbench.records.published",
    "transferbench.report.neighbours": "transferbench.report.neighbors",
    "transferbench.slurm": "transferbench.runtime.slurm",
    "transferbench.unfinished": "transferbench.features.resumable_array",
}
"""Old module: new module."""

NAMES: dict[str, dict[str, str]] = {
    "transferbench.api": {"Place": "Execution", "Request": "EvaluationRequest"},
    "transferbench.checkpoints.first_conv_stats": {"Filters": "FirstConvStats"},
    "transferbench.checkpoints.formats": {"Encoder": "EncoderSpec"},
    "transferbench.checkpoints.recognition": {"recognise": "recognize"},
    "transferbench.checkpoints.tensor_accounting": {"Account": "TensorAccount"},
    "transferbench.checkpoints.unused_tensors": {"Drop": "UnusedTensors"},
    "transferbench.comparison.sides": {"Contestant": "Side", "contestant": "find_side"},
    "transferbench.data": {"LabelledImages": "LabeledImages"},
    "transferbench.data.subsets": {"labelled": "labeled"},
    "transferbench.data.transforms": {
        "Evaluation": "EvaluationTransform",
        "Training": "TrainingTransform",
        "normalised": "normalized",
    },
    "transferbench.detection.by_detectron2.predictions": {"Findings": "PredictionCollector"},
    "transferbench.detection.model.heads": {"Heads": "RegionHeads"},
    "transferbench.detection.model.regions": {"Found": "RegionDetections"},
    "transferbench.detection.recipe": {"Recipe": "DetectionRecipe"},
    "transferbench.detection.scoring.coco_precision": {"Engine": "CocoEngine"},
    "transferbench.detection.scoring.scores": {"judged": "score_results"},
    "transferbench.detection.targets.matching": {"Draw": "BoxSampling"},
    "transferbench.detection.training.loader": {"Draw": "PlannedImage"},
    "transferbench.detection.training.optimization": {"optimiser": "build_optimizer"},
    "transferbench.features": {"Reading": "FeatureSpec"},
    "transferbench.features.resumable_array": {"Unfinished": "ResumableArray"},
    "transferbench.features.spec": {"Reading": "FeatureSpec", "reading": "feature_spec"},
    "transferbench.neighbors": {"Neighbours": "Neighbors"},
    "transferbench.neighbors.cache": {"kept": "cached_search"},
    "transferbench.metrics": {"centred": "centered"},
    "transferbench.plugins": {"Room": "Registry"},
    "transferbench.probing.batched_heads": {"Heads": "BatchedHeads", "Seen": "HeadInputs"},
    "transferbench.probing.cost": {"Effort": "JobCost"},
    "transferbench.probing.fit": {"Place": "FitContext"},
    "transferbench.records.collection": {"Found": "StoredRecord"},
    "transferbench.run": {"Shelf": "DatasetCache", "Trial": "PendingJob"},
    "transferbench.runtime.slurm": {"Request": "SlurmRequest"},
    "transferbench.runtime.sync_batchnorm": {
        "SynchronisedBatchNorm": "SynchronizedBatchNorm",
        "synchronise": "synchronize",
    },
    "transferbench.tasks": {"Labelled": "Labeled"},
}
"""Module as it is called now: old name: new name."""


def names_of(module: str) -> Callable[[str], Any]:
    """`__getattr__` of a module: what its old names stand for."""

    def find(name: str) -> Any:
        new = NAMES.get(module, {}).get(name)
        if new is None:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        _warn(f"{module}.{name}", f"{new} in {module}")
        return getattr(sys.modules[module], new)

    return find


def install(modules: Mapping[str, str] = {}, names: Mapping[str, dict[str, str]] = {}) -> None:
    """Have old module names found, those of another package too; once a process."""
    MODULES.update(modules)
    NAMES.update(names)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def _warn(old: str, new: str) -> None:
    text = f"{old} is now {new}; the old name will be removed in version 0.3."
    warnings.warn(text, DeprecationWarning, stacklevel=3)


def _new(module: str) -> str | None:
    """What took the place of a module, or of the package it lay in."""
    package, _, name = module.rpartition(".")
    if module in MODULES or not package:
        return MODULES.get(module)
    return f"{new}.{name}" if (new := _new(package)) else None


class _Former(ModuleType):
    """A module under its old name: every attribute is the new module's, by its old name too."""

    def __getattr__(self, name: str) -> Any:
        new = str(_new(self.__name__))
        return getattr(importlib.import_module(new), NAMES.get(new, {}).get(name, name))


class _Finder(MetaPathFinder, Loader):
    """Finds the old names that nothing else finds."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A module that stands for the new one; None where `fullname` is no old name."""
        new = _new(fullname)
        if new is None or importlib.util.find_spec(new) is None:
            return None
        _warn(fullname, new)
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The stand-in. With no path, so that modules of a renamed package are found here and not read twice."""
        former = _Former(spec.name)
        former.__path__ = []
        return former

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the new module is imported when something is asked of it."""
