"""A plan lists what `list_sources` lists, is cut by images and bytes, and cannot be changed unnoticed."""

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import InputError, RefusedError, UsageError
from eyewright.imaging import encode_image
from eyewright.imaging.sources import list_sources
from eyewright.scaling.listing import list_items
from eyewright.scaling.plan import open_plan, write_plan

NOTHING: dict[str, None] = {}


def touch(folder: Path, *names: str, size: int = 3) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * size)


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_a_folder_is_listed_as_list_sources_does_it_whatever_is_sorted_on_disk(tmp_path: Path, at_once: int) -> None:
    source, spill = tmp_path / "s", tmp_path / "spill"
    spill.mkdir()
    touch(
        source, "b/2.png", "b/1.PNG", "b.png", "b-c/9.jpg", "a.jpg", "z/y/x/w.webp", "notes.txt", "b/ü .png", "é\n.png"
    )
    (source / "link.png").symlink_to(source / "a.jpg")
    (source / "linked").symlink_to(source / "b")
    (source / "dangling.png").symlink_to(source / "gone")
    found = [source / item.path for item in list_items(str(source), spill, at_once=at_once)]
    assert found == list_sources(source)
    assert not os.listdir(spill)


def test_a_video_is_refused_and_an_image_taken_whatever_they_are_called(tmp_path: Path) -> None:
    video, image = tmp_path / "clip", tmp_path / "photo.mp4"
    video.write_bytes(b"\x1aE\xdf\xa3" + bytes(40))
    image.write_bytes(encode_image(np.zeros((4, 4, 3), np.uint8)))
    (tmp_path / "named.jpg").write_bytes(video.read_bytes())
    for source in (video, tmp_path / "c*", tmp_path / "named.jpg"):
        with pytest.raises(UsageError, match="--on"):
            list(list_items(str(source), tmp_path / "spill"))
    for source in (image, tmp_path / "p*"):
        assert [Path(i.path) for i in list_items(str(source), tmp_path / "spill")] == [image]
        assert list_sources(str(source)) == [image]


def test_a_glob_is_listed_as_list_sources_does_it(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.png", "b-c/9.png", "b.png", "a/1.jpg")
    pattern = str(tmp_path / "**" / "*.png")
    assert [Path(i.path) for i in list_items(pattern, tmp_path, at_once=2)] == list_sources(pattern)


def test_a_list_keeps_its_order_its_repetitions_and_files_that_are_missing(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png")
    lines = [tmp_path / "b.png", tmp_path / "gone.png", tmp_path / "a.png", tmp_path / "b.png"]
    (tmp_path / "list").write_text("\n".join(map(str, lines)) + "\n\n")
    plan = write_plan(tmp_path / "job", f"@{tmp_path / 'list'}", verb="predict", options=NOTHING)
    (shard,) = plan.shards()
    items = plan.items(shard)
    assert [Path(i.path) for i in items] == lines
    assert [i.size for i in items] == [3, -1, 3, 3]


def test_a_name_that_is_not_utf_8_comes_back_unchanged(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "s") + b"\xe9"
    os.mkdir(folder)
    with open(folder + b"/caf\xe9.png", "wb"):
        pass
    plan = write_plan(tmp_path / "job", os.fsdecode(folder), verb="predict", options=NOTHING)
    (shard,) = plan.shards()
    assert os.fsencode(plan.items(shard)[0].path) == folder + b"/caf\xe9.png"


@pytest.mark.parametrize(("most_images", "most_bytes", "expected"), [(3, 10**9, [3, 3, 1]), (100, 7, [2, 2, 2, 1])])
def test_shards_have_so_many_images_and_bytes_at_most(tmp_path, most_images, most_bytes, expected) -> None:  # type: ignore[no-untyped-def]
    touch(tmp_path / "s", *(f"{k}.png" for k in range(7)))
    plan = write_plan(
        tmp_path / "job", str(tmp_path / "s"), verb="predict", options=NOTHING, shard_images=most_images,
        shard_bytes=most_bytes,
    )  # fmt: skip
    shards = list(plan.shards())
    assert [s.images for s in shards] == expected
    assert [s.first for s in shards] == [sum(expected[:k]) for k in range(len(expected))]
    assert [Path(i.path).name for s in shards for i in plan.items(s)] == [f"{k}.png" for k in range(7)]
    assert (plan.n_images, plan.n_bytes, plan.n_shards) == (7, 21, len(expected))


def test_an_image_above_the_most_bytes_is_a_shard_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path / "s", "a.png", "c.png")
    touch(tmp_path / "s", "b.png", size=50)
    plan = write_plan(tmp_path / "j", str(tmp_path / "s"), verb="predict", options=NOTHING, shard_bytes=10)
    assert [s.bytes for s in plan.shards()] == [3, 50, 3]


def test_the_digest_names_files_options_and_model(tmp_path: Path) -> None:
    touch(tmp_path / "s", "a.png", "b.png")
    os.utime(tmp_path / "s" / "a.png", ns=(1, 1))

    def digest(name: str, **more: str) -> str:
        options = {"conf": more.pop("conf", None)}
        return write_plan(tmp_path / name, str(tmp_path / "s"), verb="predict", options=options, **more).digest

    first = digest("1")
    assert digest("2", model="elsewhere") == first
    assert len({first, digest("3", conf="0.5"), digest("4", model_digest="m")}) == 3
    os.utime(tmp_path / "s" / "a.png", ns=(2, 2))
    assert digest("5") != first


@pytest.mark.parametrize("name", ["plan.json", "shards.jsonl", "items.jsonl"])
def test_a_changed_plan_is_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "s", "a.png", "b.png")
    folder = tmp_path / "job"
    write_plan(folder, str(tmp_path / "s"), verb="predict", options=NOTHING)
    text = (folder / "plan" / name).read_text()
    (folder / "plan" / name).write_text(text.replace('"images": 2', '"images": 3').replace("a.png", "c.png"))
    with pytest.raises(RefusedError, match="changed"):
        [plan.items(s) for plan in [open_plan(folder)] for s in plan.shards()]


def test_what_cannot_be_planned_is_said(tmp_path: Path) -> None:
    touch(tmp_path, "empty/notes.txt", "v/a.mp4")
    for source, error in (
        (tmp_path / "empty", InputError),
        (tmp_path / "nowhere" / "*.png", InputError),
        (f"@{tmp_path}/nothing", InputError),
        (tmp_path / "v" / "*", UsageError),
        (tmp_path / "v" / "a.mp4", UsageError),
        ("0", UsageError),
        ("-", UsageError),
    ):
        with pytest.raises(error):
            write_plan(tmp_path / "job", str(source), verb="predict", options=NOTHING)
        assert not (tmp_path / "job" / "plan").exists()


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    def peak(n: int) -> int:
        (tmp_path / f"list{n}").write_text("".join(f"/nowhere/{k:07d}.jpg\n" for k in range(n)))
        tracemalloc.start()
        plan = write_plan(tmp_path / f"job{n}", f"@{tmp_path}/list{n}", verb="predict", options=NOTHING)
        assert plan.n_images == n
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    assert peak(20_000) < 1.5 * peak(2000) + 200_000


def test_plan_json_is_json_for_every_reader(tmp_path: Path) -> None:
    touch(tmp_path / "s", "a.png")
    write_plan(tmp_path / "job", str(tmp_path / "s"), verb="predict", options={"conf": 0.5})
    about = json.loads((tmp_path / "job" / "plan" / "plan.json").read_text())
    assert (about["images"], about["options"]) == (1, {"conf": 0.5})
