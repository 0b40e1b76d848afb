"""Batch normalization over all processes, on any device."""

import torch
from torch import Tensor, nn

from transferbench.runtime import Runtime


class SynchronizedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalization with the statistics of the global batch, through any backend.

    `torch.nn.SyncBatchNorm` does the same on GPUs only. Processes may hold different numbers of samples. Statistics are
    computed in float32 from centered values; the running variance is the unbiased one, as in torch. Parameters and
    buffers are those of `source`, which an optimizer may hold already.
    """

    def __init__(self, source: nn.modules.batchnorm._BatchNorm, runtime: Runtime) -> None:
        super().__init__(source.num_features, source.eps, source.momentum, source.affine, source.track_running_stats)
        self.runtime = runtime
        self._parameters.update(source._parameters)
        self._buffers.update(source._buffers)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected at least 2 dimensions, found {input.ndim}")

    def forward(self, input: Tensor) -> Tensor:
        """`input` (`b c ...`) normalized by the statistics of all processes, in training; by the running ones else."""
        if not self.training:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return self._normalize(input.float()).to(input.dtype)

    def _normalize(self, x: Tensor) -> Tensor:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        own = x.new_full((1,), x.numel() // x.shape[1])
        sums = self.runtime.total(torch.cat([x.sum(axes), own]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centered = x - mean.view(shape)
        variance = self.runtime.total(centered.square().sum(axes)) / count
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * (count / (count - 1).clamp(min=1)))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        out = centered * scale.view(shape)
        return out + self.bias.view(shape) if self.affine else out

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)


def synchronize(module: nn.Module, runtime: Runtime) -> nn.Module:
    """`module` with every batch normalization seeing the global batch; unchanged in a single process."""
    if runtime.world_size == 1:
        return module
    if runtime.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return SynchronizedBatchNorm(module, runtime)
    for name, child in module.named_children():
        setattr(module, name, synchronize(child, runtime))
    return module
