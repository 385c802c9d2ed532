"""Train one run; under torchrun with several processes, on one batch. Notebook 03 then finds it.

torchrun --nproc-per-node 2 notebooks/train.py hierarchical_mnist g_hmlc --profile paper
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch.distributed.elastic.multiprocessing.errors import record

from hmlc_core import METHODS, distributed, load_dataset, pretrain
from study import options, plan


@record
def main(words=None):
    parser = argparse.ArgumentParser(prog="train.py", description=__doc__.partition("\n")[0])
    parser.add_argument("dataset", help="a name for load_dataset")
    parser.add_argument("method", choices=METHODS)
    usual = "gpu" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--profile", choices=options.PROFILES, default=usual)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(words)
    with distributed.group(minutes=120) as device:  # the first may have to download and render
        first = distributed.rank() == 0
        settings = plan.usual_settings(args.profile, args.dataset, args.method)
        if first:
            load_dataset(args.dataset, settings, "train")  # makes the cache that the others read
        distributed.barrier()
        data = load_dataset(args.dataset, settings, "train")
        run = pretrain(data, args.method, settings, args.seed, device=device, progress=first)
        distributed.barrier()  # the checkpoint is written
    if first:
        loss, epochs = run.history[-1]["loss"], len(run.history)
        print(f"{run.label} seed {run.seed}: loss {loss:.3f} after {epochs} epochs, {run.folder}")


if __name__ == "__main__":
    main()
