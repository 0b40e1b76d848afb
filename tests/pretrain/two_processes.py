"""Run by torchrun with RECIPE OUT ...: one training step of each; the first rank saves what it led to."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from decorssl.loop import Training
from decorssl.recipe import read
from transferbench import runtime
from transferbench.data import DatasetInfo, LabelledImages

here = runtime.start("cpu")
rng = np.random.default_rng(0)
pixels = rng.integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)
info = DatasetInfo("noise", ("a", "b"), ("train", "test"), 16, "1")
labels = np.arange(16, dtype=np.int64) % 2
images = LabelledImages(
    info, "train", labels, lambda i: Image.fromarray(pixels[i]), [str(i) for i in range(16)], "noise"
)
for recipe, out in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    training = Training(read(Path(recipe)), images, here)
    step = next(training.steps())
    gradients = {name: p.grad for name, p in training.learner.named_parameters()}
    buffers = {name: b for name, b in training.learner.named_buffers() if "tracked" not in name}
    teacher = training.teacher.state_dict() if training.teacher else {}
    kept = {name: tensor for name, tensor in teacher.items() if "tracked" not in name}
    if here.is_main:
        result = {"loss": step.terms["loss"].item(), "gradients": gradients, "buffers": buffers, "teacher": kept}
        torch.save(result, out)
runtime.stop()
