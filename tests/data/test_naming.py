"""Images are found by what annotation files call them, and nothing is indexed where no file names any."""

import pytest

from eyewright.data.readers import naming
from eyewright.data.readers.naming import Images


def test_a_tree_in_which_no_image_is_looked_for_is_not_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    fold = naming.folded
    monkeypatch.setattr(naming, "folded", lambda name: (asked.append(name), fold(name))[1])
    images = Images([f"three/{i:04d}.PNG" for i in range(100)] + ["notes.txt"])
    assert len(images.names) == 100
    assert not asked
    assert images.find("0007.PNG") == "three/0007.PNG"
    assert not asked
    assert images.find("0007.png") == "three/0007.PNG"
    assert images.find("0008") == "three/0008.PNG"
    assert asked
