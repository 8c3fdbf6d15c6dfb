"""Where money is between chains, until it is not."""
