"""One file a peer: another loader on the same job, driven through the same small interface."""
