"""What the data of a task hold that a score does not show."""
