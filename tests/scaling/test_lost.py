"""What the outputs of a job do not hold of their files."""

from pathlib import Path

import numpy as np
from PIL import Image

from eyewright.cli.program import main
from eyewright.scaling import count_lost


def test_a_job_says_which_pages_and_transparency_it_left_out(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    source = tmp_path / "in"
    source.mkdir()
    frames = [Image.fromarray(np.full((12, 12), 40 * k, np.uint8)) for k in range(3)]
    frames[0].save(source / "pages.tif", save_all=True, append_images=frames[1:])
    clear = np.full((12, 12, 4), 100, np.uint8)
    Image.fromarray(clear).save(source / "clear.png")
    Image.fromarray(clear[..., :3]).save(source / "plain.png")
    command = ["process", str(source), "--steps", "grey", "--out", str(tmp_path / "job"), "--on", "local"]
    assert main([*command, "--workers", "1"]) == 0
    assert count_lost(tmp_path / "job") == {"transparency, laid over white": 1, "2 further frames": 1}
    said = capsys.readouterr().out
    assert "left out 2 further frames (1 image)" in said
    assert main(["encode", str(source), "--to", "png", "--out", str(tmp_path / "two"), "--on", "local"]) == 0
    assert count_lost(tmp_path / "two") == {"transparency, laid over white": 1, "2 further frames": 1}
