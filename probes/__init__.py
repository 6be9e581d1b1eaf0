"""What a network sees, what it uses, and what a mutation does."""
