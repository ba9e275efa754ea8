"""Paths and values in messages for people."""

__all__ = ["quoted"]


def quoted(value: object) -> str:
    r"""Return a path or a text in quotes, as a message shows it.

    It is `repr` of the text with one difference: backslashes are not doubled, so that a Windows path can be copied.
    Line ends, control characters and lone surrogates are escaped, so that a name cannot break a line or a terminal.

    >>> print(quoted(r"C:\photos\a.png"))
    'C:\photos\a.png'
    >>> print(quoted("two\nlines"))
    'two\nlines'
    """
    return repr(str(value)).replace("\\\\", "\\")
