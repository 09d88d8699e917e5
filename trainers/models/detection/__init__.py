"""Detectors: Faster R-CNN with the talk's parts, each a switch."""
