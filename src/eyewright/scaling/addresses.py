"""Addresses in stores; apart from `stores`, so that the command line recognises them without what opens them."""

__all__ = ["SCHEMES", "is_address"]

from collections.abc import Mapping

SCHEMES: Mapping[str, str] = {"s3": "s3", "gs": "stores", "hf": "hf", "memory": "stores"}
"""The schemes that are read, and the extra that brings each."""


def is_address(text: str) -> bool:
    """Return whether a source is an address in a store, and not a path or stream.

    >>> is_address("s3://bucket/photos/"), is_address("photos/"), is_address("rtsp://camera/1")
    (True, False, False)
    """
    return text.partition("://")[0] in SCHEMES and "://" in text
