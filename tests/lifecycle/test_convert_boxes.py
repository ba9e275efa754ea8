"""A format of outlines for a dataset of boxes: one refusal that leads somewhere."""

import json
import subprocess
import sys

import numpy as np
import pytest

from eyewright import lifecycle
from eyewright.cli import main
from eyewright.core.errors import UsageError
from eyewright.imaging import encode_image


def test_boxes_for_masks_are_refused_with_a_way_that_works(tmp_path) -> None:
    images = tmp_path / "set" / "images"
    images.mkdir(parents=True)
    (images / "0.png").write_bytes(encode_image(np.zeros((32, 32, 3), np.uint8), format="PNG"))
    content = {
        "images": [{"id": 0, "file_name": "0.png", "width": 32, "height": 32}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 1, "bbox": [4, 4, 9, 9], "area": 81, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "set" / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="expected outlines to write 'masks', found boxes only") as refused:
        lifecycle.convert(tmp_path / "set", to="masks", out=tmp_path / "out")
    assert "--task" not in refused.value.fix
    assert lifecycle.convert(tmp_path / "set", to="voc", out=tmp_path / "out").objects == 1


def test_a_damaged_image_is_counted_and_the_others_are_written(tmp_path) -> None:
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(2):
            data = encode_image(np.full((8, 8, 3), 9 * i, np.uint8), format="PNG")
            (tmp_path / "set" / label / f"{i}.png").write_bytes(data)
    (tmp_path / "set" / "a" / "7.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    written = lifecycle.convert(tmp_path / "set", to="imagefolder", out=tmp_path / "out")
    assert (written.images, written.complete) == (4, False)
    assert "images left out: images cannot be read (1; a/7.png)" in written.lost


def test_a_folder_that_another_command_writes_to_is_refused_in_one_line(tmp_path, capsys) -> None:
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        (tmp_path / "set" / label / "0.png").write_bytes(encode_image(np.zeros((8, 8, 3), np.uint8), format="PNG"))
    command = ["convert", str(tmp_path / "set"), "--to", "imagefolder", "--out", str(tmp_path / "out"), "--quiet"]
    hold = "import sys; from pathlib import Path; from eyewright.core.files import claimed_output as claim\n"
    hold += "with claim(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        (sys.executable, "-c", hold, str(tmp_path / "out")), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert main(command) == 2
        other.kill()
    (line,) = capsys.readouterr().err.splitlines()
    assert "another command is writing to" in line
    assert not (tmp_path / "out").exists()
    assert main(command) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "b"]
