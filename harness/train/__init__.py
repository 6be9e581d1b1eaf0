"""One training run: data, objective, step, loop."""
