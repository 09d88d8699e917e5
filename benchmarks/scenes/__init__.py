"""Generated scenes with true masks and boxes, for machines without data."""
