"""From a decoded picture of any kind to upright RGB: orientation, colour profile, transparency, depth."""

__all__ = [
    "DECODER_ERRORS",
    "clear_array",
    "deep_array",
    "in_one_piece",
    "is_clear",
    "is_srgb",
    "orientation_of",
    "turn_array",
    "turn_upright",
    "over_white",
    "to_rgb",
]

import functools
import io
import struct
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from eyewright.core.errors import UnreadableImageError

if TYPE_CHECKING:
    from PIL import ImageCms

_ORIENTATION = 0x0112
_MOST_AT_ONCE = 16 * 2**20
# What Pillow and the libraries below it raise on damaged files; MemoryError and KeyboardInterrupt pass through.
DECODER_ERRORS = (
    struct.error,
    SystemError,
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    EOFError,
    AttributeError,
    RuntimeError,
    ZeroDivisionError,
    Warning,  # where a caller has made warnings errors
    Image.DecompressionBombError,
)


def in_one_piece(image: Image.Image, n_bytes: int) -> Image.Image:
    """Have a JPEG file of so many bytes, which is open in memory, decoded in one piece; return the picture.

    In pieces of 64 KB, Pillow's default, its bytes are copied and libjpeg is started again for each.
    """
    if isinstance(image, ImageFile.ImageFile) and image.format == "JPEG":
        image.decodermaxblock = max(image.decodermaxblock, min(n_bytes, _MOST_AT_ONCE))
    return image


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8; broken metadata says nothing about the pixels."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except DECODER_ERRORS:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turn_upright(image: Image.Image) -> Image.Image:
    """Decode and turn a picture as its EXIF orientation says."""
    image.load()
    if orientation_of(image) == 1:
        return image
    turned: Image.Image = ImageOps.exif_transpose(image)
    turned.info.setdefault("icc_profile", image.info.get("icc_profile"))
    return turned


def turn_array(pixels: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """Turn stored pixels (H, W, ...) upright by their EXIF orientation (TIFF 6.0, tag 274).

    >>> turn_array(np.array([[1, 2], [3, 4]]), 6).tolist()
    [[3, 1], [4, 2]]
    """
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture as 8-bit sRGB: colour-managed, its palette looked up, transparency over white.

    16-bit grey gives its high byte; what has no stated range (float, 32-bit integers) is refused.

    Raises:
        UnreadableImageError: float or 32-bit pixels, or a colour space that is not read.
    """
    profile = image.info.get("icc_profile")
    if image.mode == "RGB" and "transparency" not in image.info:
        return _managed(image, profile)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("F", "I"):
        kind = "32-bit float" if image.mode == "F" else "32-bit integer"
        raise UnreadableImageError(
            f"the image is {kind}, whose range is not stated in the file",
            fix='save it in 8 or 16 bits, or in Python read it with depth="native" and map it to 8 bits yourself',
            code="unknown_range",
        )
    if image.mode in ("LAB", "HSV"):
        raise UnreadableImageError(f"the image is in {image.mode}, which is not read", fix="save it as RGB")
    if is_clear(image):
        shown = _clear(image)
        over = Image.new("RGBA", image.size, (255, 255, 255, 255))
        over.alpha_composite(shown)
        return over.convert("RGB")
    if image.mode in ("CMYK", "L"):
        return _managed(image, profile).convert("RGB")
    return _managed(image.convert("RGB"), profile)


def is_clear(image: Image.Image) -> bool:
    """Return whether a picture's type holds transparency, by an alpha channel or a transparent colour."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _clear(image: Image.Image) -> Image.Image:
    """Return a picture with transparency as sRGB with its opacity."""
    clear = image.convert("RGBA")
    shown = _managed(clear.convert("RGB"), image.info.get("icc_profile"))
    shown.putalpha(clear.getchannel("A"))
    return shown


def clear_array(image: Image.Image) -> NDArray[np.uint8] | None:
    """Return a picture with transparency as uint8 (H, W, 4), nothing laid over white; None for the rest."""
    return np.asarray(_clear(image)) if is_clear(image) else None


def deep_array(image: Image.Image, format: str) -> NDArray[np.uint16] | NDArray[np.float32] | None:
    """Return grey that holds more than 8 bits as it is, (H, W, 3), and None for the rest."""
    if image.mode.startswith("I;16") or (image.mode == "I" and format in ("PNM", "PNG")):
        # Pillow scales a PNM of any maximum to 16 bits.
        return np.repeat(np.asarray(image).astype(np.uint16)[..., None], 3, axis=2)
    if image.mode in ("F", "I"):
        return np.repeat(np.asarray(image, dtype=np.float32)[..., None], 3, axis=2)
    return None


def over_white(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Lay 16-bit RGBA or grey with alpha, (H, W, 2 or 4), over white; return (H, W, 3).

    >>> over_white(np.array([[[0, 0, 0, 32768]]], np.uint16))[0, 0].tolist()
    [32767, 32767, 32767]
    """
    alpha = pixels[..., -1:].astype(np.uint32)
    colour = pixels[..., :-1].astype(np.uint32)
    mixed = (colour * alpha + 65535 * (65535 - alpha) + 32767) // 65535
    laid: NDArray[np.uint16] = np.broadcast_to(mixed, (*mixed.shape[:2], 3)).astype(np.uint16)
    return laid


def is_srgb(profile: bytes) -> bool:
    """Return whether an ICC profile names sRGB, in which pixels need no conversion."""
    return b"sRGB" in profile or b"s\0R\0G\0B" in profile


def _managed(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Map colours from the file's profile to sRGB; a profile that is damaged or of another space is left out."""
    if not profile or is_srgb(profile):
        return image
    transform = _transform(profile, image.mode)
    if transform is None:
        return image
    # Imported here: few images have a profile that is not sRGB.
    from PIL import ImageCms

    managed: Image.Image | None = ImageCms.applyTransform(image, transform)
    if managed is None:
        return image
    # Later copies are sRGB: what has been managed must not be managed again.
    managed.info.pop("icc_profile", None)
    return managed


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> "ImageCms.ImageCmsTransform | None":
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(source, _srgb(), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@functools.cache
def _srgb() -> "ImageCms.ImageCmsProfile":
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
