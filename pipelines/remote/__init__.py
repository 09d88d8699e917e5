"""Loaders whose batches are made on the machines of a Ray cluster."""

from .loader import RemoteLoader

__all__ = ["RemoteLoader"]
