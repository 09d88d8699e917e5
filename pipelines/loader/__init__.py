"""Batches for a trainer, exact by position: the loader, what drives DALI, resuming, ranks, bad samples."""
