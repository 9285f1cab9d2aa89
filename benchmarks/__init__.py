"""How fast it is, beside what else one could do with the same images. `make bench` runs all of it."""
