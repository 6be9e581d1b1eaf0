"""This machine: cores, memory, disk, and what is wrong with it."""
