"""Who runs a job, and where."""
