"""Units, ids, clock and errors: what every stage stands on."""
