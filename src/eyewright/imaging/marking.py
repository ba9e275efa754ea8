"""Mark images that a model has made, and find the mark again: PNG text and XMP, as IPTC asks for."""

__all__ = ["is_marked", "marked_png"]

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from eyewright.core.errors import UsageError

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's name for what a trained model has made (Digital Source Type, 2022)."""

_XMP = "XML:com.adobe.xmp"
_SIGNS = (b"trainedAlgorithmicMedia", b"eyewright:generated")
_HEAD = 1 << 16


def marked_png(image: NDArray[np.uint8], about: Mapping[str, str]) -> bytes:
    """Return a PNG of uint8 (H, W), (H, W, 1) or (H, W, 3) that says that a model made it: IPTC's digital source type
    in XMP, and `about` (such as the bundle's digest and the seed) as text.

    >>> is_marked(marked_png(np.zeros((2, 2), np.uint8), {"seed": "7"}))
    True

    Raises:
        UsageError: another shape or type.
    """
    pixels = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise UsageError(f"expected uint8 (H, W, 1) or (H, W, 3), found {image.dtype} {image.shape}")
    said = PngInfo()
    said.add_itxt(_XMP, _packet())
    said.add_text("eyewright:generated", "true")
    for name, value in about.items():
        said.add_text(f"eyewright:{name}", value)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", pnginfo=said)
    return buffer.getvalue()


def is_marked(data: bytes) -> bool:
    """Return whether an encoded image says that a model made it; the mark of other programs is found too, if XMP is in
    the first 64 KB of the file, as in PNG and JPEG."""
    head = data[:_HEAD]
    return any(sign in head for sign in _SIGNS)


def _packet() -> str:
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )
