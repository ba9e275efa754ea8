"""Filling a part of an image over HTTP: what comes back is what `inpaint` makes, and what does not fit is refused."""

import base64
import uuid
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eyewright.imaging import encode_image, read_image
from eyewright.imaging.decode import read_clear
from eyewright.imaging.inpainting import inpaint_pixels

PATH = "/v1/models/shapes/inpaint"
RNG = np.random.default_rng(5)
IMAGE = RNG.integers(0, 256, (40, 60, 3), np.uint8)
HOLE = np.zeros((40, 60), bool)
HOLE[10:14, 20:50] = True
MASK = encode_image(np.where(HOLE, 255, 0).astype(np.uint8))


def form(**parts: bytes | str) -> tuple[bytes, dict[str, str]]:
    edge = uuid.uuid4().hex
    body = b""
    for name, value in parts.items():
        file = b'; filename="x.png"' if isinstance(value, bytes) else b""
        data = value if isinstance(value, bytes) else value.encode()
        body += b"--%s\r\nContent-Disposition: form-data; name=\"%s\"%s\r\n\r\n%s\r\n" % (
            edge.encode(), name.encode(), file, data,
        )  # fmt: skip
    return body + f"--{edge}--\r\n".encode(), {"content-type": f"multipart/form-data; boundary={edge}"}


def filled(answer: Any) -> NDArray[Any]:
    assert answer.status == 200, answer.body[:300]
    assert answer.headers["content-type"] == "image/png"
    return read_image(answer.body, depth="native")


@pytest.mark.parametrize("method", ["fsr", "ns", "biharmonic", "exemplar"])
def test_a_mask_is_filled_as_by_the_library(served, method: str) -> None:
    body, headers = form(file=encode_image(IMAGE), mask=MASK, method=method, grow="1")
    answer = served.ask("POST", PATH, body, headers)
    wanted = inpaint_pixels(IMAGE, HOLE, method=method, grow=1)
    assert np.array_equal(filled(answer), wanted.image)
    # Strokes are filled by lines of few frequencies where patches are asked for.
    assert answer.headers["x-eyewright-method"] == ("fsr" if method == "exemplar" else method) == wanted.method
    assert int(answer.headers["x-eyewright-pixels"]) == int(wanted.changed.sum())


def test_a_box_comes_in_a_query_a_form_or_json(served) -> None:
    png = encode_image(IMAGE)
    wanted = inpaint_pixels(IMAGE, HOLE, method="ns").image
    in_query = served.post(f"{PATH}?box=20,10,30,4&method=ns", png, content_type="image/png")
    in_form = served.ask("POST", PATH, *form(file=png, box="20,10,30,4", method="ns"))
    encoded = base64.b64encode(png).decode()
    in_json = served.post(PATH, {"image": encoded, "parameters": {"box": "20,10,30,4", "method": "ns"}})
    masked = served.post(
        PATH, {"image": encoded, "mask": base64.b64encode(MASK).decode(), "parameters": {"method": "ns"}}
    )
    for answer in (in_query, in_form, in_json, masked):
        assert np.array_equal(filled(answer), wanted)


def test_opacity_and_16_bits_are_kept(served) -> None:
    clear = np.concatenate([IMAGE, np.full((40, 60, 1), 90, np.uint8)], 2)
    answer = served.ask("POST", PATH, *form(file=encode_image(clear), mask=MASK, method="ns"))
    filled(answer)
    found = read_clear(answer.body)
    assert found is not None
    assert np.array_equal(found[~HOLE], clear[~HOLE])
    assert (found[HOLE][:, 3] == 255).all()
    deep = (IMAGE[..., 0].astype(np.uint16) << 8) + 17
    found = filled(served.ask("POST", PATH, *form(file=encode_image(deep), mask=MASK, method="ns")))
    assert found.dtype == np.uint16
    assert np.array_equal(found[..., 0][~HOLE], deep[~HOLE])


@pytest.mark.parametrize(
    ("parts", "status", "words"),
    [
        ({}, 400, "expected a mask or a box, found neither"),
        ({"mask": MASK, "box": "1,1,2,2"}, 400, "found both"),
        ({"maks": MASK}, 400, "found 'file', 'maks'"),
        ({"mask": b""}, 400, "found an empty file"),
        ({"mask": b"no image"}, 422, "the mask: expected one of"),
        ({"mask": encode_image(np.zeros((4, 6), np.uint8))}, 400, "expected a mask of 60x40 pixels, found 6x4"),
        ({"mask": encode_image(np.zeros((40, 60), np.uint8))}, 400, "the mask is empty"),
        ({"mask": encode_image(np.full((40, 60), 255, np.uint8))}, 400, "the mask covers the whole image"),
        ({"box": "70,1,5,5"}, 400, "expected a box inside the image of 60x40 pixels"),
        ({"box": "1,1,0,5"}, 400, "expected box as left,top,width,height"),
        ({"box": "1,1,5,5", "method": "net"}, 400, "a net that fills holes"),
        ({"mask": encode_image(RNG.integers(0, 256, (40, 60), np.uint8))}, 400, "is grey"),
        ({"box": "1,1,5,5", "method": "magic"}, 400, "expected method as one of"),
        ({"box": "1,1,5,5", "grow": "2", "feather": "3"}, 400, "0 <= feather <= grow"),
    ],
)
def test_what_cannot_be_filled_is_said(served, parts: dict[str, Any], status: int, words: str) -> None:
    answer = served.ask("POST", PATH, *form(file=encode_image(IMAGE), **parts))
    assert answer.status == status, answer.body[:300]
    assert words in answer.words
    assert "--" not in answer.words


def test_the_image_itself_must_be_one(served) -> None:
    assert served.ask("POST", PATH, *form(mask=MASK)).status == 400
    assert served.post(f"{PATH}?box=1,1,2,2", b"", content_type="image/png").json["code"] == "empty"
    assert served.post(f"{PATH}?box=1,1,2,2", b"\x89PNG no", content_type="image/png").status == 422
    assert served.post("/v1/models/nobody/inpaint?box=1,1,2,2", b"x", content_type="image/png").status == 404


def test_an_empty_mask_in_json_is_not_taken_for_none(served) -> None:  # type: ignore[no-untyped-def]
    body = {"image": base64.b64encode(encode_image(IMAGE)).decode(), "mask": ""}
    answer = served.post(PATH + "?box=1,1,5,5", body)
    assert answer.status == 400
    assert "expected a mask, found an empty text" in answer.words
