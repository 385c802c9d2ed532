"""G-HMLC and A-HMLC (Ott et al. 2025, arXiv 2510.00837), their baseline HMCE, and their peers."""

from hmlc_core.data.dataset import HierarchicalDataset
from hmlc_core.data.load import load_dataset
from hmlc_core.data.mnist import build_hierarchical_mnist
from hmlc_core.losses import (
    HMCELoss,
    MaskedHierarchicalLoss,
    SupConLoss,
    hmce_loss,
    masked_hierarchical_loss,
    supcon_loss,
)
from hmlc_core.masks import (
    AttentionMasks,
    gmm_masks,
    random_masks,
    rectified_masks,
    shared_masks,
    sign_masks,
    split_masks,
)
from hmlc_core.methods import METHODS, Method
from hmlc_core.peers import (
    BHCL,
    CrossEntropyHeads,
    LevelRestricted,
    LevelRestrictedHyperbolic,
    PerLevelHeads,
    bhcl_loss,
    level_restricted_loss,
    rince_loss,
)
from hmlc_core.runs import Run, linear_evaluation, pretrain
from hmlc_core.settings import PRESETS, Settings, preset
from hmlc_core.weights import load_weights, save_weights
