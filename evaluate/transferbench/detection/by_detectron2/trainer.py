# pyright: reportMissingImports=false
"""Detectron2's trainer with all its hooks but those that print and judge, and one that tells how far it is."""

from collections.abc import Callable
from typing import Any

from detectron2.engine import DefaultTrainer, HookBase, hooks

from transferbench.detection.training.loop import LINES
from transferbench.detection.trial import Curve, Watch
from transferbench.stopping import Interrupted


class Trainer(DefaultTrainer):
    """Its models, loaders, solver, schedule, precise statistics and checkpoints, as a configuration has them."""

    def __init__(self, config: Any, watch: Watch, stopped_by: Callable[[], int]) -> None:
        self.progress = Progress(watch, stopped_by)
        super().__init__(config)

    def build_hooks(self) -> list[HookBase]:
        """Detectron2's own in their order, ours after that of the rate; of its checkpoints only the last is kept."""
        kept: list[HookBase] = []
        for each in super().build_hooks():
            if isinstance(each, hooks.PeriodicCheckpointer):
                each.max_to_keep = 1
            if not isinstance(each, hooks.EvalHook | hooks.PeriodicWriter):
                kept += [each, self.progress] if isinstance(each, hooks.LRScheduler) else [each]
        return kept

    def build_writers(self) -> list[Any]:
        """None: what others would write is in the curve."""
        return []


class Progress(HookBase):
    """Keeps the learning curve, tells what is done, and when asked to stop saves first; the curve is in checkpoints."""

    trainer: Any

    def __init__(self, watch: Watch, stopped_by: Callable[[], int]) -> None:
        self.watch, self.stopped_by = watch, stopped_by
        self.curve: Curve = []

    def after_step(self) -> None:
        """After an iteration and before what is saved of it."""
        done, end = self.trainer.iter + 1, self.trainer.max_iter
        if done % max(1, end // LINES) == 0 or done == end:
            self.curve.append({"iteration": done, **self._said()})
        if done < end and (number := self.stopped_by()):
            self.trainer.checkpointer.save(f"model_{self.trainer.iter:07d}", iteration=self.trainer.iter)
            raise Interrupted(number)
        self.watch(done)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"curve": self.curve}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a stopped run's curve."""
        self.curve = state["curve"]

    def _said(self) -> dict[str, float]:
        latest = self.trainer.storage.latest()
        return {"lr": latest["lr"][0], **{name: latest[name][0] for name in latest if name.startswith("loss_")}}
