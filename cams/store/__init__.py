"""Writing heatmap stores, resumable after a kill, and exchanging heatmaps as HDF5."""
