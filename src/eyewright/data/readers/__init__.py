"""Readers of annotated datasets: each looks at the files and says whether they are its own."""

from eyewright.data.readers.annotated import ANNOTATED_FORMATS, read_annotated
from eyewright.data.readers.listing import Found, Marked, Reader
from eyewright.data.targets.mask import MaskFile
from eyewright.data.targets.target import IGNORE

__all__ = ["ANNOTATED_FORMATS", "IGNORE", "Found", "Marked", "MaskFile", "Reader", "read_annotated"]
