"""hmlc: hierarchical contrastive learning with identified features (G-HMLC, A-HMLC) and its peers."""
