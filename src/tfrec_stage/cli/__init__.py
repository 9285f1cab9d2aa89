"""The command line: Hydra in, one call, exit code out."""
