"""Several processes, one batch: each encodes its share; losses and masks see all of it."""

import os
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from hmlc_core.checks import require


@contextmanager
def group(minutes=10):
    """Join the processes that torchrun started, NCCL on GPUs and gloo on CPUs, if it started any.

    A process that waits longer than `minutes` for the others gives up with an error.

    Yields:
        torch.device of this process.
    """
    gpu, started = torch.cuda.is_available(), "RANK" in os.environ
    device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if gpu else "cpu")
    if started:
        if gpu:
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(minutes=minutes))
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
    numbers = [number] * processes()
    if processes() > 1:
        dist.all_gather_object(numbers, number)
    advice = "they must see the same files: put HMLC_ROOT on a file system that all nodes share"
    require(len(set(numbers)) == 1, f"the processes differ in {what}: {numbers}; {advice}")


def share(batch):
    """This process's part of a batch [B, ...]; B must be a multiple of the number of processes."""
    count = processes()
    message = f"a batch of {len(batch)} cannot be shared evenly by {count} processes"
    require(len(batch) % count == 0, f"{message}: choose a size that is a multiple of {count}")
    return batch.chunk(count)[rank()]


def gather(x):
    """[B, ...] of each process -> [processes * B, ...], in their order. Differentiable.

    All processes compute the same loss of all samples, so each needs the gradient of its own part
    alone; times their number, because DistributedDataParallel takes the mean over them.
    """
    count = processes()
    if count == 1:
        return x
    own = x.contiguous()
    parts = [torch.empty_like(own) for _ in range(count)]
    dist.all_gather(parts, own.detach())
    parts[rank()] = own.clone()
    if own.requires_grad:
        parts[rank()].register_hook(lambda gradient: gradient * count)
    return torch.cat(parts)


def synchronise(model):
    """Let BatchNorms on GPUs take their statistics over all processes; on CPUs each has its own."""
    on_gpus = processes() > 1 and next(model.parameters()).is_cuda
    return nn.SyncBatchNorm.convert_sync_batchnorm(model) if on_gpus else model


def parallel(model):
    """The model whose gradients are means over all processes; itself if there is one process."""
    return DistributedDataParallel(model) if processes() > 1 else model
