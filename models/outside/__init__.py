"""Models that are in no registry: your own file, and those of transformers."""
