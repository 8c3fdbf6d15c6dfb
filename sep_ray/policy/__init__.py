"""What is allowed: limits, allow-lists, losses and halts. Pure; decided before the signer."""
