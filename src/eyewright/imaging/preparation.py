"""From an image of any size to the pixels that a net takes: one implementation for training and for the field."""

__all__ = ["LINE_STRIDE", "VERSIONS", "Placement", "Preparation", "image_preparation"]

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import BundleError, UsageError, plain_reason, spelling_hint
from eyewright.core.inputs import IMAGE, MASK, Inputs, say_inputs
from eyewright.imaging.reduction import Prepared, Reduced, reduction, to_srgb
from eyewright.imaging.regions import cut_region
from eyewright.imaging.sampling import ClipSampling

if TYPE_CHECKING:
    from eyewright.imaging.steps import Steps
    from eyewright.imaging.tiles import TileCut

Fit = Literal["stretch", "crop", "letterbox", "shorter", "line"]
Filter = Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_MOST_SIDE = 16_384
VERSIONS = (1, 2)
"""The versions of a Preparation; new runs get the last one."""
LINE_STRIDE = 4
"""The prepared width of a line is a multiple of this."""


@dataclass(frozen=True)
class Placement:
    """Where a source image lies in the prepared one: prepared = source * scale_yx + offset_yx, in pixels."""

    source_hw: tuple[int, int]
    scale_yx: tuple[float, float]
    offset_yx: tuple[float, float]

    def to_source(self, points_xy: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Map points (N, 2) in x, y from prepared pixels to source pixels.

        >>> Placement((10, 20), (2.0, 2.0), (4.0, 0.0)).to_source(np.array([[8.0, 8.0]])).tolist()
        [[4.0, 2.0]]
        """
        scale = np.array(self.scale_yx[::-1])
        offset = np.array(self.offset_yx[::-1])
        mapped: NDArray[np.float64] = (np.asarray(points_xy, dtype=np.float64) - offset) / scale
        return mapped


@dataclass(frozen=True)
class Preparation:
    """Resize and crop to `size_hw`, with 1 or 3 `channels`; a value that travels in the bundle as JSON.

    "stretch" resizes both sides, "crop" resizes the shorter side and takes the centre, "letterbox" keeps the whole
    image and fills the rest with `fill` (0-255), "shorter" resizes the shorter side to `inner` pixels and then cuts out
    the centre, as many published networks were trained. With `inner`, "stretch" too resizes both sides to that many
    pixels and cuts out the centre. "line" resizes the height and keeps the aspect of a line of text, at the left edge;
    lines that would be wider are squeezed. Its pixels are 1 or more, and the columns right of it 0, so that the pixels
    themselves say where a line ends, whatever it is batched with (`trim`).

    Resampling is Pillow's, antialiased, in 8 bits: the same bits on every machine. Grey is ITU-R 601-2 luma. Scaling to
    [0, 1] and mean/std live inside the net.

    `steps` are applied first, to the image as it is: a line such as "denoise | clahe", whose steps keep the size
    and are not random. They travel as JSON, and need the extra `pixels` wherever the model is used.

    With `clip`, an image is the strip of a clip (`imaging.clips`): every frame is resized by itself, and `size_hw` is
    that of the strip.

    With `tile`, nothing is resized: `size_hw` is cut from the centre of the image, mirrored at its edges where it is
    smaller, and the level of its noise is one more channel (`imaging.tiles`), unless the net fills holes.

    `version` 2 first reduces a large image by 2, 4 or 8, as long as twice the pixels that the net takes are left along
    both sides (`imaging.reduction`): a JPEG file while it is decoded, other files and arrays by the mean of whole
    blocks. A colour profile is applied after the resize. Version 1, that of bundles which name none, decodes the whole
    image and applies its profile first. `steps`, clips and tiles are prepared in the same way by both.

    >>> prepare = Preparation((4, 4), fit="letterbox")
    >>> pixels, placement = prepare(np.full((2, 4, 3), 9, np.uint8))
    >>> pixels.shape, placement.offset_yx
    ((4, 4, 3), (1.0, 0.0))
    """

    kind: ClassVar[str] = "image"

    size_hw: tuple[int, int]
    fit: Fit = "stretch"
    filter: Filter = "bilinear"
    channels: int = 3
    fill: int = 0
    inner: int | None = None
    steps: str = ""
    clip: ClipSampling | None = None
    tile: "TileCut | None" = None
    version: int = 1

    def __post_init__(self) -> None:
        height, width = self.size_hw
        if self.version not in VERSIONS:
            raise UsageError(
                f"expected a preparation of version {VERSIONS[0]} to {VERSIONS[-1]}, found {self.version!r}",
                fix="update eyewright",
            )
        if self.tile is not None and (self.clip is not None or self.fit != "crop" or self.inner or self.steps):
            raise UsageError(
                f"expected tiles with fit 'crop' and nothing else, found {self.fit!r}", fix="leave --steps out"
            )
        if self.clip is not None:
            if height % self.clip.frames or self.fit not in ("stretch", "shorter"):
                raise UsageError(
                    f"expected strips of {self.clip.frames} frames with fit 'stretch' or 'shorter', found a height of "
                    f"{height} pixels with {self.fit!r}"
                )
            height //= self.clip.frames
        if not (1 <= height <= 8192 and 1 <= width <= 8192):
            raise UsageError(
                f"expected an image size of 1 to 8192 a side, found {height}x{width}", fix="change --imgsz"
            )
        if self.fit not in get_args(Fit):
            raise UsageError(f"unknown fit {self.fit!r}", fix=spelling_hint(str(self.fit), get_args(Fit)))
        if self.filter not in _FILTERS:
            raise UsageError(f"unknown filter {self.filter!r}", fix=spelling_hint(str(self.filter), _FILTERS))
        if self.inner is None:
            if self.fit == "shorter":
                raise UsageError("expected inner, the shorter side before the cut, with fit 'shorter', found none")
        elif self.fit not in ("stretch", "shorter") or not max(height, width) <= self.inner <= 8192:
            raise UsageError(
                f"expected inner of {max(height, width)} to 8192 with fit 'stretch' or 'shorter', "
                f"found {self.inner} with {self.fit!r}"
            )
        if self.fit == "line" and (self.fill or width % LINE_STRIDE or self.clip is not None):
            raise UsageError(
                f"expected fill 0 and a width that is a multiple of {LINE_STRIDE} with fit 'line', found fill "
                f"{self.fill} and {width} pixels"
            )
        if self.channels not in (1, 3) or not 0 <= self.fill <= 255:
            raise UsageError(f"expected 1 or 3 channels and fill 0-255, found {self.channels} and {self.fill}")
        if self.steps:
            object.__setattr__(self, "steps", str(_checked_steps(self.steps)))

    @property
    def dtype(self) -> str:
        """numpy's name of the type of prepared pixels."""
        return "uint8"

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one prepared image: height, width, channels; of a tile with the level of its noise."""
        return (*self.size_hw, self.channels + (self.tile is not None and not self.tile.degradation.holes))

    @property
    def contract(self) -> dict[str, Any]:
        """What a bundle's tensor contract says of the pixels in addition to their type and shape."""
        colour = "RGB" if self.channels == 3 else "grey (ITU-R 601-2)"
        if self.tile is not None and self.tile.degradation.holes:
            colour += ", with the hole filled by the Navier-Stokes equations"
        elif self.tile is not None:
            colour += ", then the level of the noise in quarters of a level"
        return {"layout": "NHWC", "range": [0, 255], "colour": colour}

    @property
    def free_axes(self) -> tuple[int, ...]:
        """The axes after the batch along which a net takes other sizes than `shape` too."""
        return (2,) if self.fit == "line" else ()

    def trim(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a batch of prepared images without the columns at the right that hold nothing in any of them.

        >>> pixels, _ = Preparation((4, 16), fit="line").batch([np.full((2, 4, 3), 9, np.uint8)])
        >>> Preparation((4, 16), fit="line").trim(pixels).shape
        (1, 4, 8, 3)
        """
        if self.fit != "line":
            return pixels
        held = np.flatnonzero(pixels.any((0, 1, 3))) if pixels.size else np.zeros(0, np.int64)
        last = int(held[-1]) + 1 if len(held) else 1
        return pixels[:, :, : -(-last // LINE_STRIDE) * LINE_STRIDE]

    @property
    def words(self) -> str:
        """What the prepared array holds, in words."""
        return "RGB pixels" if self.channels == 3 else "grey pixels"

    def pack(self, value: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an image as the golden pairs of a bundle keep it: as it is."""
        return value

    def unlike(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
        """Return why an array is not an image, "" if it is one."""
        if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or not min(shape) >= 1:
            return "is no image"
        return "is too large" if max(shape) > _MOST_SIDE else ""

    def unpack(self, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image that was packed."""
        return array

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Placement]:
        """Prepare one image, uint8 (H, W, 3) RGB, to uint8 (*size_hw, channels) and its placement.

        Raises:
            UsageError: another shape or type.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise UsageError(
                f"expected an image as uint8 (H, W, 3) RGB, found {image.dtype} {image.shape}",
                fix="read it with eyewright.read_image",
            )
        return self.apply(Image.fromarray(np.ascontiguousarray(image)))

    def apply(self, picture: Image.Image) -> tuple[NDArray[np.uint8], Placement]:
        """Prepare a Pillow picture in mode RGB, as `decode.read_picture` gives it: the same bits, with fewer copies."""
        source_hw = (picture.height, picture.width)
        if self.clip is not None:
            return self._strip(picture, self.clip.frames), self.place(source_hw)
        if self.steps:
            done = _checked_steps(self.steps)(np.asarray(picture))
            picture = Image.fromarray(done).convert("RGB")
        if self.tile is not None:
            return self._cut_tile(np.asarray(self._in_channels(picture))), self.place(source_hw)
        return self.apply_reduced(Reduced(picture, source_hw)), self.place(source_hw)

    @property
    def reduces(self) -> bool:
        """Whether large images are reduced before they are resized: version 2, without steps, clips and tiles."""
        return self.version >= 2 and not self.steps and self.clip is None and self.tile is None

    def reduction(self, source_hw: tuple[int, int]) -> int:
        """Return 1, 2, 4 or 8, by which an image of this size is reduced before it is resized.

        >>> Preparation((96, 96), version=2).reduction((1080, 1920)), Preparation((96, 96)).reduction((1080, 1920))
        (4, 1)
        """
        return reduction(self.place(source_hw).scale_yx) if self.reduces else 1

    def apply_reduced(self, found: Reduced) -> NDArray[np.uint8]:
        """Return the prepared pixels of a picture, uint8 (*size_hw, channels), which may have been reduced while it was
        decoded (`reduction.read_reduced`)."""
        source_hw = found.source_hw
        found = found.reduced_by(self.reduction(source_hw))
        picture = found.picture
        if found.profile is None and self.channels == 1:
            picture = self._in_channels(picture)
        if self.inner is not None:
            resized_hw, (top, left) = self._centre(source_hw)
            offset_yx, box = (-top, -left), None
        else:
            resized_hw, offset_yx, box = self._geometry(source_hw)
        if found.factor > 1 or resized_hw != source_hw or box is not None:
            picture = picture.resize(resized_hw[::-1], _FILTERS[self.filter], box=found.box(box))
        if found.profile is not None:
            picture = to_srgb(picture, found.profile)
        pixels = np.asarray(self._in_channels(picture))
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if self.inner is not None:
            # In whole pixels, with the roundings of torchvision and transformers.
            return np.ascontiguousarray(pixels[top : top + self.size_hw[0], left : left + self.size_hw[1]])
        if self.fit == "line":
            pixels = np.maximum(pixels, 1)
        if resized_hw != self.size_hw:
            canvas = np.full((*self.size_hw, self.channels), self.fill, dtype=np.uint8)
            y, x = offset_yx
            canvas[y : y + resized_hw[0], x : x + resized_hw[1]] = pixels
            pixels = canvas
        return pixels

    def _in_channels(self, picture: Image.Image) -> Image.Image:
        mode = "L" if self.channels == 1 else "RGB"
        return picture if picture.mode == mode else picture.convert(mode)

    def _strip(self, picture: Image.Image, frames: int) -> NDArray[np.uint8]:
        """Prepare each frame of a strip by itself, so that no pixel mixes two of them."""
        if picture.height % frames:
            raise UsageError(
                f"expected a strip of {frames} frames, found a height of {picture.height} pixels",
                fix="pass a video, or read it with eyewright.read_clip",
            )
        height = picture.height // frames
        one = self.frame()
        cut = (picture.crop((0, k * height, picture.width, (k + 1) * height)) for k in range(frames))
        return np.concatenate([one.apply(frame)[0] for frame in cut])

    def frame(self) -> "Preparation":
        """Return how one frame of a clip is prepared.

        Raises:
            UsageError: it is no preparation of clips.
        """
        if self.clip is None:
            raise UsageError("expected a preparation of clips, found one of images")
        frames = self.clip.frames
        return dataclasses.replace(self, size_hw=(self.size_hw[0] // frames, self.size_hw[1]), clip=None, version=1)

    def place(self, source_hw: tuple[int, int]) -> Placement:
        """Return where an image of this size is placed, without an image.

        >>> Preparation((4, 4), fit="letterbox").place((2, 4)).offset_yx
        (1.0, 0.0)
        """
        if self.tile is not None:
            top, left = self._tile_origin(source_hw)
            return Placement(source_hw, (1.0, 1.0), (float(-top), float(-left)))
        if self.clip is not None and self.inner is not None:
            # Where a frame lies in a prepared one.
            return self.frame().place((source_hw[0] // self.clip.frames, source_hw[1]))
        if self.inner is not None:
            resized_hw, (top, left) = self._centre(source_hw)
            scale = (resized_hw[0] / source_hw[0], resized_hw[1] / source_hw[1])
            return Placement(source_hw, scale, (float(-top), float(-left)))
        inner_hw, offset_yx, box = self._geometry(source_hw)
        x0, y0 = (0.0, 0.0) if box is None else box[:2]
        covered_hw = source_hw if box is None else (box[3] - box[1], box[2] - box[0])
        scale = (inner_hw[0] / covered_hw[0], inner_hw[1] / covered_hw[1])
        return Placement(source_hw, scale, (offset_yx[0] - y0 * scale[0], offset_yx[1] - x0 * scale[1]))

    def apply_labels(self, labels: NDArray[np.integer[Any]], *, outside: int) -> NDArray[np.integer[Any]]:
        """Prepare a map of class or object numbers, (H, W), as its image is, without mixing any; integers (*size_hw).

        Every prepared pixel takes the number at its centre; where no image is, `outside`.
        """
        place = self.place((labels.shape[0], labels.shape[1]))
        out = np.full(self.size_hw, outside, labels.dtype)
        index = []
        for axis in (0, 1):
            centres = (np.arange(self.size_hw[axis]) + 0.5 - place.offset_yx[axis]) / place.scale_yx[axis]
            # A letterboxed image ends at whole pixels; what lies beyond is not its edge drawn out.
            inside = (centres >= 0) & (centres < labels.shape[axis])
            index.append((np.flatnonzero(inside), centres[inside].astype(np.int64)))
        (rows, y), (columns, x) = index
        out[np.ix_(rows, columns)] = labels[np.ix_(y, x)]
        return out

    def _tile_origin(self, source_hw: tuple[int, int]) -> tuple[int, int]:
        return (source_hw[0] - self.size_hw[0]) // 2, (source_hw[1] - self.size_hw[1]) // 2

    def _cut_tile(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut the centre, and add the level of the noise."""
        # Imported only where there are tiles, as steps are.
        from eyewright.imaging.tiles import grain_level, with_level

        assert self.tile is not None
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        if self.tile.degradation.holes:
            top, left = self._tile_origin((pixels.shape[0], pixels.shape[1]))
            return np.ascontiguousarray(cut_region(pixels, top, left, self.size_hw))
        sigma = grain_level(pixels) if self.tile.degradation.noisy else 0.0
        top, left = self._tile_origin((pixels.shape[0], pixels.shape[1]))
        return with_level(cut_region(pixels, top, left, self.size_hw), sigma)

    def _centre(self, source_hw: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the resized size before the cut, and the row and column the cut begins at."""
        assert self.inner is not None
        height, width = source_hw
        if self.fit == "stretch":
            resized_hw = (self.inner, self.inner)
        else:
            short, long = sorted((height, width))
            longer = int(self.inner * long / short)
            resized_hw = (self.inner, longer) if height <= width else (longer, self.inner)
        return resized_hw, ((resized_hw[0] - self.size_hw[0]) // 2, (resized_hw[1] - self.size_hw[1]) // 2)

    def _geometry(
        self, source_hw: tuple[int, int]
    ) -> tuple[tuple[int, int], tuple[int, int], tuple[float, float, float, float] | None]:
        """Return the resized size, where it goes in the canvas, and the part of the source it is taken from."""
        height, width = source_hw
        target_h, target_w = self.size_hw
        if self.fit == "stretch":
            return self.size_hw, (0, 0), None
        if self.fit == "crop":
            scale = max(target_h / height, target_w / width)
            box_h, box_w = target_h / scale, target_w / scale
            left, top = (width - box_w) / 2, (height - box_h) / 2
            if (box_h, box_w) == (height, width):
                return self.size_hw, (0, 0), None
            # Rounding may reach past the edge by the last bit, which Pillow refuses.
            right, bottom = min(left + box_w, width), min(top + box_h, height)
            return self.size_hw, (0, 0), (max(left, 0.0), max(top, 0.0), right, bottom)
        if self.fit == "line":
            wanted = -(-round(width * target_h / height) // LINE_STRIDE) * LINE_STRIDE
            return (target_h, max(LINE_STRIDE, min(target_w, wanted))), (0, 0), None
        scale = min(target_h / height, target_w / width)
        inner = (max(1, min(target_h, round(height * scale))), max(1, min(target_w, round(width * scale))))
        return inner, ((target_h - inner[0]) // 2, (target_w - inner[1]) // 2), None

    def batch(self, images: Sequence[NDArray[np.uint8] | Prepared]) -> tuple[NDArray[np.uint8], tuple[Placement, ...]]:
        """Prepare images of any sizes to one uint8 (N, *size_hw, channels); what was `Prepared` where it was decoded is
        taken as it is."""
        done = [
            (image.pixels, self.place(image.source_hw)) if isinstance(image, Prepared) else self(image)
            for image in images
        ]
        empty = np.zeros((0, *self.shape), np.uint8)
        return np.stack([p for p, _ in done]) if done else empty, tuple(q for _, q in done)

    def to_json(self) -> dict[str, Any]:
        """Return the value as plain JSON types."""
        found = {**dataclasses.asdict(self), "size_hw": list(self.size_hw)}
        del found["steps"], found["clip"], found["tile"]
        if self.version == 1:
            # Bundles and caches of version 1 stay what they were, to the byte.
            del found["version"]
        if self.clip is not None:
            found["clip"] = self.clip.to_json()
        if self.tile is not None:
            found["tile"] = self.tile.to_json()
        return {**found, "steps": _checked_steps(self.steps).to_json()} if self.steps else found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Preparation":
        """Read `to_json`'s form.

        Raises:
            BundleError: a key is missing, unknown or of the wrong type.
        """
        try:
            height, width = data["size_hw"]
            steps = _steps_of(data["steps"]) if "steps" in data else ""
            clip = ClipSampling.from_json(data["clip"]) if "clip" in data else None
            tile = _tile_of(data["tile"]) if "tile" in data else None
            value = cls(**{**data, "size_hw": (int(height), int(width)), "steps": steps, "clip": clip, "tile": tile})
            if not all(isinstance(v, int) for v in (value.channels, value.fill, value.inner or 0, value.version)):
                raise TypeError("channels, fill, inner and version are whole numbers")
            return value
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise BundleError(
                f"the bundle's preparation is not valid: {plain_reason(error)}", fix="export the model again"
            ) from None


def image_preparation(inputs: Inputs, asked: str = "this") -> Preparation:
    """Return how the image of a model is prepared that takes one image and nothing else; `asked` is what needs that.

    Raises:
        UsageError: the model takes something else.
    """
    found = inputs.get(IMAGE)
    if len(inputs) != 1 or not isinstance(found, Preparation):
        raise UsageError(
            f"{asked} is supported for models that take one image; this one takes {say_inputs(inputs)}",
            fix="fill images with eyewright inpaint --with"
            if MASK in inputs
            else "use a model of images, or predict with Bundle.predict_images",
        )
    return found


def _steps_of(rows: Sequence[Mapping[str, Any]]) -> str:
    from eyewright.imaging.steps import Steps

    return str(Steps.from_json(rows))


def _tile_of(data: Mapping[str, Any]) -> "TileCut":
    from eyewright.imaging.tiles import TileCut

    return TileCut.from_json(data)


@lru_cache(maxsize=16)
def _checked_steps(text: str) -> "Steps":
    """Read steps that may come before a net.

    Raises:
        UsageError: a step that is unknown, changes the size, or is random.
    """
    # Imported only where there are steps: most bundles have none, and starting must be quick.
    from eyewright.imaging.steps import parse_steps
    from eyewright.imaging.steps.catalogue import step_kind
    from eyewright.imaging.steps.nets import refuse_nets

    steps = parse_steps(text)
    for step in steps.steps:
        refuse_nets(step.values)
        kind = step_kind(step.name)
        if not kind.keeps_size or kind.random or step.name == "depth":
            why = "is random" if kind.random else "changes the size or the depth"
            raise UsageError(f"step {step.name!r} {why}, and cannot come before a net", fix="process the images first")
    return steps
