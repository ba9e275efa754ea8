"""An image that is damaged behind its header is left out of a conversion, and said."""

import json
from pathlib import Path

import numpy as np
import pytest

from eyewright.cli import main
from eyewright.imaging import encode_image

_ROWS = "".join(f"{i}.png,{v}\n" for i, v in enumerate(("1.5", "2", "4")))
_BOXES = "".join(f"{i}.png,cat,2,3,12,13\n" for i in range(3))


def _images(folder: Path, damaged: str) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        data = encode_image(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
        (folder / f"{i}.png").write_bytes(data)
    data = (folder / damaged).read_bytes()
    (folder / damaged).write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("table", "to", "options"),
    [
        ("path,value\n" + _ROWS, "csv", ["--task", "regress"]),
        ("path,tags\n0.png,a|b\n1.png,b\n2.png,a\n", "csv", ["--task", "tag"]),
        ("path,label\n0.png,a\n1.png,b\n2.png,a\n", "imagefolder", []),
        ("filename,class,xmin,ymin,xmax,ymax\n" + _BOXES, "coco", []),
        ("filename,class,xmin,ymin,xmax,ymax\n" + _BOXES, "voc", []),
        ("filename,class,xmin,ymin,xmax,ymax\n" + _BOXES, "mot", []),
    ],
    ids=["numbers", "tags", "labels", "coco", "voc", "mot"],
)
def test_convert_leaves_out_an_image_that_is_cut_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str, to: str, options: list[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    _images(data, "1.png")
    (data / "labels.csv").write_text(table)
    assert main(["convert", str(data), "--to", to, "--out", str(tmp_path / "out"), "--json", *options]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["images"] == 2
    assert [(r["reason"], r["n"], r["path"]) for r in said["account"]["left_out"]] == [
        ("images cannot be read", 1, "1.png")
    ]
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2
