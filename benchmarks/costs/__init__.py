"""What single parts cost: stages, scale, builds, training steps, remote batches, starved trainers."""
