"""Tasks, one file a suite; io/ reads and stores their data, audit/ checks them."""
