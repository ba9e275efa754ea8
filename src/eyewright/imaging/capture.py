"""When and by which camera a picture was taken, as far as its EXIF data says."""

__all__ = ["Capture", "capture_of"]

import calendar
import contextlib
import re
from dataclasses import dataclass

from PIL import Image

from eyewright.imaging.conversion import DECODER_ERRORS

_EXIF_IFD = 0x8769
_MAKE, _MODEL = 271, 272
_TAKEN, _SUBSECONDS, _SERIAL = 36867, 37521, 42033
_TIME = re.compile(r"(\d{4})[:-](\d{2})[:-](\d{2})[ T](\d{2}):(\d{2}):(\d{2})")
_LONGEST = 64


@dataclass(frozen=True)
class Capture:
    """The capture time in seconds, by the camera's own clock (no time zone), and the camera: make, model, serial."""

    time_s: float
    camera: str


def capture_of(image: Image.Image) -> Capture | None:
    """Return the capture time and camera of an opened picture, None where its EXIF data gives no usable time.

    Read from DateTimeOriginal with SubSecTimeOriginal, Make, Model and BodySerialNumber (EXIF 2.3). The time of the
    last change (DateTime) is not used: an editor sets it.
    """
    # Broken metadata says nothing about the pixels.
    with contextlib.suppress(*DECODER_ERRORS):
        exif = image.getexif()
        if _EXIF_IFD not in exif:
            return None
        details = exif.get_ifd(_EXIF_IFD)
        found = _TIME.match(_text(details.get(_TAKEN)))
        if found is None:
            return None
        year, month, day, hour, minute, second = map(int, found.groups())
        if year < 1980 or not (1 <= month <= 12 and 1 <= day <= 31):
            return None
        time_s = float(calendar.timegm((year, month, day, hour, minute, second)))
        part = _text(details.get(_SUBSECONDS))
        if part.isdecimal() and len(part) <= 9:
            time_s += int(part) / 10 ** len(part)
        camera = "/".join(_text(v) for v in (exif.get(_MAKE), exif.get(_MODEL), details.get(_SERIAL)))
        return Capture(time_s, camera)
    return None


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value.strip("\0 ")[:_LONGEST] if isinstance(value, str) else ""
