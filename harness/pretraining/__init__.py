"""Language models trained on genomes: windows, hidden tokens, and what the result is worth."""
