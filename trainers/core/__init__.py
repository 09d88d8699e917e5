"""What the training of every task is made of: configuration, job, loop, resuming, checkpoints, log, ranks."""
