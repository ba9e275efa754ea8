"""Numbers of errors agree with recall, both at the operating points; what they cost is over all scores, as AP50 is."""

import numpy as np

from eyewright.metrics.matching import Detected, overlaps_of
from eyewright.tasks.box_report import _errors
from eyewright.tasks.box_results import Scene


def test_errors_below_the_operating_points_are_not_counted_and_cost_ap50() -> None:
    scenes = []
    for _ in range(7):
        boxes = np.array([[10.0 * j, 0.0, 10.0 * j + 8, 8.0] for j in range(3)])
        truth = Detected(boxes, np.array([0, 0, 1]))
        # One object is found; two are, at a score that nobody is shown, of the wrong class.
        found = Detected(boxes, np.array([0, 1, 0]), np.array([0.9, 0.3, 0.2]))
        scenes.append(Scene(found, truth, overlaps_of(found, truth)))
    kinds = _errors(scenes, 2, np.array([0.5, 0.5]), 0)["kinds"]
    assert kinds["missed"]["n"] == 14
    assert all(v["n"] == 0 for k, v in kinds.items() if k != "missed")
    # At any score the objects were found, in place and of the wrong class.
    assert kinds["class"]["ap50_lost"] > 0.1
    assert kinds["missed"]["ap50_lost"] == 0
