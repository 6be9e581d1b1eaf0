"""From words to a grid of trials, and from trials to records."""
