"""Steps: reading them, every kind on every image it takes, and numbers from named oracles."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyewright.core.errors import UsageError
from eyewright.core.rng import generator
from eyewright.imaging.steps import STEPS, Steps, parse_steps, process
from eyewright.imaging.steps.corrupt import CORRUPTIONS
from eyewright.imaging.steps.denoise import METHODS, auto_strength, choose, denoise, noise_level
from eyewright.metrics.fidelity import psnr

cv2 = pytest.importorskip("cv2")
skimage_data = pytest.importorskip("skimage.data")

PHOTO = np.ascontiguousarray(skimage_data.astronaut()[40:200, 120:360])


def lines() -> list[str]:
    found = []
    for name, kind in STEPS.items():
        found.append(kind.example)
        first = kind.parameters[0] if kind.parameters else None
        if first is not None and first.kind == "word":
            found += [f"{name}:{choice}" for choice in first.choices if choice != "nlm"]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("line", lines())
def test_every_step_keeps_the_rules_on_every_image_it_takes(line: str) -> None:
    steps = parse_steps(line)
    kind = STEPS[steps.steps[0].name]
    box = (
        (slice(0, 150), slice(0, 240))
        if kind.parameter("box") or kind.parameter("corners")
        else (slice(0, 64), slice(0, 72))
    )
    if "perspective" in line or line.startswith("crop"):
        image = np.ascontiguousarray(skimage_data.astronaut()[:260, :320])
    else:
        image = PHOTO[box]
    for colour in kind.colours:
        for depth in kind.depths:
            given = np.ascontiguousarray(image if colour == "rgb" else image[..., 1])
            given = given.astype(np.uint16) * 257 if depth == "uint16" else given
            before = given.copy()
            found = steps(given)
            assert np.array_equal(given, before), "a step must not change its argument"
            assert found.dtype == (np.uint8 if line.startswith("depth:8") else given.dtype)
            assert found.ndim in (2, 3)
            if found.ndim == 3:
                assert found.shape[2] == 3
            if kind.keeps_size:
                assert found.shape[:2] == given.shape[:2]
            assert np.array_equal(found, steps(given)), "a step must return the same twice"
            if depth == "uint16" and "uint8" in kind.depths and not line.startswith("depth"):
                eight = steps(before if before.dtype == np.uint8 else (before // 257).astype(np.uint8))
                # A histogram of 16 bits has finer steps, which equalising spreads, the more so in small tiles.
                near = 5.0 if line == "equalise" else 12.0 if line.startswith("clahe") else 2.0
                assert np.abs(found / 257 - eight.astype(float)).mean() < near, "16 bits must give what 8 bits give"


@pytest.mark.parametrize("line", lines())
def test_text_and_json_give_the_same_steps_back(line: str) -> None:
    steps = parse_steps(line)
    assert parse_steps(str(steps)) == steps
    assert Steps.from_json(steps.to_json()) == steps


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("claeh", "did you mean 'clahe'"),
        ("clahe:clp=2", "did you mean 'clip'"),
        ("clahe:clip=0", "0.1 to 100"),
        ("clahe:clip=nan", "0.1 to 100"),
        ("denoise:nlmm", "did you mean 'nlm'"),
        ("denoise:tv,patch=7", "belongs to nlm"),
        ("resize:0", "640x480"),
        ("sobel:size=4", "odd number of 3 to 7"),
        ("median:4", "odd number"),
        ("denoise:median,strength=90", "at most 31"),
        ("resize:640x", "640x480"),
        ("gamma:1,gamma=2", "given twice"),
        ("gamma:gamma=1,2", "parameter=value"),
        ("equalise:3", "parameter=value"),
        ("perspective", "corners"),
        ("perspective:1 2/3 4", "corners"),
        ("convolve:1 2/3", "rows of numbers"),
        ("canny:low=9,high=3", "low <= high"),
        ("depth:9", "8 or 16"),
        ("gamma |", "found nothing"),
        ("", "found nothing"),
        ("whitebalance | grey | whitebalance", "takes rgb, found grey"),
        ("crop:900 0 10 10", "not inside"),
        ("depth:16 | corrupt:fog", "takes uint8, found uint16"),
    ],
)
def test_what_is_wrong_in_steps_is_said_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as found:
        process(PHOTO, text)
    assert said in str(found.value)
    assert "\n" not in str(found.value)


@given(st.text(max_size=40))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        steps = parse_steps(text)
    except UsageError:
        return
    assert parse_steps(str(steps)) == steps


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3), (40, 1)])
def test_tiny_pictures_go_through_or_are_refused(shape: tuple[int, int]) -> None:
    image = generator(0, "tiny").integers(0, 256, (*shape, 3)).astype(np.uint8)
    for line in lines():
        try:
            found = process(image, line)
        except UsageError:
            continue
        assert found.size


def test_a_picture_that_is_none_is_refused() -> None:
    for wrong in (np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8), np.zeros((4, 4), np.float32)):
        with pytest.raises(UsageError):
            process(wrong, "invert")


class TestNumbers:
    """Oracles: OpenCV, scikit-image and SciPy called directly, or by hand."""

    def test_convolution_is_scipys(self) -> None:
        ndimage = pytest.importorskip("scipy.ndimage")
        grey = PHOTO[..., 0]
        kernel = np.array([[1, 2, 0], [0, 1, -1], [0, 0, -2]], float)
        wanted = ndimage.convolve(grey.astype(float), kernel, mode="mirror").clip(0, 255)
        found = process(grey, "convolve:1 2 0/0 1 -1/0 0 -2")
        assert np.abs(found - np.rint(wanted)).max() <= 1

    def test_pooling_is_done_by_hand(self) -> None:
        image = np.arange(36, dtype=np.uint8).reshape(6, 6)
        assert process(image, "pool:max,size=3").tolist() == [[14, 17], [32, 35]]
        assert process(image, "pool:average,size=3").tolist() == [[7, 10], [25, 28]]
        assert process(image, "pool:max,size=2,stride=3").tolist() == [[7, 10], [25, 28]]

    def test_equalise_is_opencvs_and_sixteen_bits_agree(self) -> None:
        grey = PHOTO[..., 1]
        assert np.array_equal(process(grey, "equalise"), cv2.equalizeHist(grey))

    def test_clahe_is_opencvs(self) -> None:
        grey = np.ascontiguousarray(PHOTO[..., 1])
        assert np.array_equal(process(grey, "clahe:clip=3,tiles=4"), cv2.createCLAHE(3, (4, 4)).apply(grey))

    def test_clahe_of_sixteen_bits_agrees_with_eight(self) -> None:
        grey = np.ascontiguousarray(skimage_data.astronaut()[..., 1])
        deep = process(grey.astype(np.uint16) * 257, "clahe:clip=2")
        assert np.abs(deep / 257 - process(grey, "clahe:clip=2")).mean() < 1.5

    def test_autocontrast_is_pillows(self) -> None:
        from PIL import Image, ImageOps

        dim = (PHOTO[..., 0] // 3 + 50).astype(np.uint8)
        wanted = np.asarray(ImageOps.autocontrast(Image.fromarray(dim), cutoff=0))
        assert np.abs(process(dim, "autocontrast:0").astype(int) - wanted).max() <= 1

    def test_gamma_is_scikit_images(self) -> None:
        exposure = pytest.importorskip("skimage.exposure")
        wanted = exposure.adjust_gamma(PHOTO, 1 / 2.2)
        assert np.abs(process(PHOTO, "gamma:2.2").astype(int) - wanted).max() <= 1

    def test_grey_world_makes_the_channel_means_equal(self) -> None:
        cast = np.clip(PHOTO * np.array([0.5, 0.8, 1.0]), 0, 255).astype(np.uint8)
        means = process(cast, "whitebalance:grey-world").mean((0, 1))
        assert np.ptp(means) < 8 < np.ptp(cast.mean((0, 1)))

    def test_otsu_is_scikit_images(self) -> None:
        filters = pytest.importorskip("skimage.filters")
        grey = PHOTO[..., 1]
        assert np.array_equal(process(grey, "threshold:otsu") > 0, grey > filters.threshold_otsu(grey))

    def test_sauvola_is_scikit_images(self) -> None:
        filters = pytest.importorskip("skimage.filters")
        grey = PHOTO[..., 1]
        wanted = grey > filters.threshold_sauvola(grey, 31, k=0.2, r=128)
        found = process(grey, "threshold:sauvola") > 0
        assert (found != wanted)[16:-16, 16:-16].mean() < 0.002

    def test_hue_of_pure_colours(self) -> None:
        pure = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
        hues = process(pure, "colour:hsv")[0, :, 0].astype(int)
        assert np.abs(hues - [0, 85, 170]).max() <= 1

    def test_wiener_undoes_a_blur(self) -> None:
        blurred = process(PHOTO, "smooth:gaussian,size=1.5")
        better = process(blurred, "deblur:wiener,size=1.5,balance=0.0005")
        assert psnr(PHOTO, better) > psnr(PHOTO, blurred) + 2

    def test_richardson_lucy_is_scikit_images(self) -> None:
        restoration = pytest.importorskip("skimage.restoration")
        from eyewright.imaging.steps.enhance import point_spread

        grey = process(PHOTO[..., 0], "smooth:gaussian,size=1.5")
        wanted = restoration.richardson_lucy(grey / 255, point_spread("gaussian", 1.5, 0.0), num_iter=10)
        found = process(grey, "deblur:richardson-lucy,size=1.5,iterations=10") / 255
        assert np.abs(found - wanted)[20:-20, 20:-20].mean() < 0.01

    def test_rotating_there_and_back_gives_the_picture(self) -> None:
        turned = process(process(PHOTO, "rotate:20"), "rotate:-20")
        top, left = (turned.shape[0] - PHOTO.shape[0]) // 2, (turned.shape[1] - PHOTO.shape[1]) // 2
        inside = turned[top : top + PHOTO.shape[0], left : left + PHOTO.shape[1]][20:-20, 20:-20]
        assert psnr(PHOTO[20:-20, 20:-20], np.ascontiguousarray(inside)) > 25
        assert np.array_equal(process(PHOTO, "rotate:90"), np.rot90(PHOTO))

    def test_perspective_takes_the_corners_to_the_corners(self) -> None:
        board = np.zeros((100, 120), np.uint8)
        cv2.fillConvexPoly(board, np.array([[20, 10], [100, 20], [110, 90], [10, 80]], np.int32), 255)
        assert process(board, "perspective:20 10/100 20/110 90/10 80").mean() > 245

    def test_resize_is_pillows_and_names_its_sides(self) -> None:
        from PIL import Image

        wanted = np.asarray(Image.fromarray(PHOTO).resize((120, 80), Image.Resampling.LANCZOS))
        assert np.array_equal(process(PHOTO, "resize:120,filter=lanczos"), wanted)
        assert process(PHOTO, "resize:80,side=short").shape == (80, 120, 3)
        assert process(PHOTO, "resize:50x70").shape == (70, 50, 3)

    def test_a_skewed_page_is_made_level(self) -> None:
        from eyewright.imaging.steps.geometry import skew_angle

        page = np.full((400, 500), 245, np.uint8)
        rng = generator(0, "page")
        for y in range(40, 360, 24):
            for x in range(40, 460, 14):
                page[y : y + 12, x : x + int(rng.integers(4, 12))] = 30
        for angle in (-7.0, -2.3, 4.0):
            skewed = process(page, f"rotate:{angle},expand=false")
            assert abs(skew_angle(skewed) + angle) < 0.2
        assert abs(skew_angle(page)) < 0.1

    @pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "camera"])
    def test_a_photograph_is_not_turned(self, name: str) -> None:
        photo = getattr(skimage_data, name)()
        assert np.array_equal(process(photo, "deskew"), photo)


class TestDenoise:
    @pytest.mark.parametrize("sigma", [5, 15, 30, 50])
    def test_the_noise_is_measured(self, sigma: float) -> None:
        photo = skimage_data.astronaut()
        noisy = np.clip(photo + generator(0, "n").normal(0, sigma, photo.shape), 0, 255).round().astype(np.uint8)
        assert 0.85 * sigma < noise_level(noisy) < 1.25 * sigma

    @pytest.mark.parametrize("method", [m for m in METHODS if m not in ("auto", "nlm")])
    def test_auto_comes_within_three_tenths_of_a_decibel_of_the_best(self, method: str) -> None:
        photo = np.ascontiguousarray(skimage_data.astronaut()[:256, 100:356])
        noisy = np.clip(photo + generator(1, "n").normal(0, 20, photo.shape), 0, 255).round().astype(np.uint8)
        scale = 1 if method in ("gaussian", "median") else 20
        tried = (0, 1, 2, 3) if method == "median" else (0.3, 0.5, 0.7, 0.9, 1.2, 1.5, 2, 2.6, 3.4, 4.5)
        best = max(psnr(photo, denoise(noisy, method=method, strength=float(s * scale))) for s in tried)
        assert psnr(photo, denoise(noisy, method=method)) > best - 0.3

    @pytest.mark.parametrize("sigma", [10, 25])
    @pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
    def test_the_default_is_no_worse_than_the_slower_filters(self, name: str, sigma: float) -> None:
        photo = np.ascontiguousarray(getattr(skimage_data, name)()[60:188, 100:228])
        noisy = np.clip(photo + generator(2, "n").normal(0, sigma, photo.shape), 0, 255).round().astype(np.uint8)
        assert parse_steps("denoise")(noisy).tobytes() == denoise(noisy).tobytes()
        found = psnr(photo, denoise(noisy))
        assert found > psnr(photo, noisy) + 2
        for other in ("tv", "wavelet", "gaussian", "bilateral"):
            assert found > psnr(photo, denoise(noisy, method=other)) - 0.25

    def test_the_filter_is_chosen_from_the_picture(self) -> None:
        rng = np.random.default_rng(0)
        rows, columns = np.mgrid[0:128, 0:128]
        smooth = (128 + 60 * np.sin(rows / 25) * np.cos(columns / 30)).round().astype(np.uint8)
        edges = np.ascontiguousarray(skimage_data.coffee()[100:228, 200:328])
        for clean, filter_ in ((smooth, "gaussian"), (edges, "bilateral")):
            noisy = (clean + rng.normal(0, 10, clean.shape)).clip(0, 255).round().astype(np.uint8)
            assert choose(noisy)[0] == filter_
            best = max(psnr(clean, denoise(noisy, method=m)) for m in ("bilateral", "gaussian", "wavelet"))
            assert psnr(clean, denoise(noisy)) > best - 0.1

    def test_a_strength_needs_a_method(self) -> None:
        with pytest.raises(UsageError, match=r"'strength' belongs to bilateral, .* not to 'auto'"):
            parse_steps("denoise:strength=9")
        with pytest.raises(UsageError, match="belongs to a method"):
            denoise(PHOTO, strength=9)

    def test_traces_of_jpeg_are_left_to_a_given_strength(self) -> None:
        from PIL import Image

        photo = np.ascontiguousarray(skimage_data.coffee()[100:356, 200:456])
        held = io.BytesIO()
        Image.fromarray(photo).save(held, "jpeg", quality=10)
        traces = np.asarray(Image.open(held))
        assert np.array_equal(denoise(traces), traces)
        assert psnr(photo, denoise(traces, method="bilateral", strength=12)) > psnr(photo, traces)

    def test_a_clean_flat_picture_is_left_alone(self) -> None:
        flat = np.full((64, 64, 3), 120, np.uint8)
        assert auto_strength(flat) == 0.0
        assert np.array_equal(denoise(flat), flat)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_grows_with_its_severity(kind: str) -> None:
    photo = np.ascontiguousarray(skimage_data.astronaut()[:224, 100:324])
    errors = [
        float(np.mean((process(photo, f"corrupt:{kind},severity={s}").astype(float) - photo) ** 2)) for s in (1, 3, 5)
    ]
    assert 0 < errors[0] < errors[2]
    assert errors[1] > 0.5 * errors[0]


def test_random_steps_go_by_the_seed() -> None:
    line = "corrupt:gaussian_noise,severity=2"
    assert np.array_equal(process(PHOTO, line, seed=5), process(PHOTO, line, seed=5))
    assert not np.array_equal(process(PHOTO, line, seed=5), process(PHOTO, line, seed=6))
