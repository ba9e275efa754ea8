"""What belongs together is found on pixels and names, and false friends are not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from eyewright.core.errors import UsageError
from eyewright.data import open_dataset, scan_dataset, split_dataset
from eyewright.data.grouped import find_groups, with_groups
from eyewright.data.grouping import Grouping, Proposal

N = 24


def drawn(seed: int, side: int = 96) -> Image.Image:
    """A picture of soft blobs, as different from every other as photographs are."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3)).astype(np.uint8))
    fine = rng.normal(0, 6, (side, side, 3))
    soft = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(float)
    return Image.fromarray(np.clip(soft * 0.8 + 20 + fine, 0, 255).astype(np.uint8))


def write(folder: Path, pictures: dict[str, Image.Image]) -> Path:
    for name, image in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name)
    return folder


def groups_of(folder: Path, **options: object) -> tuple[set[frozenset[str]], object]:
    dataset = open_dataset(folder)
    found = find_groups(dataset, scan_dataset(dataset), **options)
    return {frozenset(dataset.samples[i].id for i in g.members) for g in found.groups}, found


CHANGES = {
    "jpeg": lambda im: im,
    "webp": lambda im: im,
    "half": lambda im: im.resize((48, 48), Image.Resampling.LANCZOS),
    "darker": lambda im: im.point(lambda v: int(v * 0.6)),
    "gamma": lambda im: im.point([round(255 * (v / 255) ** 1.6) for v in range(256)] * 3),
    "grey": lambda im: ImageOps.grayscale(im).convert("RGB"),
    "crop": lambda im: im.crop((2, 7, 90, 95)),
    "mirror": ImageOps.mirror,
    "turn": lambda im: im.transpose(Image.Transpose.ROTATE_90),
    "crop of the mirror": lambda im: ImageOps.mirror(im.crop((0, 0, 88, 88))),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_altered_copies_are_found_and_nothing_else(tmp_path: Path, change: str) -> None:
    ending = {"jpeg": "jpg", "webp": "webp"}.get(change, "png")
    pictures = {f"{'ab'[k % 2]}/{k:02d}x.png": drawn(k) for k in range(N)}
    copies = {f"{'ab'[k % 2]}/copy{'uvwxyz'[k]}.{ending}": CHANGES[change](drawn(k)) for k in range(6)}
    found, _ = groups_of(write(tmp_path, {**pictures, **copies}))
    expected = {
        frozenset({f"{'ab'[k % 2]}/{k:02d}x.png", f"{'ab'[k % 2]}/copy{'uvwxyz'[k]}.{ending}"}) for k in range(6)
    }
    assert found == expected


def test_one_style_in_other_colours_and_other_shapes_is_not_one_picture(tmp_path: Path) -> None:
    pictures = {}
    for k, colour in enumerate([(221, 46, 68), (85, 172, 238), (120, 177, 89), (253, 203, 88)]):
        image = Image.new("RGB", (72, 72), "white")
        image.paste(colour, (8, 8, 64, 64))
        pictures[f"a/{'pqrs'[k]}.png"] = image
        pictures[f"b/{'pqrs'[k]}.png"] = drawn(k)
    assert groups_of(write(tmp_path, pictures))[0] == set()


def test_series_named_alike_are_kept_together_when_their_pixels_agree(tmp_path: Path) -> None:
    pictures = {}
    for day in range(8):
        scene = np.asarray(drawn(100 + day)).astype(float)
        for shot in range(6):
            own = np.asarray(drawn(1000 + 10 * day + shot)).astype(float)
            mixed = Image.fromarray((0.55 * scene + 0.45 * own).astype(np.uint8))
            pictures[f"{'ab'[shot % 2]}/2024{day:02d}_{shot:03d}.png"] = mixed
    found, grouping = groups_of(write(tmp_path, pictures))
    assert len(found) == 8
    assert {len(g) for g in found} == {6}
    assert grouping.groups[0].kind == "series"
    dataset = open_dataset(tmp_path)
    split = split_dataset(dataset, scan=scan_dataset(dataset))
    assert len({s.group for s in split.samples}) == 8
    for name in {s.group for s in split.samples}:
        assert len({s.split for s in split.samples if s.group == name}) == 1


def test_names_that_the_pixels_do_not_bear_out_group_nothing(tmp_path: Path) -> None:
    pictures = {f"{'ab'[k % 2]}/2024{k // 6:02d}_{k % 6:03d}.png": drawn(k) for k in range(48)}
    found, grouping = groups_of(write(tmp_path, pictures))
    assert found == set()
    assert grouping.proposals == ()


@pytest.mark.parametrize(
    ("rule", "said"), [("zzz", "matches none of the 24 names"), ("png", "into one group"), ("(", "regular expression")]
)
def test_a_rule_that_cannot_group_is_refused(tmp_path: Path, rule: str, said: str) -> None:
    write(tmp_path, {f"{'ab'[k % 2]}/{k:02d}.png": drawn(k) for k in range(N)})
    with pytest.raises(UsageError, match=said):
        groups_of(tmp_path, group_by=rule)


def test_without_grouping_a_warning_is_written_down(tmp_path: Path) -> None:
    write(tmp_path, {f"{'ab'[k % 2]}/{k:02d}.png": drawn(k // 2) for k in range(N)})
    _, grouping = groups_of(tmp_path, group_by="none")
    assert "--group-by none" in grouping.warnings[0]


def test_a_class_that_lives_in_one_group_is_named(tmp_path: Path) -> None:
    pictures = {f"a/{k:02d}.png": drawn(k) for k in range(10)}
    pictures |= {f"b/s{k}.jpg": drawn(50).point(lambda v, k=k: int(v * (1 - 0.05 * k))) for k in range(4)}
    _, grouping = groups_of(write(tmp_path, pictures))
    assert any("all 4 images of class 'b' belong together" in w for w in grouping.warnings)


def test_a_rule_that_joins_no_two_images_is_named(tmp_path: Path) -> None:
    write(tmp_path, {f"{'ab'[k % 2]}/{k:02d}.png": drawn(k) for k in range(N)})
    found, grouping = groups_of(tmp_path, group_by="(.*)")
    assert found == set()
    assert grouping.warnings == (f"--group-by '(.*)' puts no two of the {N} images into one group",)


@pytest.mark.parametrize(
    ("head", "join", "encoding"),
    [
        ("path;group", ";", "utf-8"),
        ("path\tgroup", "\t", "utf-8"),
        ("path, group", ", ", "utf-8"),
        ("Path,Group", ",", "utf-8"),
        ("path,group", ",", "utf-16"),
        ("path,group", "\\", "utf-8"),
    ],
)
def test_a_table_of_groups_may_come_from_a_spreadsheet_or_windows(
    tmp_path: Path, head: str, join: str, encoding: str
) -> None:
    write(tmp_path / "data", {f"{'ab'[k % 2]}/{k:02d}.png": drawn(k) for k in range(N)})
    slash, join = ("\\", ",") if join == "\\" else ("/", join)
    rows = [head, *(f"{'ab'[k % 2]}{slash}{k:02d}.png{join}p{k // 4}" for k in range(N))]
    (tmp_path / "groups.csv").write_text("\n".join(rows), encoding)
    found, grouping = groups_of(tmp_path / "data", group_by=str(tmp_path / "groups.csv"))
    assert len(found) == N // 4
    assert grouping.warnings == () or "not in the data" not in grouping.warnings[0]


def test_a_broken_table_of_groups_is_refused_in_a_short_line(tmp_path: Path) -> None:
    write(tmp_path / "data", {f"{'ab'[k % 2]}/{k:02d}.png": drawn(k) for k in range(N)})
    (tmp_path / "groups.csv").write_text('path,group\n"a/00.png,g\n' + "a/02.png,g\n" * 2000)
    with pytest.raises(UsageError) as caught:
        groups_of(tmp_path / "data", group_by=str(tmp_path / "groups.csv"))
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_groups_of_chosen_samples_are_those_of_the_same_images(tmp_path: Path) -> None:
    twins = {f"b/{k}.png": drawn(k) for k in range(4)} | {f"b/{k}_small.jpg": drawn(k) for k in range(4)}
    dataset = open_dataset(write(tmp_path, {f"a/{k}.png": drawn(50 + k) for k in range(6)} | twins))
    grouped = with_groups(dataset, find_groups(dataset, scan_dataset(dataset)))
    assert grouped.grouping is not None
    part = grouped.select(lambda s: s.id.startswith("b/") and not s.id.startswith("b/0"))
    assert part.grouping is not None
    named = {frozenset(part.samples[i].id for i in g.members) for g in part.grouping.groups}
    assert named == {frozenset({f"b/{k}.png", f"b/{k}_small.jpg"}) for k in (1, 2, 3)}
    proposal = Proposal("x", "y", 2, 4, 0.01, ((0, 1),), "z", ((0, 1), (2, 3, 4)))
    (left,) = Grouping(proposals=(proposal,)).chosen([1, 3, 4]).proposals
    assert left.members == ((1, 2),)
