"""One app floods, another reports as ever: what a quota is worth, by measurement."""
