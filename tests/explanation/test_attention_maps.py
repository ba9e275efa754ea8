"""Attention as a value and as a page: by hand, and as a browser draws it."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import UsageError
from eyewright.explanation.attention_maps import Attention, rolled, save_attention
from eyewright.explanation.attention_page import MOST_TOKENS, render_attention


def made(n: int = 5, *, layers: int = 2, heads: int = 3, kind: str = "text", **more: object) -> Attention:
    rng = np.random.default_rng(0)
    raw = rng.random((layers, heads, n, n)).astype(np.float32) ** 3
    names = tuple(f"t{k}" for k in range(n))
    special = tuple(k in (0, n - 1) for k in range(n))
    weights = raw / raw.sum(-1, keepdims=True)
    values = {"kind": kind, "model": "m", "source": "t", "hidden_states_shape": (n, 8), **more}
    return Attention(weights, names, names, names, special, **values)  # type: ignore[arg-type]


def data_of(page: str) -> list[dict[str, object]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    parts: list[dict[str, object]] = json.loads(found.group(1))
    return parts


def test_rollout_of_two_layers_is_the_product_by_hand() -> None:
    first = np.array([[1.0, 0.0], [0.5, 0.5]])
    second = np.array([[0.0, 1.0], [0.0, 1.0]])
    # (A + I) / 2 of each: [[1, 0], [.25, .75]] and [[.5, .5], [0, 1]]; the second times the first.
    assert rolled(np.stack([first, second])[:, None]).tolist() == [[0.625, 0.375], [0.25, 0.75]]
    roll = made().rollout()
    np.testing.assert_allclose(roll.sum(-1), 1)


def test_the_largest_weights_leave_special_tokens_out_unless_asked() -> None:
    one = made()
    links = one.top(4)
    assert [w.weight for w in links] == sorted((w.weight for w in links), reverse=True)
    assert all(one.weights[w.layer, w.head, w.query, w.key] == np.float32(w.weight) for w in links)
    assert all(0 < w.key < 4 for w in links)
    assert links[0].weight == one.weights[..., 1:4].max()
    assert one.top(1, special=True)[0].weight == one.weights.max()
    assert one.top(4) == one.top(9)[:4]
    assert one.top(0) == []


def test_layers_and_heads_are_chosen_by_their_numbers() -> None:
    part = made().select([1], [2, 0])
    assert (part.layers, part.heads, part.weights.shape) == ((1,), (2, 0), (1, 2, 5, 5))
    assert part.top(1)[0].layer == 1
    with pytest.raises(UsageError, match=r"expected heads from 0 to 2 .* found 3"):
        made().select(None, [3])
    with pytest.raises(UsageError, match="needs all layers"):
        part.rollout()
    with pytest.raises(UsageError, match="needs self-attention"):
        made(kind="cross").rollout()


def test_what_is_saved_is_what_was_there(tmp_path: Path) -> None:
    one = replace(made(), others=(made(kind="cross"),))
    files = save_attention(one, tmp_path, rollout=True)
    assert sorted(p.name for p in files) == sorted(p.name for p in tmp_path.iterdir())
    with np.load(tmp_path / "text-layer-01.npz", allow_pickle=False) as layer:
        np.testing.assert_array_equal(layer["weights"], one.weights[1])
    with np.load(tmp_path / "text-rollout.npz", allow_pickle=False) as roll:
        np.testing.assert_array_equal(roll["rollout"], one.rollout())
    told = json.loads((tmp_path / "attention.json").read_text())
    assert [t["kind"] for t in told] == ["text", "cross"]
    assert told[0]["hidden_states_shape"] == [5, 8]


def test_the_page_holds_the_weights_and_nothing_from_elsewhere() -> None:
    one = replace(made(), tokens=("</script><b>",) * 5, words=("</script><b>",) * 5, keys=("</script><b>",) * 5)
    page = render_attention(one)
    assert "</script><b>" not in page
    assert not re.search(r"(src|href)=[\"']?https?:|@import|url\(http|fetch\(", page)
    (part,) = data_of(page)
    maps = np.frombuffer(base64.b64decode(str(part["maps"])), "<u2").reshape(2, 3, 5, 5)
    np.testing.assert_allclose((maps / 65535.0) ** 2, one.weights, atol=2e-5)
    # Lists on the page are in the order of the weights.
    assert (maps.argsort(-1, kind="stable") == one.weights.argsort(-1, kind="stable")).all()
    assert "Attention is not an explanation" in page


def test_a_long_text_is_shown_in_part_and_the_page_says_so() -> None:
    one = made(300)
    (part,) = data_of(render_attention(one, first_token=200, rollout=False))
    assert part["shape"] == [2, 3, MOST_TOKENS, MOST_TOKENS]
    # The last 128 there are.
    assert part["keys"] == [f"t{k}" for k in range(172, 300)]
    assert "Tokens 172 to 299 of 300 are shown" in render_attention(one, first_token=200)


def test_a_fine_grid_of_patches_is_averaged_and_rows_still_sum_to_one() -> None:
    n, grid = 3 + 31 * 50, (31, 50)
    rng = np.random.default_rng(1)
    weights = rng.random((1, 2, n, n)).astype(np.float32)
    weights /= weights.sum(-1, keepdims=True)
    boxes = np.stack([np.arange(n - 3.0)] * 4, 1)
    names = tuple(map(str, range(n)))
    one = Attention(
        np.repeat(weights, 2, 0), names, names, names, (True,) * 3 + (False,) * (n - 3), "image", "m", "a.jpg", (n, 8),
        grid, image=np.zeros((62, 100, 3), np.uint8), boxes_xyxy=boxes,
    )  # fmt: skip
    page = render_attention(one, rollout=False)
    (part,) = data_of(page)
    assert part["grid"] == [16, 25]
    assert len(page) < 12e6
    shape = part["shape"]
    assert isinstance(shape, list)
    assert part["bits"] in (8, 16)
    most = 2.0 ** int(part["bits"]) - 1
    maps = np.frombuffer(base64.b64decode(str(part["maps"])), "u1" if most == 255 else "<u2").reshape(shape)
    # By hand: the class token's weight on the four patches at the upper left.
    corner = weights[0, 0, 0, 3 + np.array([0, 1, 50, 51])].sum()
    assert (maps[0, 0, 0, 3] / most) ** 2 == pytest.approx(corner, abs=3e-4)
    assert ((maps[0, 0] / most) ** 2).sum(-1) == pytest.approx(1, abs=0.05)
    assert "shown as 16x25" in page
