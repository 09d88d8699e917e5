"""DALI graphs.

Encoded bytes and plan rows to pixels, one graph a task, and the reference executor they are tested against.
"""
