"""`eyewright serve --source`: the live sources that a server follows."""

__all__ = ["add_sources", "sources_of"]

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from eyewright.cli.numbers import Number
from eyewright.cli.watching import add_watch, named_numbers
from eyewright.core.errors import UsageError
from eyewright.core.quoting import quoted

if TYPE_CHECKING:
    from eyewright.serving.live import LiveSource

_LARGEST_ADDRESS = 2**16
_NAME = "letters, digits, - and _"


def add_sources(p: argparse.ArgumentParser) -> None:
    """Add the options of live sources."""
    p.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="NAME=S",
        help="follow a camera number, rtsp://, http:// MJPEG or video, live; @FILE holds the address (repeatable)",
    )
    p.add_argument("--follow", metavar="MODEL", help="the model for the sources (default: the first)")
    add_watch(p, source="[SOURCE/]", line=", in pixels of the source")
    p.add_argument(
        "--rate",
        type=Number(0, 1000, whole=False, open_low=True),
        default=10.0,
        metavar="N",
        help="frames per second to process, per source (default 10)",
    )
    p.add_argument(
        "--conf",
        type=Number(0, 1, whole=False),
        metavar="P",
        help="minimum score of a detection to start a track",
    )


def sources_of(o: argparse.Namespace) -> "list[LiveSource]":
    """Return the sources of the command line.

    Raises:
        UsageError: a name or address that is not valid, or a line or zone without a source.
    """
    from dataclasses import replace

    from eyewright.imaging.sources import is_moving
    from eyewright.serving.live import LiveSource
    from eyewright.tracking import Line, Zone

    found: dict[str, LiveSource] = {}
    for text in o.source:
        name, mark, address = text.partition("=")
        if not mark or not _is_plain(name) or not address.strip():
            raise UsageError(
                f"expected --source as NAME=ADDRESS with a name of {_NAME}, found {_shown(text)!r}",
                fix="such as --source door=rtsp://camera/1",
            )
        if address.startswith("@"):
            address = _address_in(Path(address[1:]))
        if not is_moving(address) or address.lower().startswith("sane:"):
            raise UsageError(
                f"expected a camera, stream or video for the source {name!r}, found something else",
                fix="pass a camera number, rtsp://, http:// MJPEG, or a video file",
            )
        if name in found:
            raise UsageError(f"the name {name!r} is used twice in the sources", fix="choose another name")
        found[name] = LiveSource(name, address, o.follow or "", anchor=o.anchor, rate=o.rate, conf=o.conf)
    for text in o.line:
        source, name, numbers = _of_source(text, "--line", "NAME=X1,Y1,X2,Y2", found)
        if len(numbers) != 4:
            raise UsageError(f"expected four numbers in --line, found {text!r}", fix="pass NAME=X1,Y1,X2,Y2")
        x1, y1, x2, y2 = numbers
        Line(name, (x1, y1), (x2, y2))
        found[source.name] = replace(source, lines={**source.lines, name: (x1, y1, x2, y2)})
    for parts in o.zone:
        source, name, numbers = _of_source(" ".join(parts), "--zone", "NAME=X,Y X,Y X,Y", found)
        if len(numbers) % 2:
            raise UsageError(f"expected pairs of numbers in --zone, found {' '.join(parts)!r}", fix="pass NAME=X,Y …")
        points = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        Zone(name, points)
        found[source.name] = replace(source, zones={**source.zones, name: points})
    return list(found.values())


def _of_source(
    text: str, option: str, form: str, sources: "dict[str, LiveSource]"
) -> "tuple[LiveSource, str, list[float]]":
    whole, numbers = named_numbers(text, option, form)
    before, mark, name = whole.partition("/")
    if not mark:
        before, name = next(iter(sources)) if len(sources) == 1 else "", whole
    if before not in sources or not name:
        there = ", ".join(sources) or "(none)"
        raise UsageError(
            f"expected {option} as SOURCE/{form} with one of the sources {there}, found {text!r}",
            fix="name the source, as in door/entry=…",
        )
    source = sources[before]
    if name in source.lines or name in source.zones:
        raise UsageError(f"the name {name!r} is used twice in lines and zones", fix="choose another name")
    return source, name, numbers


def _address_in(path: Path) -> str:
    """Return the address in a file: what is on the command line can be read by every user of the machine."""
    try:
        with path.expanduser().open("rb") as file:
            return file.read(_LARGEST_ADDRESS).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(
            f"cannot read {quoted(path)}: {reason}", fix="pass NAME=@FILE with the address in it"
        ) from None


def _is_plain(name: str) -> bool:
    return 0 < len(name) <= 64 and name.isascii() and all(c.isalnum() or c in "-_" for c in name)


def _shown(text: str) -> str:
    """Return what was given without the password that an address may hold."""
    if "@" not in text:
        return text
    return text.split("://")[0] + "://***@" + text.rpartition("@")[2]
