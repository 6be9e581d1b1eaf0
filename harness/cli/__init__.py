"""The command line, one file a command."""

from dnabench.cli.app import main

__all__ = ["main"]
