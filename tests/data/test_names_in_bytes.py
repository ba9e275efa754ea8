"""Folders from old disks, whose names are bytes of another encoding: one class name, in every file that is written."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.core.jsonable import dumps_json
from eyewright.data import open_dataset


def _photos(root: Path) -> None:
    for label in (b"caf\xe9", b"t\xe9e"):
        folder = os.path.join(os.fsencode(root), label)
        os.mkdir(folder)
        for i in range(3):
            with open(os.path.join(folder, b"%d\xff.png" % i), "wb") as file:
                Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)).save(file, "PNG")


def test_a_class_folder_that_is_not_utf8_is_a_class_in_unicode(tmp_path: Path) -> None:
    try:
        _photos(tmp_path)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("café", "tée")
    assert dataset.image(0).shape == (8, 8, 3)
    (reason,) = dataset.account.repaired
    assert (reason.n, dataset.account.complete) == (6, True)


@pytest.mark.parametrize("text", ["caf\udce9", "\ud800"])
def test_surrogates_reach_no_json_neither_as_keys_nor_as_values(text: str) -> None:
    written = dumps_json({text: {text: [text, (text,)]}})
    assert json.loads(written.encode("utf-8"))
