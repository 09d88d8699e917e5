"""DALI graphs: encoded bytes and plan rows -> pixels, a graph for each task."""

from ..io import dali as dali  # first, for what it sets up before DALI is loaded
