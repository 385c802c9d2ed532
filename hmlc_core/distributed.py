"""Several processes, one batch: each encodes its share of the samples; losses, mixtures and BatchNorms see all of them."""
import os
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.nn.functional as F
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


class _Normalise(torch.autograd.Function):
    """BatchNorm of x [B, C, ...] with the mean and variance of all processes, each with B samples; also returns these two."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps):
        mean = x.mean(_all_but_channels(x), keepdim=True)
        local = torch.stack([(x - mean).square_().mean(_all_but_channels(x)), mean.flatten()])      # torch.var_mean takes ten times as long
        found = [torch.empty_like(local) for _ in range(processes())]
        dist.all_gather(found, local)
        variances, means = torch.stack(found, 1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps), mean, variance

    @staticmethod
    def backward(ctx, gradient, *_):
        x, weight, mean, scale = ctx.saved_tensors
        others = _all_but_channels(x)
        local = gradient.sum(others), (gradient * x).sum(others)
        for_bias, for_weight = local[0], (local[1] - mean * local[0]) * scale
        over_all = torch.stack([for_bias, for_weight])
        dist.all_reduce(over_all)
        bias_mean, weight_mean = over_all / (processes() * x.numel() // x.shape[1])
        of_gradient = scale if weight is None else scale * weight
        of_x = -of_gradient * scale * weight_mean
        rest = -of_gradient * bias_mean - of_x * mean
        of_gradient, of_x, rest = (part.view(-1, *[1] * (x.ndim - 2)) for part in (of_gradient, of_x, rest))
        found = torch.addcmul(rest, of_gradient, gradient).addcmul_(of_x, x)
        return found, *((None, None) if weight is None else (for_weight, for_bias)), None


def _all_but_channels(x):
    return [d for d in range(x.ndim) if d != 1]


class _SyncBatchNorm(_BatchNorm):
    """nn.SyncBatchNorm, which works on GPUs only, for CPUs."""

    def _check_input_dim(self, x):
        pass

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        count = processes() * x.numel() // x.shape[1]
        normal, mean, variance = _Normalise.apply(x.to(self.running_mean.dtype), self.weight, self.bias, self.eps)   # under autocast x may be half a float
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return normal.to(x.dtype)


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
