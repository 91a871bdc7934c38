"""Train state, optimizer, the one train step, checkpoints and metrics."""
