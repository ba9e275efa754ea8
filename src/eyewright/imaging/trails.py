"""Tracks drawn over a frame: boxes with their identities, where each came from, lines and zones with their counts."""

__all__ = ["Trails"]

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from eyewright.imaging.drawing import colour_of, draw_objects
from eyewright.imaging.overlay import plain_font

_INK, _PAPER = (255, 255, 255), (20, 20, 20)


class Trails:
    """Draw frame after frame, each with the last `seconds` of every track's path."""

    def __init__(self, seconds: float = 2.0) -> None:
        self._seconds = seconds
        self._paths: dict[int, deque[tuple[float, float, float]]] = {}

    def draw(
        self,
        image: NDArray[np.uint8],
        boxes_xyxy: NDArray[np.floating],
        track_ids: NDArray[np.int64],
        texts: Sequence[str],
        *,
        time_s: float,
        lines: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    ) -> NDArray[np.uint8]:
        """Return a copy of the image, uint8 (H, W, 3), with tracks, and `lines`: a text and two points or a polygon.

        An arrow at a line of two points shows which way counts as in: to the right of whoever looks from the first
        point to the second.
        """
        for track, box in zip(track_ids.tolist(), np.asarray(boxes_xyxy, np.float64).tolist(), strict=True):
            path = self._paths.setdefault(track, deque())
            path.append((time_s, (box[0] + box[2]) / 2, box[3]))
        picture = Image.fromarray(draw_objects(image, boxes_xyxy, texts, track_ids))
        draw = ImageDraw.Draw(picture)
        wide = max(1, round(max(image.shape[:2]) / 400))
        for track, path in list(self._paths.items()):
            while path and time_s - path[0][0] > self._seconds:
                path.popleft()
            if not path:
                del self._paths[track]
            elif len(path) > 1:
                draw.line([(x, y) for _, x, y in path], fill=colour_of(track), width=wide)
        if lines:
            font = plain_font(int(np.clip(max(image.shape[:2]) / 45, 9, 40)))
            for text, points in lines.items():
                closed = [*points, points[0]] if len(points) > 2 else list(points)
                draw.line(closed, fill=_INK, width=2 * wide)
                if len(points) == 2:
                    _draw_arrow(draw, points[0], points[1], max(image.shape[:2]) / 20, 2 * wide)
                at = (
                    min(max(0.0, points[0][0]), image.shape[1] - 20.0),
                    min(max(0.0, points[0][1]), image.shape[0] - 20.0),
                )
                draw.rectangle(draw.textbbox(at, text, font=font), fill=_PAPER)
                draw.text(at, text, fill=_INK, font=font)
        return np.asarray(picture)


def _draw_arrow(
    draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], length: float, width: int
) -> None:
    """Draw an arrow from the middle of a line to its right, seen from `start`."""
    (x0, y0), (x1, y1) = start, end
    whole = float(np.hypot(x1 - x0, y1 - y0))
    along = np.array([x1 - x0, y1 - y0]) / whole
    right = np.array([-along[1], along[0]])
    middle = np.array([x0 + x1, y0 + y1]) / 2
    tip = middle + length * right
    barbs = [tuple((tip - length / 3 * (right + side * along)).tolist()) for side in (1, -1)]
    draw.line([tuple(middle.tolist()), tuple(tip.tolist())], fill=_INK, width=width)
    draw.line([barbs[0], tuple(tip.tolist()), barbs[1]], fill=_INK, width=width)
