# pyright: reportMissingImports=false
"""Detectron2 on a trial: build, load and verify the weights, train, test."""

import logging
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch

from transferbench import settings
from transferbench.backbones import Backbone
from transferbench.checkpoints.targets.detectron2 import TARGET
from transferbench.detection.by_detectron2 import catalog, configuration, heads, weights
from transferbench.detection.model.load import Loaded
from transferbench.detection.scoring.results import Results
from transferbench.detection.targets.views import sample
from transferbench.detection.training import failures, optimization, out_of_memory
from transferbench.detection.training import loader as feeding
from transferbench.detection.training.loop import Ground
from transferbench.detection.trial import Curve, Trial, Watch
from transferbench.errors import UserError
from transferbench.runtime import seeded
from transferbench.runtime.signals import StopSignal


class Detectron2Engine:
    """See `trial.Engine`.

    A stopped run goes on as Detectron2's do: weights, momenta, statistics and schedule as they were, images and draws
    anew, from the seed plus the iterations done. It goes on from what lies in the scratch folder.
    """

    def __init__(self, trial: Trial, ground: Ground) -> None:
        _quiet()
        _among_peers(ground)
        _possible(trial, ground)
        self.trial, self.ground, self.trainer = trial, ground, None
        self.loaded: Loaded | None = None
        recipe = trial.recipe
        mark = {"of": ground.identity, "recipe": recipe.model_dump(mode="json"), "seed": trial.seed}
        self.folder = ground.scratch / f"detectron2-{settings.sha256(mark)[:16]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = configuration.configured(recipe)
        self.config.MODEL.ROI_HEADS.NAME = heads.name_for(recipe.MODEL.ROI_HEADS.NAME)
        self.config.INPUT.MASK_FORMAT = configuration.mask_format(trial.train, recipe)
        self.config.DATASETS.TRAIN = (catalog.register(trial.train, recipe.MODEL.MASK_ON),)
        self.config.DATASETS.TEST = (catalog.register(trial.test, False),)
        self.weights = weights.spelled_for(trial.candidate)
        if ground.runtime.is_main:
            TARGET.write(self.folder / "backbone.pth", self.weights, trial.candidate.card)
        ground.runtime.barrier()
        configuration.placed(self.config, ground, self.folder / "backbone.pth")
        heads.register()

    def train(self, watch: Watch) -> Curve:
        """Fill the detector from the converted file or from where it was stopped, and train to the end."""
        recipe, runtime = self.trial.recipe, self.ground.runtime
        self.config.SEED = self.trial.seed + self._done()
        with StopSignal() as stop, _seeded(self.config.SEED + runtime.rank), out_of_memory.for_training(recipe):
            trainer = self._built(watch, lambda: stop.shared(runtime) if stop.agreed(runtime) else 0)
            try:
                trainer.train()
            except FloatingPointError as error:
                said = str(error).partition("loss_dict = ")[2] or str(error)
                raise failures.not_finite(recipe, trainer.iter + 1, said) from None
        return trainer.progress.curve

    def trained_weights(self) -> dict[str, torch.Tensor]:
        """See `trial.Engine`."""
        assert self.trainer is not None
        return getattr(self.trainer.model, "module", self.trainer.model).state_dict()

    def predict(self) -> Results:
        """What Detectron2's inference gives on the test split, in COCO's form."""
        from detectron2.data import build_detection_test_loader
        from detectron2.evaluation import inference_on_dataset

        from transferbench.detection.by_detectron2.predictions import PredictionCollector

        assert self.trainer is not None
        findings = PredictionCollector(self.trial.test.boxes)
        loader = build_detection_test_loader(self.config, self.config.DATASETS.TEST[0])
        with _seeded(0), out_of_memory.for_testing(self.trial.recipe):  # loaders draw numbers too, unknown to training
            inference_on_dataset(self.trainer.model, loader, findings)
        return findings.everywhere(self.ground.runtime)

    def _done(self) -> int:
        """Iterations that are in the last checkpoint; none when it is whole or there is none."""
        last = self.folder / "last_checkpoint"
        number = re.search(r"\d+", last.read_text()) if last.exists() else None
        return int(number[0]) + 1 if number else 0

    def _built(self, watch: Watch, is_stopped: Any) -> Any:
        from transferbench.detection.by_detectron2.trainer import Trainer

        self.trainer = trainer = Trainer(self.config, watch, is_stopped)
        trainer.resume_or_load(resume=True)
        if trainer.start_iter == 0:
            model = getattr(trainer.model, "module", trainer.model)
            limits = self.trial.recipe.INPUT.MIN_SIZE_TEST, self.trial.recipe.INPUT.MAX_SIZE_TEST
            seen = sample(self.trial.train, 0, *limits)
            self.loaded = weights.verified(model, self.weights, cast(Backbone, self.trial.candidate.backbone), seen)
        return trainer


def _possible(trial: Trial, ground: Ground) -> None:
    images = trial.train
    optimization.require_divisible(trial.recipe, ground.runtime.world_size)
    if not feeding.trainable(images, trial.recipe.MODEL.MASK_ON):
        raise failures.nothing_to_learn(images.info.name, images.split)


def _among_peers(ground: Ground) -> None:
    """Tell Detectron2 which processes share a machine."""
    here = ground.runtime
    if here.world_size == 1:
        return
    if here.device.type != "cuda":
        raise UserError(f"Detectron2 trains on GPUs or in one process; found {here.world_size} processes on the CPU.")
    from detectron2.utils import comm

    comm.create_local_process_group(min(here.world_size, torch.cuda.device_count()))


def _quiet() -> None:
    """Keep Detectron2's log from the terminal, unless somebody has set it up."""
    for name in ("detectron2", "fvcore"):
        logger = logging.getLogger(name)
        if not logger.isEnabledFor(logging.INFO):
            logger.setLevel(logging.INFO)
            logger.propagate = False
            logger.addHandler(logging.NullHandler())


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Every generator that Detectron2 draws from, seeded inside the block and put back as it was afterwards."""
    legacy, plain = np.random.get_state(), random.getstate()
    with seeded(seed):
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(legacy)
            random.setstate(plain)
