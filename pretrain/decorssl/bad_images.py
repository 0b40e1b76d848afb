"""Images that cannot be decoded: counted, and replaced by the next ones up to a limit."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from decorssl.loop import Step, Training
from transferbench import state
from transferbench.data import LabeledImages, UnstatedRangeError
from transferbench.errors import UserError


class BadImageReplacer:
    """A data set in which the next image that can be decoded stands in for one that cannot.

    One whose range of values is to be stated is no such image: there may be many, and none is damaged.

    `limit` is how many such images are borne with; with 0 the first is an error. Which image stands in depends on the
    data set alone. Loader processes share the marks of what was found; the list is kept in the run's folder.
    """

    FILE = "bad_images.json"

    def __init__(self, source: LabeledImages, limit: int, folder: Path) -> None:
        self.source, self.limit, self.path = source, limit, folder / self.FILE
        self.images = replace(source, read=self._read) if limit else source
        self._marks = torch.zeros(len(source), dtype=torch.uint8).share_memory_()
        self._known = 0

    def after(self, step: Step, training: Training) -> int | None:
        """At the end of an epoch that found bad images: how many there are by now, in all processes. Else None.

        Raises:
            UserError: when they are too many.
        """
        if not self.limit or step.index % training.steps_per_epoch:
            return None
        here = training.runtime
        names = self._checked(here.total(self._marks.int().to(here.device)))
        if len(names) == self._known:
            return None
        self._known = len(names)
        if here.is_main:
            before = json.loads(self.path.read_text())["names"] if self.path.is_file() else []
            every = sorted({*before, *names})
            state.write_json(self.path, {"count": len(every), "of": len(self.source), "names": every})
        return len(names)

    def _read(self, index: int) -> Image.Image:
        """The image at `index`, or the first after it that can be decoded; before the limit is passed there is one."""
        place = index % len(self.source)
        try:
            return self.source.image(place)
        except UnstatedRangeError:
            raise
        except UserError:
            self._marks[place] = 1
            self._checked(self._marks)
            return self._read(place + 1)

    def _checked(self, marks: torch.Tensor) -> list[str]:
        names = [self.source.names[int(i)] for i in marks.nonzero()]
        if len(names) > self.limit or len(names) == len(self.source):
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise UserError(
                f"{len(names)} images of {self.source.info.name} cannot be decoded, more than the {self.limit} that "
                f"--bad-images allows: {shown}. Repair or remove the files, or allow more."
            )
        return names
