"""The CPU kernels (numba) that resample and colour a window in one pass, as DALI operators."""
