"""DALI graphs: encoded bytes and plan rows -> pixels, a graph for each task."""
