"""Everything a test writes goes to a folder of its own, never to data/ or figures/."""

import os
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "notebooks")]

from hmlc_core import build_hierarchical_mnist, files
from hmlc_core.data import timm_nets


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "DATA", tmp_path / "data")
    monkeypatch.setattr(files, "FIGURES", tmp_path / "figures")
    monkeypatch.delenv("HMLC_DATA", raising=False)


@pytest.fixture
def digits():
    """200 images and labels: class k is a block of brightness 100 + 10 k in the middle 20x20."""
    labels = np.arange(200) % 10
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 4:24, 4:24] = (100 + 10 * labels)[:, None, None]
    return images, labels


@pytest.fixture
def dataset(digits):
    return build_hierarchical_mnist(*digits, n=96, canvas=24, seed=0)


@pytest.fixture
def batch():
    """Embeddings [12, 6] and labels [12, 2] (three coarse classes, six fine) in float64."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.arange(12) % 3
    return (
        torch.randn(12, 6, generator=generator, dtype=torch.float64),
        torch.stack([coarse, coarse + 3 * (torch.arange(12) // 6)], 1),
    )


@pytest.fixture
def timm():
    timm_nets._build.cache_clear()
    yield pytest.importorskip("timm", reason="timm is an optional extra")
    timm_nets._build.cache_clear()
