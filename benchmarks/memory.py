"""Peak memory of the loss, forward and backward, for a batch of 32,768 embeddings and two levels. One step; a minute or more on a CPU."""
import resource
import time

import torch
from common import training

from hmlc_core import losses, masks

training._keep_freed_memory()
generator = torch.Generator().manual_seed(0)
z = torch.randn(32768, 128, generator=generator).requires_grad_()
labels = torch.stack([torch.randint(count, (len(z),), generator=generator) for count in (20, 100)], 1)
losses.masked_hierarchical_loss(z[:64], labels[:64] % 4, masks.split_masks(z[:64].detach(), 2)).backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
losses.masked_hierarchical_loss(z, labels, masks.split_masks(z.detach(), 2)).backward()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"batch 32,768 x 128, two levels: {(after - before) / 2**20:.2f} GiB more than before, {after / 2**20:.2f} GiB in all, "
      f"{time.perf_counter() - start:.0f} s")
