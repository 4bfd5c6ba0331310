"""The command line: one file per command; each parses, calls one library function and prints."""

from copydesk.cli.app import main

__all__ = ["main"]
