"""Problems in the data of a task that a score does not show."""
