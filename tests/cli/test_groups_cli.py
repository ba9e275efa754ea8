"""Groups through the command line: rules that cannot be meant are one line and a code, the others still split."""

import json
from pathlib import Path

import numpy as np
import pytest

from eyewright.cli import main
from eyewright.imaging import encode_image

FAST = ("--epochs", "1", "--batch", "32", "--imgsz", "18", "--model", "conv_net")


def write(folder: Path, groups: dict[str, tuple[str, ...]], *, each: int = 12) -> Path:
    """Write `each` images of every group into the classes that it shows, evenly; the group is in the name."""
    rng = np.random.default_rng(0)
    for group, classes in groups.items():
        for i in range(each):
            name = classes[i % len(classes)]
            few = rng.integers(20, 120, (6, 6, 3)) + (100 if name == "bright" else 0)
            place = folder / name / f"{group}-{i:02d}-{rng.integers(10**6):06d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(encode_image(np.kron(few, np.ones((6, 6, 1))).astype(np.uint8)))
    return folder


BOTH = ("bright", "dark")


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, dict, str]:
    code = main([*map(str, args), "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


@pytest.mark.parametrize(
    ("groups", "rule", "code", "words"),
    [
        ({"a": BOTH, "b": BOTH}, r"z(\d)", 2, r"--group-by 'z(\d)' matches none of the 24 names"),
        ({"a": BOTH, "b": BOTH}, "-", 2, "--group-by '-' puts all 24 images into one group"),
        ({"a": BOTH, "b": BOTH}, "(", 2, "found '('"),
        ({"a": BOTH}, "folder", 3, "belong together in 2 groups by --group-by 'folder'"),
        ({"a": BOTH, "b": BOTH}, r"/(\w)-", 3, "belong together in 2 groups by --group-by"),
        ({"a": BOTH, "b": BOTH}, "", 2, "expected a value for --group-by"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    groups: dict[str, tuple[str, ...]],
    rule: str,
    code: int,
    words: str,
) -> None:
    data = write(tmp_path / "data", groups)
    found, said, err = call(capsys, "train", data, "--group-by", rule, "--out", tmp_path / "out", *FAST)
    assert found == code
    assert words in said["error"]["message"]
    assert said["error"]["fix"]
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "run.json").exists()


def test_groups_larger_than_a_part_still_split_and_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "data", dict.fromkeys("abcd", BOTH), each=20)
    out = tmp_path / "out"
    assert call(capsys, "train", data, "--group-by", r"/(\w)-", "--out", out, *FAST)[0] == 0
    about = json.loads((out / "run.json").read_text())
    assert sum(about["dataset"]["groups"].values()) == 4
    assert min(about["dataset"]["images"].values()) == 20
    assert "the largest group holds 20 of 80 images" in about["grouping"]["warnings"][0]


def test_a_class_that_lives_in_one_group_is_learnt_and_said_not_to_be_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = {**{f"a{k}": ("bright",) for k in range(8)}, "b": ("dark",)}
    data = write(tmp_path / "data", groups, each=6)
    out = tmp_path / "out"
    assert call(capsys, "train", data, "--group-by", r"/(\w+)-\d\d-", "--out", out, *FAST)[0] == 0
    about = json.loads((out / "run.json").read_text())
    assert any("class 'dark' is trained on but not tested" in n for n in about["dataset"]["notes"])
    assert any("class 'dark' belong together" in w for w in about["grouping"]["warnings"])


def test_a_given_split_that_cuts_through_groups_trains_and_warns_with_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "data/train", dict.fromkeys("abcdef", BOTH))
    (tmp_path / "data/test").mkdir()
    for k, path in enumerate(sorted((tmp_path / "data/train").rglob("*.png"))):
        if k % 6 == 0:
            place = tmp_path / "data/test" / path.parent.name / path.name
            place.parent.mkdir(exist_ok=True)
            path.rename(place)
    out = tmp_path / "out"
    code, said, _ = call(capsys, "train", tmp_path / "data", "--group-by", r"/(\w)-", "--out", out, *FAST)
    assert code == 0
    # The sixth group is in validation: it was not trained on.
    assert (said["leaks"]["siblings"], said["leaks"]["sibling_groups"]) == (10, 5)
    (warning,) = json.loads((out / "run.json").read_text())["warnings"]
    assert "10 of 12 test images belong to 5 groups that also contain training images" in warning
