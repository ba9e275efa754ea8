"""The command line: parse, call one function of the same name, print its result."""

from eyewright.cli.program import main

__all__ = ["main"]
