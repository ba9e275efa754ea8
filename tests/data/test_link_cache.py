"""The links of a set are searched once, and what is on disk is never believed of other pictures."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.data import link_cache
from eyewright.data.link_cache import cached_links
from eyewright.data.links import find_links

N = 40
Pictures = tuple[list[str], np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def pictures() -> Pictures:
    rng = np.random.default_rng(3)
    grey = np.stack(
        [
            np.asarray(Image.fromarray(rng.integers(0, 256, (7, 7)).astype(np.uint8)).resize((64, 64), 3))
            for _ in range(N)
        ]
    )
    grey[30:] = (grey[:10] * 0.7).astype(np.uint8)
    colours = np.repeat(grey.reshape(N, 16, 4, 16, 4).mean((2, 4))[..., None], 3, -1).astype(np.uint8)
    digests = [f"{int(v):064x}" for v in rng.permutation(N)]
    return digests, grey, colours, np.ones(N, bool), np.zeros(N, bool)


def pairs(found: list[object]) -> set[tuple[int, int]]:
    return {(x.i, x.j) for x in found}  # type: ignore[attr-defined]


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Every set of pictures counts as large; the sizes of those that were searched."""
    calls: list[int] = []

    def counted(thumbnails: np.ndarray, *rest: object, **named: object) -> list[object]:
        calls.append(len(thumbnails))
        return find_links(thumbnails, *rest, **named)  # type: ignore[arg-type, return-value]

    monkeypatch.setattr(link_cache, "_FEWEST", 2)
    monkeypatch.setattr(link_cache, "find_links", counted)
    monkeypatch.setenv("EYEWRIGHT_CACHE", str(tmp_path / "cache"))
    return calls


def test_a_second_search_of_the_same_pictures_is_read_from_disk(searches: list[int], tmp_path: Path) -> None:
    first = cached_links(*pictures())
    assert pairs(first) == {(k, k + 30) for k in range(10)}
    assert cached_links(*pictures()) == first
    assert searches == [N]
    assert [p.name[:6] for p in (tmp_path / "cache").iterdir()] == ["links-"]


def test_the_order_of_the_pictures_and_unreadable_ones_change_nothing(searches: list[int]) -> None:
    digests, grey, colours, usable, small = pictures()
    order = np.random.default_rng(5).permutation(N)
    first = cached_links(digests, grey, colours, usable, small)
    joined = [*[digests[i] for i in order.tolist()], ""]
    grey, colours = (np.concatenate([p[order], np.zeros_like(p[:1])]) for p in (grey, colours))
    again = cached_links(joined, grey, colours, np.r_[usable, False], np.r_[small, False])
    assert {tuple(sorted((order[i], order[j]))) for i, j in pairs(again)} == pairs(first)
    assert searches == [N]


def test_other_pictures_are_searched_anew(searches: list[int]) -> None:
    digests, grey, colours, usable, small = pictures()
    cached_links(digests, grey, colours, usable, small)
    changed = grey.copy()
    changed[35] = grey[20][::-1]
    found = cached_links(digests, changed, colours, usable, small)
    assert len(searches) == 2
    assert (5, 35) not in pairs(found)


@pytest.mark.parametrize("content", ["", "{", '{"links": [[0, 99, 1.0, true, ""]]}', '{"links": [[1]]}', "[]"])
def test_a_damaged_file_is_searched_anew(searches: list[int], tmp_path: Path, content: str) -> None:
    first = cached_links(*pictures())
    next((tmp_path / "cache").iterdir()).write_text(content)
    assert cached_links(*pictures()) == first
    assert len(searches) == 2


def test_a_cache_folder_that_cannot_be_written_is_no_error(
    searches: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EYEWRIGHT_CACHE", str(tmp_path / "file" / "cache"))
    assert len(cached_links(*pictures())) == 10


def test_a_new_version_of_the_search_does_not_read_old_results(
    searches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_links(*pictures())
    monkeypatch.setattr(link_cache.inspect, "getsource", lambda module: f"changed {module.__name__}")
    cached_links(*pictures())
    assert len(searches) == 2


def test_every_module_of_the_search_decides_whether_old_results_are_read() -> None:
    """Otherwise a new version of one of them would read the links that the old one found."""
    kept = {module.__name__ for module in link_cache._SOURCES}
    for module in link_cache._SOURCES:
        tree = ast.parse(inspect.getsource(module))
        used = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        own = {name for name in used if name.startswith(("eyewright.data", "eyewright.imaging"))}
        assert own <= kept, module.__name__
