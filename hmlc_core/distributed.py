"""Several processes, one batch: each encodes its share of the samples; losses, mixtures and BatchNorms see all of them."""
import os
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from hmlc_core.checks import require


@contextmanager
def group(minutes=10):
    """Join the processes that torchrun started, NCCL on GPUs and gloo on CPUs; nothing happens if it started none.

    A process that waits longer than `minutes` for the others gives up with an error.

    Yields:
        torch.device of this process.
    """
    started = "RANK" in os.environ
    device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu")
    if started:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(minutes=minutes))
    try:
        yield device
    finally:
        if started:
            dist.destroy_process_group()


def processes():
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank():
    """Number of this process, 0 .. processes() - 1."""
    return dist.get_rank() if processes() > 1 else 0


def barrier():
    """Wait for all processes."""
    if processes() > 1:
        dist.barrier()


def require_same(number, what):
    """Raise ValueError in every process unless all have the same number."""
    if processes() > 1:
        found = [None] * processes()
        dist.all_gather_object(found, number)
        require(len(set(found)) == 1, f"the processes differ in {what}: {found}. They must see the same files: put the data folder "
                                      "(HMLC_ROOT) on a file system that all nodes share")


def share(batch):
    """This process's part of a batch [B, ...]; B must be a multiple of the number of processes."""
    require(len(batch) % processes() == 0, f"a batch of {len(batch)} cannot be shared evenly by {processes()} processes: "
                                           f"choose a batch size that is a multiple of {processes()}")
    return batch.chunk(processes())[rank()]


def gather(x):
    """[B, ...] of each process -> [processes * B, ...], in their order. Differentiable."""
    return _Gather.apply(x) if processes() > 1 else x


class _Gather(torch.autograd.Function):
    """All processes compute the same loss of what they gathered, so each has the whole gradient and takes its part of it; times
    the number of processes, because DistributedDataParallel takes the mean over them."""

    @staticmethod
    def forward(ctx, x):
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(processes())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.chunk(processes())[rank()] * processes()


class _Sum(torch.autograd.Function):
    """Sum over processes, of values and of gradients."""

    @staticmethod
    def forward(ctx, x):
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, gradient):
        return _Sum.apply(gradient)


class _SyncBatchNorm(_BatchNorm):
    """nn.SyncBatchNorm, which works on GPUs only, for CPUs."""

    def _check_input_dim(self, x):
        pass

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        given, x = x.dtype, x.to(self.running_mean.dtype)       # under autocast it may be half a float
        others = [d for d in range(x.ndim) if d != 1]
        shape = [-1 if d == 1 else 1 for d in range(x.ndim)]
        count = processes() * x.numel() // x.shape[1]
        mean = _Sum.apply(x.sum(others)) / count
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(others)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        return (normal if self.weight is None else normal * self.weight.view(shape) + self.bias.view(shape)).to(given)


def synchronise(model, device):
    """Let the BatchNorms of a model take their statistics over all processes; to be called before its optimiser is made.

    Returns the model, converted; itself if there is one process."""
    if processes() == 1:
        return model
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = _SyncBatchNorm
    return model


def parallel(model):
    """The model whose gradients are means over all processes; itself if there is one process."""
    return DistributedDataParallel(model) if processes() > 1 else model
