"""Likeness of pictures. Oracles: scikit-image for PSNR and SSIM, values by hand, the paper's invariants."""

import io

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import UsageError
from eyewright.core.rng import generator
from eyewright.imaging import read_image
from eyewright.metrics.fidelity import ms_ssim, psnr, ssim, ssimulacra2

pytest.importorskip("cv2")
metrics = pytest.importorskip("skimage.metrics")
PHOTO = pytest.importorskip("skimage.data").astronaut()


def jpeg(quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).save(buffer, "JPEG", quality=quality)
    return np.asarray(read_image(buffer.getvalue()))


def luma(image: np.ndarray) -> np.ndarray:
    return image @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("quality", [20, 60, 90])
def test_psnr_and_ssim_are_scikit_images(quality: int) -> None:
    other = jpeg(quality)
    assert psnr(PHOTO, other) == pytest.approx(metrics.peak_signal_noise_ratio(PHOTO, other), abs=1e-4)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    wanted = metrics.structural_similarity(luma(PHOTO), luma(other), **options)
    assert ssim(PHOTO, other) == pytest.approx(wanted, abs=2e-5)


def test_ssim_of_bright_flat_pictures_keeps_its_precision() -> None:
    rng = generator(0, "ssim")
    a = (65000 + rng.integers(0, 30, (64, 64))).astype(np.uint16)
    b = (65000 + rng.integers(0, 30, (64, 64))).astype(np.uint16)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 65535}
    wanted = metrics.structural_similarity(a.astype(float), b.astype(float), **options)
    assert ssim(a, b) == pytest.approx(wanted, abs=1e-4)


def test_every_measure_is_perfect_for_equal_pictures_and_falls_with_quality() -> None:
    for measure, best in ((psnr, np.inf), (ssim, 1.0), (ms_ssim, 1.0), (ssimulacra2, 100.0)):
        assert measure(PHOTO, PHOTO) == best
        values = [measure(PHOTO, jpeg(q)) for q in (95, 80, 50, 20)]
        assert values == sorted(values, reverse=True)


def test_ssimulacra2_is_near_an_independent_implementation() -> None:
    # ssimulacra2 0.3.0 from PyPI gave these for the same files; it pads otherwise at the picture's edges.
    known = {30: 55.869, 60: 70.742, 90: 84.998, 97: 89.435}
    for quality, wanted in known.items():
        assert ssimulacra2(PHOTO, jpeg(quality)) == pytest.approx(wanted, abs=1.0 if quality < 90 else 0.2)


def test_the_taps_of_its_blur_are_a_gaussians() -> None:
    from eyewright.metrics.fidelity import _cosine_taps

    taps = _cosine_taps()
    wanted = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    assert taps.sum() == pytest.approx(1, abs=1e-6)
    assert np.abs(taps - wanted / wanted.sum()).max() < 0.002
    assert (np.arange(-5, 6) ** 2 @ taps) == pytest.approx(1.5**2, abs=1e-3)


def test_sixteen_bits_measure_as_eight_do() -> None:
    a, b = PHOTO[:128, :128], jpeg(60)[:128, :128]
    wide = [x.astype(np.uint16) * 257 for x in (a, b)]
    for measure in (psnr, ssim, ms_ssim, ssimulacra2):
        assert measure(*wide) == pytest.approx(measure(a, b), abs=1e-2)


def test_unlike_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match="one shape"):
        psnr(PHOTO, PHOTO[:-1])
    with pytest.raises(UsageError, match="one shape"):
        ssim(PHOTO, PHOTO.astype(np.uint16))
    with pytest.raises(UsageError, match="11 pixels"):
        ssim(PHOTO[:8, :8], PHOTO[:8, :8])
