"""CPU time an image of this pipeline and of its peers, on the same files, in one run."""
