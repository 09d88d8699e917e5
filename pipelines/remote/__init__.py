"""Loaders whose batches are made on the machines of a Ray cluster."""
