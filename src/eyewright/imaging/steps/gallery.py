"""A page with a picture of every step, made by running it."""

__all__ = ["write_gallery"]

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError, MissingExtraError
from eyewright.core.extras import import_extra
from eyewright.core.files import write_text
from eyewright.imaging.decode import name_unreadable, read_image
from eyewright.imaging.encode import data_uri
from eyewright.imaging.steps.catalogue import STEPS
from eyewright.imaging.steps.chain import parse_steps, process
from eyewright.imaging.steps.corrupt import CORRUPTIONS

_STYLE = """
:root{--ink:#1b2230;--soft:#5a6578;--line:#dfe4ec;--page:#f5f7fa;--card:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf3;--soft:#9aa6b8;--line:#2c3442;--page:#12161d;--card:#1a202a}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:32px 24px 60px}h1{font-size:28px;margin:0 0 6px}
h2{font-size:19px;margin:34px 0 10px;text-transform:capitalize}
.soft{color:var(--soft)}.all{display:grid;grid-template-columns:repeat(auto-fill,minmax(215px,1fr));gap:14px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:8px;break-inside:avoid}
img{width:100%;aspect-ratio:4/3;object-fit:contain;border-radius:6px;display:block;background:#8883}
figcaption{padding:6px 2px 0;font-size:13px;line-height:1.4}
code{font:12px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;
overflow-wrap:anywhere;color:var(--soft)}
"""

_SHOWN = {
    "crop": "crop:centre,size=200x150",
    "perspective": "perspective:60 20/300 40/320 230/20 200",
    "deskew": "rotate:-6,expand=false | deskew",
    "dehaze": "corrupt:fog,severity=2 | dehaze:0.95",
    "denoise": "corrupt:gaussian_noise,severity=1 | denoise",
    "median": "corrupt:impulse_noise,severity=2 | median:3",
    "gamma": "gamma:2.2",
    "unsharp": "smooth:gaussian,size=1.2 | unsharp:radius=2,amount=1.5",
    "deblur": "smooth:gaussian,size=2 | deblur:wiener,size=2,balance=0.001",
    "pool": "pool:max,size=6",
    "resize": "resize:80 | resize:320,filter=nearest",
    "undistort": "undistort:k1=-0.35",
    "depth": "depth:8",
    "rgb": "grey | rgb",
}


def write_gallery(folder: Path, *, image: str | Path | None = None) -> Path:
    """Write `steps.html`, a page with every step's example on one picture; return its path.

    Raises:
        InputError: the picture cannot be read.
        MissingExtraError: OpenCV or scikit-image is not installed.
        OutputError: the folder cannot be written.
    """
    with name_unreadable(str(image)):
        picture: NDArray[Any] = _example() if image is None else np.asarray(read_image(image))
    picture = process(picture, "resize:360,filter=lanczos")
    parts = [f"<h1>Steps</h1><p class=soft>{len(STEPS)} steps; each picture is the line below it, on this one:</p>"]
    parts.append(f"<div class=all>{_figure(picture, 'the picture', '')}</div>")
    groups = dict.fromkeys(kind.group for kind in STEPS.values())
    for group in groups:
        figures = []
        for name, kind in STEPS.items():
            if kind.group != group:
                continue
            lines = (
                [f"corrupt:{c},severity=3" for c in CORRUPTIONS]
                if name == "corrupt"
                else [_SHOWN.get(name, kind.example)]
            )
            for line in lines:
                shown = _shown(picture, line)
                about = (
                    line.partition(":")[2].partition(",")[0].replace("_", " ")
                    if name == "corrupt"
                    else f"{name}: {kind.about}"
                )
                figures.append(_figure(shown, about, line))
        parts.append(f"<h2>{escape(group)}</h2><div class=all>{''.join(figures)}</div>")
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>Steps</title><style>{_STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>"
    )
    path = folder / "steps.html"
    write_text(path, page)
    return path


def _shown(picture: NDArray[np.uint8], line: str) -> NDArray[np.uint8]:
    try:
        return process(picture, line)
    except MissingExtraError:
        raise
    except EyewrightError:
        # An example's box may lie outside a picture of another shape; its name is shown all the same.
        return process(picture, str(parse_steps("grey")))


def _figure(picture: NDArray[np.uint8], about: str, line: str) -> str:
    # Lines break after a comma, not within a word.
    code = f"<br><code>{escape(line).replace(',', ',<wbr>')}</code>" if line else ""
    shown = f'<img src="{data_uri(picture)}" alt="{escape(about)}">'
    return f"<figure>{shown}<figcaption>{escape(about)}{code}</figcaption></figure>"


def _example() -> NDArray[np.uint8]:
    data = import_extra("skimage.data", extra="pixels", what="the example picture")
    found: NDArray[np.uint8] = data.coffee()
    return found
