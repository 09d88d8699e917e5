"""Building a store from a source: prepare each sample, split, write, publish."""
