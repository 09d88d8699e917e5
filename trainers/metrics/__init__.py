"""Metrics, each made of empty, merge and compute."""
