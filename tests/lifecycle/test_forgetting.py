"""Forget images exactly: shards and whole runs, copies, groups, and a proof that is checked against what was read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_shapes

import eyewright as ew
from eyewright.core.errors import DatasetError, OutputError, RefusedError, UsageError
from eyewright.data.formats import open_dataset
from eyewright.data.splits import split_dataset
from eyewright.data.tree import FolderTree
from eyewright.lifecycle import forgetting
from eyewright.lifecycle.forgetting import ReadTree, forget
from eyewright.lifecycle.sharding import shard_of

FAST = {"model": "private_net", "epochs": 2, "batch": 16, "workers": 1, "augment": "none"}


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("forgetting")
    data = write_shapes(folder / "shapes", a_class=30)
    return ew.train(data, **FAST, shards=2, out=folder / "run")


def trained_on(run) -> dict[str, str]:
    return {r["id"]: r["sha256"] for r in run.split_rows() if r["split"] == "train"}


def test_shards_share_no_training_image_and_are_one_run(sharded) -> None:
    shards = [trained_on(ew.load_run(sharded.folder / name)) for name in sharded.about["shards"]]
    assert len(shards) == 2
    assert not set(shards[0]) & set(shards[1])
    assert {**shards[0], **shards[1]} == trained_on(sharded)
    assert ew.evaluate(sharded).metrics["accuracy"].value is not None


def test_one_shard_is_trained_again_and_the_other_stays_the_same_bytes(
    sharded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, digest = next(iter(trained_on(ew.load_run(sharded.folder / "shard-2")).items()))
    done = forget(sharded, [name], out="new", audit=False, workers=1)
    assert done.retrained == ("shard-2",)
    assert done.images == {name: digest}
    assert digest not in done.read
    # Everything that the new run knows was read, and nothing else.
    assert set(done.read) == {r["sha256"] for r in ew.load_run("new/shard-2").split_rows()} | {
        r["sha256"] for r in done.run.split_rows()
    }
    weights = "checkpoints/best/model.safetensors"
    assert (sharded.folder / "shard-1" / weights).read_bytes() == Path("new/shard-1", weights).read_bytes()
    assert (sharded.folder / "shard-2" / weights).read_bytes() != Path("new/shard-2", weights).read_bytes()
    proof = json.loads(Path("new/forgotten.json").read_text())
    assert proof["forgotten"] == [{"id": name, "sha256": digest}]
    assert digest not in Path("new/split.csv").read_text()
    with pytest.raises(OutputError, match="not empty"):
        forget(sharded, [name], out="new")


def test_what_was_interrupted_is_done_again_by_the_same_command_and_by_no_other(
    sharded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = list(trained_on(sharded))[:2]
    train_on = forgetting.train_on

    def dying(*given: object, **named: object) -> None:
        train_on(*given, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forgetting, "train_on", dying)
        with pytest.raises(KeyboardInterrupt):
            forget(sharded, [first], out=tmp_path / "new", audit=False, workers=1)
    assert list((tmp_path / "new").glob("shard-*"))
    with pytest.raises(OutputError, match="not empty"):
        forget(sharded, [second], out=tmp_path / "new", audit=False)
    said: list[str] = []
    done = forget(sharded, [first], out=tmp_path / "new", audit=False, workers=1, say=said.append)
    assert said[0] == "an attempt that was interrupted is removed"
    assert list(done.images) == [first]
    assert not (tmp_path / "new" / ".forgetting.json").exists()


def test_a_whole_run_forgets_copies_too_and_an_attack_measures_it(tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "shapes", a_class=24, side=16)
    shutil.copy(data / "disc" / "003.png", data / "disc" / "twin.png")
    run = ew.train(data, **FAST, out=tmp_path / "run", allow_leaks=True, leaks="allow")
    known = trained_on(run)
    digest = {r["id"]: r["sha256"] for r in run.split_rows()}["disc/003.png"]
    names = ["disc/003.png", *[i for i in known if i.startswith("cross")][:11]]
    done = forget(run, names, out=tmp_path / "new", models=4, workers=1)
    assert {"disc/003.png", "disc/twin.png"} <= set(done.images)
    assert digest not in done.read
    assert done.retrained == ("all",)
    assert done.before is not None
    assert done.after is not None
    assert 0 <= (done.after.low or 0) <= (done.after.high or 0) <= 1


def test_shards_of_images_that_belong_together_are_trained_and_forgotten(tmp_path: Path) -> None:
    """Groups name images by their place, which is another one in a shard."""
    data = write_shapes(tmp_path / "shapes", a_class=24, side=16)
    for k in range(6):
        for kind in ("disc", "square"):
            shutil.copy(data / kind / f"{k:03}.png", data / kind / f"twin{k}.png")
    run = ew.train(data, **FAST, shards=2, out=tmp_path / "run", allow_leaks=True, leaks="allow")
    assert run.about["shards"] == ["shard-1", "shard-2"]
    # The whole class but two images, one of them named twice, and one by its copy.
    discs = [i for i, part in {r["id"]: r["split"] for r in run.split_rows()}.items() if i.startswith("disc")]
    kept = {"disc/020.png", "disc/021.png"}
    done = forget(run, [*(i for i in discs if i not in kept), discs[0]], out=tmp_path / "new", audit=False, workers=1)
    assert set(done.images) == set(discs) - kept
    rows = [r["id"] for r in done.run.split_rows() if r["id"].startswith("disc")]
    assert set(rows) == kept


def test_why_no_attack_was_measured_is_said_and_a_test_image_trains_nothing_again(sharded, tmp_path: Path) -> None:
    rows = sharded.split_rows()
    tested = next(r["id"] for r in rows if r["split"] == "test")
    done = forget(sharded, [tested], out=tmp_path / "tested", workers=1)
    assert done.retrained == ()
    assert done.unmeasured == "it needs 10 forgotten training images of one shard, found 0"
    # Ten forgotten images, five in each shard.
    some = [n for k in (1, 2) for n in list(trained_on(ew.load_run(sharded.folder / f"shard-{k}")))[:5]]
    done = forget(sharded, some, out=tmp_path / "some", workers=1)
    assert done.before is None
    assert done.unmeasured == "it needs 10 forgotten training images of one shard, found 5"


def test_what_cannot_be_forgotten_is_refused(sharded, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="was not trained or tested on"):
        forget(sharded, ["disc/9999.png"], out=tmp_path / "new")
    with pytest.raises(UsageError, match="left for training"):
        forget(sharded, list(trained_on(sharded)), out=tmp_path / "new")
    with pytest.raises(UsageError, match="found none"):
        forget(sharded, [], out=tmp_path / "new")
    # Refused before anything is trained: a shard could not learn the class any more.
    shard = trained_on(ew.load_run(sharded.folder / "shard-2"))
    discs = [name for name in shard if name.startswith("disc")]
    with pytest.raises(UsageError, match="none of class 'disc' in shard-2: all of them would be forgotten"):
        forget(sharded, discs, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_forbidden_file_cannot_be_read_in_any_way(sharded) -> None:
    root = Path(sharded.about["data_path"])
    digest = trained_on(sharded)
    name = next(iter(digest))
    tree = ReadTree(FolderTree(root), frozenset({digest[name]}))
    for read in (tree.content, tree.picture, lambda n: tree.encoded(n).load()):  # type: ignore[union-attr]
        with pytest.raises(RefusedError, match="to be forgotten"):
            read(name)
    other = next(i for i in digest if i != name)
    assert np.array_equal(np.asarray(tree.picture(other)), np.asarray(FolderTree(root).picture(other)))
    assert tree.read == {digest[other]}


def test_groups_stay_in_one_shard_and_classes_are_spread(tmp_path: Path) -> None:
    from dataclasses import replace

    data = split_dataset(open_dataset(write_shapes(tmp_path / "s", a_class=20)), seed=0)
    grouped = data.with_samples(replace(s, group=s.id[:-5]) for s in data.samples)
    place = shard_of(grouped, 2, 0)
    for group in {s.group for s in grouped.train.samples}:
        assert len({place[s.id] for s in grouped.train.samples if s.group == group}) == 1
    each = [sum(place[s.id] == k for s in data.train.samples) for k in range(2)]
    assert sum(each) == len(data.train)
    plain = shard_of(data, 3, 0)
    for kind in ("cross", "disc", "square"):
        counts = np.bincount([plain[s.id] for s in data.train.samples if s.id.startswith(kind)], minlength=3)
        assert counts.max() - counts.min() <= 1
    with pytest.raises(DatasetError, match="shards"):
        shard_of(data, 40, 0)
