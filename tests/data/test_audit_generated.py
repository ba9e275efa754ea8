"""Images that say that a model made them are found in the scan, wherever images are decoded."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eyewright.data import audit_dataset, open_dataset, scan_dataset
from eyewright.data.tree import FolderTree
from eyewright.imaging import isolation
from eyewright.imaging.marking import marked_png


@pytest.fixture(params=["apart", "here"])
def place(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "apart":
        isolation.isolate_decoding()
    yield
    isolation.decode_here()


@pytest.mark.usefixtures("place")
def test_marked_images_are_one_finding_and_no_file_is_read_twice(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in sorted(shapes.rglob("*.png"))[::6]:
        copy = tmp_path / path.relative_to(shapes)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    made = tmp_path / "disc" / "made.png"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    made.write_bytes(marked_png(pixels, {"seed": "7"}))
    damaged = tmp_path / "disc" / "damaged.png"
    damaged.write_bytes(made.read_bytes()[:400])
    data = open_dataset(tmp_path)
    scan = scan_dataset(data, quiet=True)
    monkeypatch.setattr(FolderTree, "content", lambda self, name: pytest.fail(f"{name} was read again"))
    (found,) = (f for f in audit_dataset(data, scan) if f.code == "generated")
    assert (found.path, found.paths) == ("disc/made.png", ("disc/made.png",))
    assert "1 image says that a trained model made it" in found.message
