"""Image stores and heatmap stores: LMDB files, immutable once published, read without copies."""
