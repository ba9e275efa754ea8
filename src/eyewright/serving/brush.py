"""Label Studio's brush masks: RGBA bytes in run-length encoding, packed in bits, as label-studio-converter writes."""

__all__ = ["brush_rle"]

import numpy as np
from numpy.typing import NDArray

_SIZES = (3, 4, 8, 16)


def brush_rle(mask: NDArray[np.bool_]) -> list[int]:
    """Return the bytes of a mask, bool (H, W), in the @thi.ng/rle-pack form that Label Studio's editor reads.

    The header holds 32 bits of the number of values, 5 bits of a word's size less one (8), four times 4 bits of a run
    length's size less one; then a bit that says whether a run follows, two that choose its size, the run, the value.

    >>> brush_rle(np.array([[True]]))
    [0, 0, 0, 4, 57, 27, 252, 127, 224]
    """
    values = np.repeat(mask.ravel().astype(np.uint8) * 255, 4)
    bits: list[str] = [f"{len(values):032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    if len(values):
        edges = np.flatnonzero(np.diff(values)) + 1
        starts = np.concatenate([[0], edges])
        lengths = np.diff(np.concatenate([starts, [len(values)]]))
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            left, value = length, f"{int(values[start]):08b}"
            while left > 0:
                part = min(left, 1 << _SIZES[-1])
                k = next(i for i, size in enumerate(_SIZES) if part <= 1 << size)
                bits.append(f"1{k:02b}{part - 1:0{_SIZES[k]}b}{value}")
                left -= part
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]
