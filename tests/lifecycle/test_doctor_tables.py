"""The doctor writes the groups that it proposes by look, and names the option that reads them."""

from pathlib import Path

import numpy as np
from PIL import Image

from eyewright.lifecycle import doctor


def test_proposed_look_alikes_are_written_for_group_by(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k, session in enumerate(rng.permutation(np.repeat(np.arange(24), 6)).tolist()):
        # A session has its own paper; what lies on it is of no two images the same.
        paper = np.random.default_rng(session).uniform(140, 250, 3)
        picture = np.broadcast_to(paper, (40, 40, 3)).copy()
        for y, x in rng.integers(0, 32, (10, 2)).tolist():
            picture[y : y + 8, x : x + 8] = rng.uniform(0, 130, 3)
        place = tmp_path / "data" / "ab"[session % 2] / f"{rng.integers(1 << 40):010x}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        picture = picture + rng.normal(0, 3, picture.shape)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(place)
        assert k < 144
    out = tmp_path / "the audit"
    [finding] = [f for f in doctor(tmp_path / "data", out=out) if f.code == "proposal"]
    assert f"--group-by '{out / 'groups.csv'}'" in finding.fix
    rows = (out / "groups.csv").read_text().splitlines()
    assert rows[0] == "path,group"
    assert len(rows) > 60
    seen: list[object] = []
    after = doctor(tmp_path / "data", group_by=str(out / "groups.csv"), observe=seen.append)
    assert not [f for f in after if f.code == "proposal"]
    [before] = [f for f in doctor(tmp_path / "data") if f.code == "proposal"]
    assert "eyewright doctor --out DIR" in before.fix
