"""Peak memory of the loss, forward and backward, for 32,768 embeddings and two levels.

One step; a minute or more on a CPU.
"""

import resource
import time

import torch
from common import runs

from hmlc_core import losses, masks


def step(count):
    """One forward and backward pass of `count` embeddings."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(count, 128, generator=generator).requires_grad_()
    labels = [torch.randint(classes, (count,), generator=generator) for classes in (20, 100)]
    fixed = masks.split_masks(z.detach(), 2)
    losses.masked_hierarchical_loss(z, torch.stack(labels, 1), fixed).backward()


def peak():
    """GiB of this process at its largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


runs.keep_freed_memory()
step(1024)
before, start = peak(), time.perf_counter()
step(32768)
seconds = time.perf_counter() - start
print(f"{peak() - before:.2f} GiB more than before, {peak():.2f} GiB in all, {seconds:.0f} s")
