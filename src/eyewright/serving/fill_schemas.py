"""What goes over HTTP when a part of an image is filled, as msgspec structs."""

__all__ = ["METHODS", "FillBody", "FillOptions"]

from typing import Annotated, Any, Literal, get_args

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Method = Literal["auto", "fsr", "ns", "biharmonic", "exemplar", "net"]
METHODS: tuple[str, ...] = get_args(Method)

_Box = Annotated[
    str,
    Meta(
        max_length=40,
        description="Fill this box: left, top, width and height in pixels, separated by commas",
        # Not a pattern that msgspec checks: it would say so without the value.
        extra_json_schema={"pattern": "^[0-9]{1,6},[0-9]{1,6},[1-9][0-9]{0,5},[1-9][0-9]{0,5}$"},
    ),
]
_BASE64: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "format": "image-base64",
    "contentEncoding": "base64",
}
_Encoded = Annotated[Raw, Meta(extra_json_schema={**_BASE64, "description": "An image file in base64"})]


class FillOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """How a part of an image is filled; without a mask, `box` says where."""

    box: _Box | None = None
    method: Annotated[Method, Meta(description="How (default auto); net needs a model that fills holes")] | None = None
    grow: (
        Annotated[int, Meta(ge=0, le=256, description="Pixels around the hole that are filled too (default 0)")] | None
    ) = None
    feather: (
        Annotated[int, Meta(ge=0, le=256, description="How many of these pixels fade into the image (default 0)")]
        | None
    ) = None


class FillBody(Struct, forbid_unknown_fields=True):
    """An image in JSON, and a mask of the same size that is white where to fill, or `box` in the parameters."""

    image: _Encoded
    mask: _Encoded | UnsetType = UNSET
    parameters: (
        Annotated[dict[str, Any], Meta(extra_json_schema={"$ref": "#/components/schemas/FillOptions"})] | None
    ) = None
