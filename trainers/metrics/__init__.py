"""Metrics: each is empty to begin with, merged batch by batch and rank by rank, and computed at the end."""
