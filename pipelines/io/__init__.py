"""Files and the terminal.

What users name is read safely, results are written whole or not at all; threads, progress.
"""
