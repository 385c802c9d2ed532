"""Two processes on one batch give one process's loss, gradients and runs (gloo, on the CPU).

On CPUs each process has its own BatchNorm statistics, so these models have no BatchNorm.
"""

import os
import subprocess
import sys

import pytest
import torch
import torch.multiprocessing
from torch import nn

from hmlc_core import (
    METHODS,
    Settings,
    build_hierarchical_mnist,
    devices,
    distributed,
    files,
    models,
    pretrain,
    views,
)
from hmlc_core.methods import Model
from study.variants import VARIANTS  # in METHODS, here and in the processes that are spawned

PLAIN = torch.autocast("cpu", enabled=False)
SETTINGS = Settings(
    canvas=24, encoder="flat", dim=12, epochs=2, batch_size=32, head_batch_norm=False,
    optimizer="sgd", learning_rate=1e-3,
)  # fmt: skip


class Flat(nn.Module):
    """An encoder without BatchNorm."""

    def __init__(self, channels):
        super().__init__()
        self.layer = nn.LazyLinear(20)
        self.layer(torch.zeros(1, 24 * 24 * channels))

    def forward(self, images):
        return self.layer(images.flatten(1)).tanh()


def start(number, count, port, folder, work, arguments):
    os.environ.update(RANK=str(number), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1")
    os.environ["MASTER_PORT"] = str(port)
    torch.set_num_threads(1)
    with distributed.group(minutes=1) as device:
        torch.save(work(device, *arguments), folder / f"{number}.pt")


@pytest.fixture(scope="module")
def images():
    labels = torch.arange(200).numpy() % 10
    digits = torch.zeros(200, 28, 28, dtype=torch.uint8).numpy()
    digits[:, 4:24, 4:24] = (100 + 10 * labels)[:, None, None]
    return build_hierarchical_mnist(digits, labels, n=96, canvas=24)


@pytest.fixture(scope="module")
def together(images, tmp_path_factory):
    """What each of two processes returns from everything(); one start for all tests."""
    folder = tmp_path_factory.mktemp("together")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "precision", lambda device: torch.float32)
        patch.setitem(models.ENCODERS, "flat", (Flat, 20))
        stopped(images, folder / "one, then two")
    port = 20000 + os.getpid() % 20000
    arguments = (2, port, folder, everything, (images, folder))
    torch.multiprocessing.spawn(start, arguments, 2)
    return [torch.load(folder / f"{number}.pt", weights_only=False) for number in (0, 1)], folder


def everything(device, images, folder):
    models.ENCODERS["flat"] = (Flat, 20)
    devices.precision = lambda device: torch.float32
    return {
        "share": distributed.share(torch.arange(6)).tolist(),
        "gather": distributed.gather(torch.full((2, 1), float(distributed.rank()))).tolist(),
        "complaints": complaints(),
        "steps": one_step(),
        "views": shared_views(images),
        "run": a_run(device, images, folder / "two"),
        "resumed": a_run(device, images, folder / "one, then two"),
        "norms": [type(m).__name__ for m in distributed.synchronise(nn.BatchNorm1d(3)).modules()],
    }


def complaints():
    said = []
    for attempt in (
        lambda: distributed.share(torch.arange(5)),
        lambda: distributed.require_same(distributed.rank(), "the epochs"),
    ):
        with pytest.raises(ValueError) as error:
            attempt()
        said.append(str(error.value))
    return said


def one_step():
    """Loss terms and gradients of one step of each method whose model needs no BatchNorm."""
    generator = torch.Generator().manual_seed(0)
    pair = torch.rand(12, 2, 1, 24, 24, generator=generator)
    labels = torch.stack([torch.arange(12) % 3, torch.arange(12) % 6], 1)
    done = {}
    assert {variant.key for variant in VARIANTS} <= set(METHODS)
    for method in METHODS:
        if method == "heads":  # its heads have BatchNorms
            continue
        torch.manual_seed(0)
        model = Model(METHODS[method], SETTINGS, 1, [3, 6])
        forward = distributed.parallel(model)
        terms = forward(distributed.share(pair), labels, PLAIN)
        terms.sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        done[method] = terms.detach(), gradients
    return done


def shared_views(images):
    """Views of this process's part of a batch."""
    batch = distributed.share(torch.from_numpy(images.images[:8]))
    return views.two_views(batch, "keep_whole", torch.Generator().manual_seed(3))


def stopped(images, folder):
    """A run that ends in its second epoch."""
    real, seen = views.Pictures.begin, []

    def begin(self, seed, epoch):
        seen.append(epoch)
        if epoch == 1:
            raise KeyboardInterrupt
        real(self, seed, epoch)

    views.Pictures.begin = begin
    try:
        a_run(torch.device("cpu"), images, folder)
    except KeyboardInterrupt:
        pass
    finally:
        views.Pictures.begin = real
    assert seen == [0, 1]


def a_run(device, images, folder):
    run = pretrain(images, "a_hmlc", SETTINGS, folder=folder, device=device, progress=False)
    return flat(run.model), run.history[-1]["loss"], run.config_hash, len(run.history)


def flat(model):
    return torch.cat([p.flatten() for p in model.parameters()]).detach()


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.setitem(models.ENCODERS, "flat", (Flat, 20))
    monkeypatch.setattr(devices, "precision", lambda device: torch.float32)


def test_loss_and_gradients_of_every_method_are_those_of_one_process(together, alone):
    expected = one_step()
    for process in together[0]:
        assert set(process["steps"]) == set(expected)
        for method, (terms, gradients) in expected.items():
            theirs, others = process["steps"][method]
            assert torch.allclose(theirs, terms, rtol=1e-4), method
            largest = max(gradient.abs().max() for gradient in gradients.values())
            for name, gradient in gradients.items():
                close = torch.allclose(others[name], gradient, rtol=1e-3, atol=1e-5 * largest)
                assert close, (method, name)


def test_a_run_is_that_of_one_process_also_where_one_began_it(together, alone, images, tmp_path):
    torch.manual_seed(0)
    before = flat(Model(METHODS["a_hmlc"], SETTINGS, 1, images.class_counts))
    weights, loss, key, epochs = a_run(torch.device("cpu"), images, tmp_path)
    assert epochs == 2
    for process in together[0]:
        for name in ("run", "resumed"):
            others, last, found, count = process[name]
            assert (found, count) == (key, 2) and last == pytest.approx(loss, rel=1e-3)
            assert (others - weights).norm() < 0.02 * (weights - before).norm()
    (folder,) = (together[1] / "two").iterdir()
    assert {"checkpoint.pt", "config.json"} == {path.name for path in folder.iterdir()}


def test_views_are_those_that_one_process_makes(together, images):
    batch = torch.from_numpy(images.images[:8])
    whole = views.two_views(batch, "keep_whole", torch.Generator().manual_seed(3))
    parts = torch.cat([process["views"] for process in together[0]])
    assert torch.allclose(parts, whole, atol=1e-5)


def test_shares_and_what_is_gathered_are_in_order(together):
    assert distributed.processes() == 1 and distributed.rank() == 0
    assert distributed.share(torch.arange(5)).tolist() == [0, 1, 2, 3, 4]
    assert [process["share"] for process in together[0]] == [[0, 1, 2], [3, 4, 5]]
    assert [process["gather"] for process in together[0]] == [[[0.0], [0.0], [1.0], [1.0]]] * 2


def test_what_cannot_be_shared_is_refused(together):
    for process in together[0]:
        odd, different = process["complaints"]
        assert "a batch of 5 cannot be shared evenly by 2 processes" in odd
        assert "differ in the epochs: [0, 1]" in different and "same files" in different
    distributed.require_same(3, "the epochs")


def test_on_cpus_batch_norms_stay_torchs_own(together):
    assert [process["norms"] for process in together[0]] == [["BatchNorm1d"]] * 2


def test_one_process_needs_no_wrapper_and_group_starts_nothing(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    model = nn.Linear(2, 2)
    assert distributed.parallel(model) is model and distributed.synchronise(model) is model
    with distributed.group() as device:
        assert device.type in ("cpu", "cuda") and distributed.processes() == 1
    distributed.barrier()


DIES = """
from hmlc_core import distributed
import torch
if __name__ == "__main__":
    with distributed.group():
        if distributed.rank() == 1:
            raise RuntimeError("the second GPU fell off the bus")
        distributed.gather(torch.zeros(1))
"""


def test_one_process_dying_ends_all_with_its_error(tmp_path):
    (tmp_path / "dies.py").write_text(DIES)
    place = {"HMLC_ROOT": str(tmp_path), "PYTHONPATH": str(files.CODE), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    ended = subprocess.run(
        [*words, str(tmp_path / "dies.py")],
        env=os.environ | place,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode != 0 and "the second GPU fell off the bus" in ended.stderr
