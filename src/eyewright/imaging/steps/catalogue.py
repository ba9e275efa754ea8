"""Every step by its name: a literal table, which `eyewright steps` prints."""

__all__ = ["STEPS", "all_steps", "step_kind"]

from collections.abc import Mapping
from types import MappingProxyType

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.installed import installed, open_installed
from eyewright.imaging.steps import corrupt, denoise, enhance, geometry, nets, shapes, smooth
from eyewright.imaging.steps.kinds import Kind, Parameter, number, numbers, place, size, switch, whole, word


def _filter(default: str) -> Parameter:
    return word("filter", default, geometry.FILTERS, "how pixels are resampled")


_EDGE = word("edge", "fill", ("fill", "mirror", "repeat"), "how pixels outside the image are filled")
_FILL = number("fill", 255.0, 0, 255, "the grey of what is filled, 0-255")

STEPS: Mapping[str, Kind] = MappingProxyType(
    {
        "denoise": Kind(
            nets.denoise,
            "denoise",
            "remove noise, or apply a restoration model",
            "denoise:bilateral,strength=20",
            (
                word("method", denoise.METHODS[0], denoise.METHODS, "which filter"),
                number(
                    "strength",
                    "auto",
                    0,
                    255,
                    "levels of 0-255; pixels for gaussian and median",
                    choices=("auto",),
                    only=denoise.METHODS[1:],
                ),
                whole("patch", 7, 3, 21, "side of the patches that are compared", only=("nlm",), odd=True),
                whole("search", 21, 5, 61, "side of the area that is searched", only=("nlm",), odd=True),
                number("reach", 2.0, 0.5, 50, "sigma in pixels", only=("bilateral",)),
                place("net", "a bundle of the task restore, instead of a method"),
            ),
            by="OpenCV; scikit-image for tv and wavelet",
        ),
        "median": Kind(
            lambda image, size: denoise.denoise(image, method="median", strength=size // 2),
            "denoise",
            "median filter; for salt-and-pepper noise",
            "median:3",
            (whole("size", 3, 1, 63, "side of the window in pixels", odd=True),),
            by="OpenCV; SciPy for 16 bits above 5 pixels",
        ),
        "equalise": Kind(
            enhance.equalise,
            "enhance",
            "histogram equalisation",
            "equalise",
            by="OpenCV; a table for 16 bits",
        ),
        "clahe": Kind(
            enhance.clahe,
            "enhance",
            "local histogram equalisation with limited contrast",
            "clahe:clip=2,tiles=8",
            (
                number("clip", 2.0, 0.1, 100, "clip limit, in multiples of the mean count"),
                whole("tiles", 8, 1, 64, "tiles along either side"),
            ),
            by="OpenCV",
        ),
        "gamma": Kind(
            enhance.gamma,
            "enhance",
            "brighten the middle (above 1) or darken it (below 1)",
            "gamma:1.5",
            (number("gamma", 1.0, 0.05, 20, "v becomes v^(1/gamma)"),),
            by="a table, looked up by OpenCV",
        ),
        "autocontrast": Kind(
            enhance.autocontrast,
            "enhance",
            "stretch values to the full range",
            "autocontrast:cutoff=0.5",
            (
                number("cutoff", 0.5, 0, 49, "percent of pixels clipped at either end"),
                word("channels", "together", ("together", "each"), "one range for all channels, or one for each"),
            ),
            by="a table, looked up by OpenCV",
        ),
        "whitebalance": Kind(
            enhance.white_balance,
            "enhance",
            "remove a colour cast",
            "whitebalance:shades",
            (
                word("method", "shades", ("shades", "grey-world", "white-patch"), "what is assumed to be grey"),
                number("percent", 1.0, 0, 50, "of the pixels that count as white", only=("white-patch",)),
            ),
            colours=("rgb",),
            by="a table, looked up by OpenCV",
        ),
        "unsharp": Kind(
            enhance.unsharp,
            "enhance",
            "sharpen by unsharp masking",
            "unsharp:radius=2,amount=1",
            (
                number("radius", 2.0, 0.1, 100, "sigma of the blur in pixels"),
                number("amount", 1.0, 0, 10, "how much of the difference is added"),
                number("threshold", 0.0, 0, 255, "smaller differences are not sharpened"),
            ),
            by="OpenCV",
        ),
        "retinex": Kind(
            enhance.retinex,
            "enhance",
            "even out the lighting (multi-scale retinex)",
            "retinex",
            (numbers("scales", "15 80 250", "sigmas in pixels"),),
            by="NumPy and OpenCV",
        ),
        "dehaze": Kind(
            enhance.dehaze,
            "enhance",
            "remove haze and fog with the dark channel prior",
            "dehaze:0.95",
            (
                number("strength", 0.95, 0, 1, "how much of the haze is removed"),
                whole("window", 15, 3, 101, "side of the window of the dark channel", odd=True),
            ),
            by="NumPy and OpenCV",
        ),
        "deblur": Kind(
            enhance.deblur,
            "enhance",
            "undo a known blur",
            "deblur:wiener,blur=motion,size=9,angle=30",
            (
                word("method", "wiener", ("wiener", "richardson-lucy"), "which inverse"),
                word("blur", "gaussian", ("gaussian", "disk", "motion"), "kind of blur"),
                number("size", 2.0, 0.3, 100, "sigma, radius or length in pixels"),
                number("angle", 0.0, -360, 360, "direction of the motion in degrees"),
                number("balance", 0.01, 1e-6, 10, "larger is smoother", only=("wiener",)),
                whole("iterations", 20, 1, 500, "more is sharper and noisier", only=("richardson-lucy",)),
            ),
            by="SciPy's Fourier transform; OpenCV",
        ),
        "smooth": Kind(
            smooth.smooth,
            "smooth",
            "smooth, with or without keeping edges",
            "smooth:guided,size=8",
            (
                word("method", "gaussian", ("gaussian", "box", "guided", "edge"), "which filter"),
                number("size", 2.0, 0.1, 200, "sigma or radius in pixels"),
                number(
                    "edge", 25.0, 0.1, 255, "a difference in levels that counts as an edge", only=("guided", "edge")
                ),
            ),
            by="OpenCV",
        ),
        "convolve": Kind(
            smooth.convolve,
            "smooth",
            "convolve with any kernel",
            "convolve:0 -1 0/-1 5 -1/0 -1 0",
            (
                numbers("kernel", "sharpen", "rows of the kernel, or a name", choices=tuple(smooth.KERNELS)),
                number("offset", 0.0, -255, 255, "added to the result, levels of 0-255"),
            ),
            by="OpenCV",
        ),
        "pool": Kind(
            smooth.pool,
            "smooth",
            "max or average pooling, as in a net",
            "pool:max,size=2",
            (
                word("method", "max", ("max", "average"), "which value of a window is kept"),
                whole("size", 2, 1, 256, "side of the window"),
                whole("stride", 0, 0, 256, "step between windows; 0: the window's size"),
            ),
            keeps_size=False,
            by="NumPy; OpenCV for the mean",
        ),
        "resize": Kind(
            geometry.resize,
            "geometry",
            "resize, antialiased",
            "resize:640",
            (
                size("size", "640", "the longer side, or WIDTHxHEIGHT"),
                _filter("bicubic"),
                word("side", "long", ("long", "short"), "which side a single number means"),
            ),
            keeps_size=False,
            by="Pillow; OpenCV for area",
        ),
        "upscale": Kind(
            nets.upscale,
            "geometry",
            "enlarge by an integer factor, with a filter or a super-resolution model",
            "upscale:2,method=lanczos",
            (
                whole("factor", 2, 1, 8, "how many times larger a side becomes"),
                word("method", nets.METHODS[0], nets.METHODS, "the filter"),
                place("net", "a bundle of the task restore trained on down:2, instead of a filter"),
            ),
            keeps_size=False,
            by="OpenCV",
        ),
        "letterbox": Kind(
            geometry.letterbox,
            "geometry",
            "scale to fit a frame and pad the rest",
            "letterbox:640x480",
            (
                size("size", "640", "WIDTHxHEIGHT, or the side of a square"),
                number("fill", 114.0, 0, 255, "the grey of the padding, 0-255"),
                _filter("bilinear"),
            ),
            keeps_size=False,
            by="Pillow",
        ),
        "crop": Kind(
            geometry.crop,
            "geometry",
            "cut out a box, or the centre",
            "crop:10 20 200 100",
            (
                numbers("box", "centre", "x y width height in pixels, or centre", choices=("centre",)),
                size("size", "", "of the centre: WIDTHxHEIGHT", only=("centre",)),
            ),
            keeps_size=False,
            by="NumPy",
        ),
        "pad": Kind(
            geometry.pad,
            "geometry",
            "add a border",
            "pad:16,edge=mirror",
            (
                numbers("by", "16", "pixels: one number, or top right bottom left"),
                _EDGE,
                number("fill", 0.0, 0, 255, "the grey of the border, 0-255"),
            ),
            keeps_size=False,
            by="OpenCV",
        ),
        "rotate": Kind(
            geometry.rotate,
            "geometry",
            "rotate counter-clockwise",
            "rotate:12.5",
            (
                number("angle", 90.0, -360, 360, "degrees"),
                switch("expand", True, "enlarge the canvas so that nothing is cut off"),
                _EDGE,
                _FILL,
                word("filter", "bicubic", ("nearest", "bilinear", "bicubic", "lanczos"), "how pixels are resampled"),
            ),
            keeps_size=False,
            by="OpenCV",
        ),
        "flip": Kind(
            geometry.flip,
            "geometry",
            "mirror",
            "flip:horizontal",
            (word("axis", "horizontal", ("horizontal", "vertical", "both"), "left-right, top-bottom, or both"),),
            by="OpenCV",
        ),
        "perspective": Kind(
            geometry.perspective,
            "geometry",
            "correct the perspective of a plane",
            "perspective:10 20/300 15/310 220/5 230",
            (
                numbers("corners", None, "four corners x y, top left first, clockwise"),
                size("size", "", "WIDTHxHEIGHT of the result"),
                word("filter", "bilinear", ("nearest", "bilinear", "bicubic", "lanczos"), "how pixels are resampled"),
            ),
            keeps_size=False,
            by="OpenCV",
        ),
        "undistort": Kind(
            geometry.undistort,
            "geometry",
            "correct lens distortion",
            "undistort:k1=-0.2",
            (
                *(number(n, 0.0, -10, 10, f"coefficient {n} of Brown's model") for n in ("k1", "k2", "k3", "p1", "p2")),
                number("focal", 1.0, 0.1, 100, "focal length in widths of the image"),
                number("cx", 0.5, 0, 1, "optical centre, fraction of the width"),
                number("cy", 0.5, 0, 1, "optical centre, fraction of the height"),
            ),
            by="OpenCV",
        ),
        "deskew": Kind(
            geometry.deskew,
            "geometry",
            "straighten a scanned page",
            "deskew",
            (
                number("limit", 15.0, 0.5, 45, "largest angle to search, degrees"),
                _FILL,
            ),
            by="OpenCV",
        ),
        "grey": Kind(shapes.grey, "colour", "convert to grey", "grey", by="OpenCV"),
        "rgb": Kind(shapes.rgb, "colour", "convert grey to three channels", "rgb", by="NumPy"),
        "colour": Kind(
            shapes.colour,
            "colour",
            "convert to another colour space",
            "colour:lab",
            (word("to", "hsv", shapes.SPACES, "which space"),),
            colours=("rgb",),
            by="OpenCV",
        ),
        "depth": Kind(
            shapes.depth,
            "colour",
            "convert to 8 or 16 bits per channel",
            "depth:8",
            (whole("bits", 8, 8, 16, "8 or 16"),),
            by="NumPy",
        ),
        "invert": Kind(shapes.invert, "colour", "invert (negative)", "invert", by="OpenCV"),
        "morphology": Kind(
            shapes.morphology,
            "shapes",
            "erode, dilate, open, close and their differences",
            "morphology:close,size=5",
            (
                word(
                    "do",
                    "open",
                    ("erode", "dilate", "open", "close", "gradient", "tophat", "blackhat"),
                    "which operation",
                ),
                whole("size", 3, 1, 255, "of the structuring element in pixels"),
                word("shape", "ellipse", ("ellipse", "square", "cross"), "of the structuring element"),
                whole("times", 1, 1, 50, "how often"),
            ),
            by="OpenCV",
        ),
        "sobel": Kind(
            shapes.sobel,
            "shapes",
            "gradient of brightness, as grey",
            "sobel",
            (
                word("direction", "both", ("both", "x", "y"), "of the gradient"),
                whole("size", 3, 3, 7, "of the kernel", odd=True),
            ),
            by="OpenCV",
        ),
        "laplacian": Kind(
            shapes.laplacian,
            "shapes",
            "second derivative of brightness, as grey",
            "laplacian",
            (whole("size", 1, 1, 7, "of the kernel", odd=True),),
            by="OpenCV",
        ),
        "canny": Kind(
            shapes.canny,
            "shapes",
            "thin edges, white on black (Canny)",
            "canny:low=50,high=150",
            (
                number("low", 50.0, 0, 2000, "lower threshold: a gradient that continues an edge"),
                number("high", 150.0, 0, 2000, "upper threshold: a gradient that starts an edge"),
                number("sigma", 1.4, 0, 20, "sigma of a blur before, pixels; 0 for none"),
            ),
            by="OpenCV",
        ),
        "threshold": Kind(
            shapes.threshold,
            "shapes",
            "threshold to black and white",
            "threshold:otsu",
            (
                word("method", "otsu", ("otsu", "fixed", "triangle", "mean", "gaussian", "sauvola"), "which cut"),
                number("at", 127.0, 0, 255, "the cut", only=("fixed",)),
                whole(
                    "window", 31, 3, 1001, "side of the neighbourhood", only=("mean", "gaussian", "sauvola"), odd=True
                ),
                number("offset", 5.0, -255, 255, "subtracted from the local mean", only=("mean", "gaussian")),
                number("k", 0.2, -1, 1, "weight of the deviation", only=("sauvola",)),
                switch("invert", False, "dark is white"),
            ),
            by="OpenCV",
        ),
        "corrupt": Kind(
            corrupt.corrupt,
            "corruptions",
            "apply a corruption of ImageNet-C, to measure robustness",
            "corrupt:fog,severity=3",
            (
                word("kind", "gaussian_noise", corrupt.CORRUPTIONS, "which of the fifteen corruptions"),
                whole("severity", 3, 1, 5, "1 is mild, 5 is severe"),
            ),
            depths=("uint8",),
            random=True,
            by="NumPy and OpenCV",
        ),
    }
)
"""Name → what it does, its parameters and who does the arithmetic."""


def all_steps() -> Mapping[str, Kind]:
    """Return every step by its name: those that are built in, then those of installed packages."""
    others = {name: step_kind(name) for name in installed("eyewright.steps") if name not in STEPS}
    return {**STEPS, **others}


def step_kind(name: str) -> Kind:
    """Return one kind of step, built in or of an installed package (entry points of "eyewright.steps").

    Raises:
        UsageError: there is none; a near spelling is suggested.
    """
    if name in STEPS:
        return STEPS[name]
    if name not in installed("eyewright.steps"):
        known = [*STEPS, *installed("eyewright.steps")]
        raise UsageError(f"there is no step {name!r}", fix=spelling_hint(name, known), code="step")
    found = open_installed("eyewright.steps", name)
    if not isinstance(found, Kind):
        raise UsageError(f"expected the installed step {name!r} as a Kind, found {type(found).__name__}", code="step")
    return found
