"""Trained networks: kept, loaded, and used on new sequences."""
