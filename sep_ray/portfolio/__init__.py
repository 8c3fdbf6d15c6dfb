"""Where every unit is: a double-entry ledger in integer units."""
