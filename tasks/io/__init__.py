"""Reading, fetching and storing labelled sequences."""
