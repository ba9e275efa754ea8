"""What marked objects say of themselves."""

import numpy as np

from eyewright.data.targets.objects import OBJECTS, Objects, Outline, no_objects

SQUARE = Outline((np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]]),))


def objects(outlines: tuple[Outline, ...] = ()) -> Objects:
    boxes = np.array([[0.0, 0, 4, 4], [2, 2, 8, 8], [1, 1, 2, 2]])
    return Objects(boxes, np.array([0, 1, 1]), np.array([False, False, True]), outlines)


def test_objects_of_an_ignored_class_are_ignore_regions() -> None:
    left = objects().without(np.array([-1, 0]))
    assert left.crowd.tolist() == [True, False, True]
    assert left.label_ids.tolist() == [0, 0, 0]
    assert (left.held, left.ignored) == ((0,), 2)


def test_nothing_marked_is_empty() -> None:
    assert no_objects().empty(frozenset())
    assert not objects().empty(frozenset())
    assert objects().annotations == 3


def test_ignore_regions_mention_their_class_and_do_not_hold_it() -> None:
    found = objects().chosen(np.array([0, 2]))
    assert found.held == (0,)
    assert list(found.mentioned) == [0, 1]


def test_outlines_are_held_where_one_object_has_one() -> None:
    assert OBJECTS.holds([objects(), no_objects()]) == frozenset()
    assert OBJECTS.holds([objects((Outline(), SQUARE, Outline()))]) == {"outlines"}
