"""Two processes on one batch give one process's loss, gradients and runs (gloo, on the CPU)."""
import dataclasses
import os
import subprocess
import sys

import pytest
import torch
import torch.multiprocessing
from torch import nn

from hmlc_core import datasets, distributed, files, profiles, training
from hmlc_core.training import METHODS, Model, pretrain

TINY = dataclasses.replace(profiles.get("smoke"), dim=16, epochs=2, batch_size=32, optimizer="sgd", learning_rate=2e-4)


def start(number, count, port, folder, work, arguments):
    os.environ.update(RANK=str(number), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    with distributed.group(minutes=1) as device:
        torch.save(work(device, *arguments), folder / f"{number}.pt")


def together(work, folder, *arguments, count=2):
    """Run work(device, *arguments) in `count` processes; what each returns."""
    folder.mkdir(exist_ok=True)
    port = 20000 + os.getpid() % 20000
    torch.multiprocessing.spawn(start, (count, port, folder, work, arguments), count)
    return [torch.load(folder / f"{number}.pt", weights_only=False) for number in range(count)]


def one_step(device, methods, views, labels):
    """Loss terms, gradients and BatchNorm statistics of one step of each method."""
    found = {}
    for method in methods:
        torch.manual_seed(0)
        model = Model(METHODS[method], TINY, 1, [3, 6])
        model.encoder, model.head = (distributed.synchronise(part, device) for part in (model.encoder, model.head))
        forward = distributed.parallel(model)
        terms = forward(distributed.share(views), labels, torch.autocast("cpu", enabled=False))
        terms.sum().backward()
        found[method] = (terms.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, dict(model.named_buffers()))
    return found


def test_loss_and_gradients_of_every_method_are_those_of_one_process(tmp_path):
    generator = torch.Generator().manual_seed(0)
    views = torch.rand(12, 2, 1, 48, 48, generator=generator)
    labels = torch.stack([torch.arange(12) % 3, torch.arange(12) % 6], 1)
    methods = list(METHODS)
    alone = one_step(torch.device("cpu"), methods, views, labels)
    for process in together(one_step, tmp_path, methods, views, labels):
        for method in methods:
            terms, gradients, buffers = alone[method]
            assert torch.allclose(process[method][0], terms, rtol=1e-4), method
            assert set(process[method][1]) == set(gradients)
            largest = max(gradient.abs().max() for gradient in gradients.values())       # some are 0 but for rounding
            for name, gradient in gradients.items():
                assert torch.allclose(process[method][1][name], gradient, rtol=1e-3, atol=1e-5 * largest), (method, name)
            for name, value in buffers.items():
                assert torch.allclose(process[method][2][name].double(), value.double(), rtol=1e-4, atol=1e-6), (method, name)


def train(device, data, folder, epochs):
    """Weights of a run in float32; stopped after `epochs` epochs and gone on with if there is a checkpoint."""
    training._precision = lambda device: torch.float32
    save = training._save

    def save_then_stop(path, state, history):
        save(path, state, history)
        if len(history) == epochs:
            distributed.barrier()
            raise KeyboardInterrupt
    training._save = save_then_stop
    try:
        run = pretrain(data, "a_hmlc", TINY, folder=folder, device=device, progress=False)
    except KeyboardInterrupt:
        return None
    finally:
        training._save = save
    return flat(run.model), run.history[-1]["loss"], run.config_hash


def flat(model):
    return torch.cat([p.flatten() for p in model.parameters()]).detach()


def test_a_run_goes_on_with_another_number_of_processes(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_precision", training._precision)     # put back afterwards
    torch.manual_seed(0)
    start = flat(Model(METHODS["a_hmlc"], TINY, 1, dataset.class_counts))
    alone, loss, key = train("cpu", dataset, tmp_path / "alone", 9)
    whole = together(train, tmp_path / "a", dataset, tmp_path / "two", 9)
    train("cpu", dataset, tmp_path / "first one, then two", 1)
    for weights, last, found in (*whole, *together(train, tmp_path / "b", dataset, tmp_path / "first one, then two", 9)):
        assert found == key and last == pytest.approx(loss, rel=1e-3)
        assert (weights - alone).norm() < 0.02 * (alone - start).norm()


def pieces(device, x):
    return fold(), complain(), normalise(device, x)


def test_pieces(tmp_path):
    """One start of two processes for all that is quick."""
    x = 5 + torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    folded, complaints, normalised = zip(*together(pieces, tmp_path, x))
    shares_and_what_is_gathered_are_in_order(folded)
    what_cannot_be_shared_is_refused(complaints)
    batch_norm_is_over_processes(normalised, x)


def fold():
    return distributed.share(torch.arange(6)).tolist(), distributed.gather(torch.full((2, 1), float(distributed.rank()))).tolist()


def shares_and_what_is_gathered_are_in_order(found):
    assert distributed.processes() == 1 and distributed.share(torch.arange(5)).tolist() == [0, 1, 2, 3, 4]
    assert [part for part, _ in found] == [[0, 1, 2], [3, 4, 5]]
    assert found[0][1] == found[1][1] == [[0.0], [0.0], [1.0], [1.0]]


def complain():
    found = []
    for attempt in (lambda: distributed.share(torch.arange(5)), lambda: distributed.require_same(distributed.rank(), "the epochs")):
        with pytest.raises(ValueError) as error:
            attempt()
        found.append(str(error.value))
    return found


def what_cannot_be_shared_is_refused(found):
    for odd, different in found:
        assert "a batch of 5 cannot be shared evenly by 2 processes" in odd
        assert "differ in the epochs: [0, 1]" in different and "same files" in different


def normalise(device, x):
    layer = distributed.synchronise(nn.BatchNorm2d(3), device)
    part = distributed.share(x).clone().requires_grad_()
    layer(part).square().mul(torch.arange(1.0, 4)[:, None, None]).sum().backward()
    layer.eval()
    return part.grad, layer.running_mean, layer.running_var, layer(x).detach()


def batch_norm_is_over_processes(found, x):
    gradient, *others = normalise(torch.device("cpu"), x)
    assert torch.allclose(torch.cat([part[0] for part in found]), gradient, atol=1e-4)
    for part in found:
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(part[1:], others))


DIES = """
import sys
from hmlc_core import distributed, training
if __name__ == "__main__":
    step = training._step
    def dying(*arguments):
        if distributed.rank() == 1:
            raise RuntimeError("the second GPU fell off the bus")
        return step(*arguments)
    training._step = dying
    training.main(["hierarchical_mnist", "split", "--profile", "smoke"])
"""


def torchrun(folder, *words):
    place = {"HMLC_ROOT": str(folder), "PYTHONPATH": str(files.ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *map(str, words)],
                          env=os.environ | place, capture_output=True, text=True, timeout=120)


def test_one_process_dying_ends_all_with_its_error(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "dies.py").write_text(DIES)
    ended = torchrun(tmp_path, tmp_path / "dies.py")
    assert ended.returncode != 0 and "the second GPU fell off the bus" in ended.stderr


def test_torchrun_trains_what_one_process_then_finds(tmp_path):
    ended = torchrun(tmp_path, "-m", "hmlc_core.training", "hierarchical_mnist", "split", "--profile", "smoke", "--seed", "1")
    assert ended.returncode == 0, ended.stderr[-3000:]
    data = datasets.load("hierarchical_mnist", "smoke")
    run = pretrain(data, "split", "smoke", 1, folder=tmp_path / "data" / "runs", device="cpu", progress=False)
    assert f"after {profiles.get('smoke').epochs} epochs" in ended.stdout and run.folder.name in ended.stdout
    assert run.history[0]["device"] == "cpu (1 threads)"     # not trained again here
