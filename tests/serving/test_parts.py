"""The parts by themselves: what may be trusted, who may ask, what an image looks like in numbers."""

import numpy as np
import pytest

from eyewright.bundle.trust import FLAGGED, Familiarity
from eyewright.core.errors import UsageError
from eyewright.imaging import Preparation
from eyewright.imaging.appearance import LOOK, TRAITS, appearance, covered
from eyewright.imaging.steps.corrupt import corrupt
from eyewright.serving.exchange import HttpError, Request, parse_json
from eyewright.serving.guards import Guard
from eyewright.serving.settings import Settings, is_loopback


def test_familiar_images_are_flagged_as_often_as_is_said_and_strange_ones_always() -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(LOOK, LOOK)) / np.sqrt(LOOK)
    flagged = []
    for _ in range(20):
        known = Familiarity((rng.normal(size=(600, LOOK)) @ mix).astype(np.float32))
        flagged += [known.p(x.astype(np.float32)) <= FLAGGED for x in rng.normal(size=(100, LOOK)) @ mix]
    # 2,000 draws at a rate of at most 0.01: 34 is 3 standard errors above.
    assert sum(flagged) <= 34
    strange = (rng.normal(size=(50, LOOK)) @ mix + 4).astype(np.float32)
    assert all(known.p(x) <= FLAGGED for x in strange)
    assert Familiarity.of({"appearance": np.zeros((150, LOOK), np.float32)}) is None
    assert Familiarity.of({}) is None
    # What never differs is no reason to fail.
    assert Familiarity(np.ones((300, LOOK), np.float32)).p(np.ones(LOOK, np.float32)) == 1.0


def test_traits_move_with_what_they_are_named_after() -> None:
    rng = np.random.default_rng(2)
    image = np.clip(rng.normal(120, 12, (90, 120, 3)).cumsum(1) % 256, 0, 255).astype(np.uint8)
    image = np.repeat(np.repeat(image[::6, ::6], 6, 0), 6, 1)
    prepare = Preparation((64, 64), fit="letterbox")

    def look(x: np.ndarray) -> dict[str, float]:
        pixels, placement = prepare(x)
        return dict(zip(TRAITS, appearance(pixels, placement).tolist(), strict=False))

    plain = look(image)
    changed = {
        kind: look(corrupt(image, kind=kind, severity=4, rng=np.random.default_rng(0)))
        for kind in ("gaussian_noise", "defocus_blur", "contrast", "brightness")
    }
    assert changed["gaussian_noise"]["noise"] > plain["noise"]
    assert changed["defocus_blur"]["sharpness"] < plain["sharpness"]
    assert changed["contrast"]["contrast"] < plain["contrast"]
    assert changed["brightness"]["brightness"] > plain["brightness"]
    warm = image.copy()
    warm[..., 2] //= 2
    assert look(warm)["warmth"] > plain["warmth"]
    larger = look(np.repeat(np.repeat(image, 2, 0), 2, 1))
    assert larger["height"] == pytest.approx(plain["height"] + np.log(2), abs=1e-5)


def test_what_a_letterbox_fills_does_not_count() -> None:
    image = np.full((20, 80, 3), 200, np.uint8)
    for fill in (0, 255):
        pixels, placement = Preparation((40, 40), fit="letterbox", fill=fill)(image)
        found = appearance(pixels, placement)
        assert found[0] == pytest.approx(200, abs=0.5)
        assert found[1] == pytest.approx(0, abs=0.5)
        assert covered(pixels, placement).shape == (10, 40, 3)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (700, 3), (8, 8), (300, 400)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_has_its_numbers(size: tuple[int, int], channels: int) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    for fit in ("stretch", "letterbox", "crop"):
        pixels, placement = Preparation((32, 48), fit=fit, channels=channels)(image)
        found = appearance(pixels, placement)
        assert found.shape == (LOOK,)
        assert np.isfinite(found).all()


def test_loopback_is_told_from_everything_else() -> None:
    assert all(is_loopback(h) for h in ("127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"))
    assert not any(is_loopback(h) for h in ("0.0.0.0", "::", "192.168.1.2", "example.com", "localhost.evil.example"))
    with pytest.raises(UsageError, match="token to listen"):
        Settings(host="192.168.1.2")
    Settings(host="192.168.1.2", token="long-enough")
    with pytest.raises(UsageError, match="at least 8"):
        Settings(token="short")
    for wrong in ({"port": 70_000}, {"max_batch": 0}, {"deadline_s": 0}, {"max_wait_ms": -1}):
        with pytest.raises(UsageError):
            Settings(**wrong)
    assert "long-enough" not in repr(Settings(token="long-enough"))


def _asked(**headers: str) -> Request:
    return Request("GET", ("v1",), {}, {k.replace("_", "-"): v for k, v in headers.items()})


def test_names_and_origins_that_are_allowed_pass() -> None:
    guard = Guard(Settings(hosts=("vision.plant",), origins=("https://tool.plant",)))
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000", "vision.plant:80", "VISION.plant"):
        guard.check(_asked(host=host))
    for host in ("", "127.0.0.1.evil.example", "evil.example:8000", "localhost.evil.example"):
        with pytest.raises(HttpError, match="not allowed"):
            guard.check(_asked(host=host))
    guard.check(_asked(host="localhost:1", origin="http://localhost:1"))
    guard.check(_asked(host="localhost:1", origin="https://tool.plant"))
    for origin in ("http://localhost:2", "https://tool.plant.evil.example", "null", "file://"):
        with pytest.raises(HttpError, match="pages of this origin"):
            guard.check(_asked(host="localhost:1", origin=origin))


def test_json_has_a_depth_and_digits_and_strings_do_not_count() -> None:
    settings = Settings(json_depth=3, json_digits=5)
    assert parse_json(b'{"a": [[1]]}', settings) == {"a": [[1]]}
    assert parse_json(b'{"a": "[[[[[[ 1234567890 \\" ]"}', settings)["a"].startswith("[[[")
    for data, code in ((b"[[[[1]]]]", "json_too_deep"), (b"[123456]", "json_digits"), (b'{"a": Infinity}', "json")):
        with pytest.raises(HttpError) as error:
            parse_json(data, settings)
        assert error.value.code == code


def test_feedback_takes_a_mask_that_is_larger_than_its_json() -> None:
    from eyewright.serving.exchange import Request
    from eyewright.serving.protocols import own
    from eyewright.serving.routes import BINARY, Body, Route

    body = Body({"image/png": BINARY}, most_bytes=2, most_image_bytes=8)
    route = Route("/v1/feedback", own.feedback, ("POST",), "", {}, body=body)
    for kind, most in (("image/png", 8), ("application/json", 2), ("", 2)):
        assert route.most_bytes(Request("POST", ("v1", "feedback"), {}, {"content-type": kind})) == most
    other = Route("/other", own.feedback, ("POST",), "", {})
    assert other.most_bytes(Request("POST", (), {}, {"content-type": "image/png"})) is None
