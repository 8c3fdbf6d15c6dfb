"""Ray shells: thin actors around the plain classes of sep_ray."""
