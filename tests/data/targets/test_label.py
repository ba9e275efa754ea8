"""What a class of an image says of itself."""

import numpy as np

from eyewright.data.targets.label import LABEL, Label


def test_an_ignored_class_leaves_nothing_to_learn() -> None:
    ids = np.array([-1, 0])
    assert Label(0).without(ids) is None
    assert Label(1).without(ids) == 0


def test_a_label_stays_a_label() -> None:
    renamed = Label(1).renamed(np.array([4, 7]))
    assert (type(renamed), renamed) == (Label, 7)


def test_a_cell_of_split_csv_is_read_back() -> None:
    names = ("cat", "dog")
    assert LABEL.of_cell(Label(1).cell(names), names) == 1
    assert LABEL.of_cell("owl", names) is None


def test_labels_contradict_each_other_by_class() -> None:
    assert LABEL.sides([Label(0), Label(1), Label(0)], ("cat", "dog")) == [(0, "'cat'"), (1, "'dog'"), (0, "'cat'")]
