"""How the camera moved between two frames: sparse corners, their optical flow, a similarity by RANSAC."""

__all__ = ["CameraMotion"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.extras import import_extra
from eyewright.core.report import Finding

_MOST_CORNERS = 200
_FEWEST_MATCHES = 12
_LONGEST_SIDE = 640
# A frame that shares less of its corners with the last one than this is another scene.
_LEAST_INLIERS = 0.4
_LARGEST_SCALE = 1.5


class CameraMotion:
    """Estimate the motion of the camera from frame to frame.

    Corners are looked for outside the objects' boxes, at most 200, in a frame of at most 640 pixels; more cost time
    and gain nothing. A scene cut, a frame of another size, or a picture without corners is no motion and a note, never
    an error.
    """

    def __init__(self) -> None:
        self._cv2: Any = import_extra("cv2", extra="pixels", what="camera motion")
        self._last: NDArray[np.uint8] | None = None
        self._boxes: NDArray[np.float64] = np.zeros((0, 4))
        self.notes: dict[str, int] = {}

    def reset(self) -> None:
        """Forget the last frame."""
        self._last, self._boxes, self.notes = None, np.zeros((0, 4)), {}

    def findings(self, n_frames: int, source: str = "") -> list[Finding]:
        """Return a note on how often no motion could be estimated in the `n_frames` of a source, and why."""
        if not self.notes:
            return []
        reasons = "; ".join(f"{why} ({n:,})" for why, n in self.notes.items())
        text = f"camera motion is not known in {sum(self.notes.values()):,} of {n_frames:,} frames: {reasons}"
        return [Finding("camera_motion", text, "nothing, if the scene is cut there", source, severity="note")]

    def update(self, image: NDArray[np.uint8], boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Return the map of the last frame's pixels onto this one's, float64 (2, 3), or None where there is none.

        `image` is uint8 (H, W, 3) RGB; `boxes_xyxy` (n, 4) are this frame's objects, which move by themselves.
        """
        shrink = min(1.0, _LONGEST_SIDE / max(image.shape[:2]))
        grey = self._cv2.cvtColor(image, self._cv2.COLOR_RGB2GRAY)
        if shrink < 1:
            grey = self._cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=self._cv2.INTER_AREA)
        last, boxes = self._last, self._boxes
        self._last, self._boxes = grey, np.asarray(boxes_xyxy, np.float64) * shrink
        if last is None:
            return None
        if last.shape != grey.shape:
            self._note("another frame size")
            return None
        try:
            found = self._between(last, grey, boxes)
        except self._cv2.error:
            self._note("frames that OpenCV cannot compare")
            return None
        if found is None:
            return None
        found[:, 2] /= shrink
        return found

    def _note(self, why: str) -> None:
        self.notes[why] = self.notes.get(why, 0) + 1

    def _between(
        self, last: NDArray[np.uint8], grey: NDArray[np.uint8], boxes: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        cv2 = self._cv2
        mask = np.full(last.shape, 255, np.uint8)
        for x0, y0, x1, y1 in np.nan_to_num(boxes).clip(0, 1e6).astype(int).tolist():
            mask[y0:y1, x0:x1] = 0
        corners = cv2.goodFeaturesToTrack(last, _MOST_CORNERS, 0.01, 8, mask=mask)
        if corners is None or len(corners) < _FEWEST_MATCHES:
            self._note("too few corners")
            return None
        moved, good, _ = cv2.calcOpticalFlowPyrLK(last, grey, corners, None, winSize=(21, 21), maxLevel=3)
        if moved is None:
            self._note("too few corners")
            return None
        kept = good.ravel() > 0
        if kept.sum() < _FEWEST_MATCHES:
            self._note("too few matches")
            return None
        # OpenCV draws its samples from a generator of its own, which starts anew here: the same input, the same answer.
        cv2.setRNGSeed(0)
        affine, inliers = cv2.estimateAffinePartial2D(
            corners[kept], moved[kept], method=cv2.RANSAC, ransacReprojThreshold=2.0
        )
        if affine is None or inliers is None or not np.isfinite(affine).all():
            self._note("no common motion")
            return None
        if inliers.sum() < max(_FEWEST_MATCHES, _LEAST_INLIERS * len(corners)):
            self._note("a scene cut, or no common motion")
            return None
        scale = float(np.hypot(affine[0, 0], affine[1, 0]))
        if not 1 / _LARGEST_SCALE < scale < _LARGEST_SCALE:
            self._note("a scene cut, or no common motion")
            return None
        return np.asarray(affine, np.float64)
