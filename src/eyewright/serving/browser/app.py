"""The data browser as an application: the page, pages of images, small pictures, edits. Images are named by number."""

__all__ = ["BrowserApp"]

import asyncio
import csv
import io
import os
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import numpy as np

from eyewright.core.spreadsheets import to_cell
from eyewright.serving.answering import answer_request
from eyewright.serving.browser.editor import Editor
from eyewright.serving.browser.page import read_browser_page
from eyewright.serving.browser.pictures import Pictures
from eyewright.serving.browser.schemas import MOST_MARKED, Filter, ListBody, Marked, PictureQuery, RowsQuery
from eyewright.serving.browser.table import Table
from eyewright.serving.exchange import (
    Budget,
    HttpError,
    Receive,
    Request,
    Response,
    Send,
    json_response,
    parse_json,
    read_body,
)
from eyewright.serving.guards import Guard
from eyewright.serving.options import read_options
from eyewright.serving.pace import Pace
from eyewright.serving.settings import Settings

_PAGE = 200
_SIDE = 160
_BODY_BYTES = 16 * 2**20
_KEPT_S = 3600
T = TypeVar("T", bound=msgspec.Struct)


class BrowserApp:
    """An ASGI application over a table of images; no path of a file ever comes from a client."""

    def __init__(self, table: Table, editor: Editor, settings: Settings) -> None:
        self.table, self.editor, self.settings = table, editor, settings
        self.guard = Guard(settings)
        self.budget = Budget(settings.pending_bytes)
        self.pace = Pace(settings.busy_bytes_per_s)
        self.pages = read_browser_page()
        self.pictures = Pictures(table.dataset)
        # Pictures of another start of the program, or of other data at this address, are not these.
        self._tag = f"{os.getpid():x}-{time.time_ns():x}"
        self._decoding = asyncio.Semaphore(max(2, os.cpu_count() or 1))

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        await answer_request(scope, receive, send, self._answer)

    async def _answer(self, request: Request, receive: Receive) -> Response:
        page = self.pages.get(request.path)
        if page is not None:
            _check_method(request, "GET", "HEAD")
            self.guard.check(request, open_to_all=True)
            return page.response(request)
        self.guard.check(request)
        match request.path:
            case ("v1", "browse"):
                _check_method(request, "GET", "HEAD")
                return json_response({**self.table.facts(), "edits": self.editor.facts()})
            case ("v1", "browse", "rows"):
                _check_method(request, "GET", "HEAD")
                return self._rows(request)
            case ("v1", "browse", "numbers"):
                _check_method(request, "GET", "HEAD")
                rows = self.table.rows(_filter(read_options(Filter, request.query)), self.editor.edits)
                return Response(rows.astype("<u4").tobytes(), media_type="application/octet-stream")
            case ("v1", "browse", "points"):
                _check_method(request, "GET", "HEAD")
                return self._points()
            case ("v1", "browse", "images", number):
                _check_method(request, "GET", "HEAD")
                return await self._image(request, self._number(number))
            case ("v1", "browse", "images", number, "facts"):
                _check_method(request, "GET", "HEAD")
                i = self._number(number)
                return json_response({**self.table.details(i), "edit": self.editor.of(i)})
            case ("v1", "browse", "edits"):
                _check_method(request, "POST")
                asked = await self._body(request, receive, Marked)
                action = None if asked.action == "none" else asked.action
                changed = self.editor.mark(asked.rows, action, asked.label)
                return json_response({"changed": changed, "edits": self.editor.facts()})
            case ("v1", "browse", "undo"):
                _check_method(request, "POST")
                await read_body(request, receive, self.settings, self.budget, self.pace, most=1024)
                return json_response({"rows": self.editor.undo(), "edits": self.editor.facts()})
            case ("v1", "browse", "list"):
                _check_method(request, "POST")
                return self._list((await self._body(request, receive, ListBody)).rows)
        raise HttpError(404, "route", "there is nothing at this address", fix="see the page at /")

    async def _body(self, request: Request, receive: Receive, kind: type[T]) -> T:
        if request.media_type != "application/json":
            raise HttpError(415, "media_type", "expected application/json", fix="send JSON")
        held = await read_body(request, receive, self.settings, self.budget, self.pace, most=_BODY_BYTES)
        try:
            return parse_json(request.body, self.settings, type=kind, values=MOST_MARKED + 16)
        finally:
            request.body = b""
            self.budget.give(held)

    def _number(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) < len(self.table)):
            raise HttpError(404, "image", "the data has no such image", fix="take the number of a row")
        return int(text)

    def _rows(self, request: Request) -> Response:
        asked = read_options(RowsQuery, request.query)
        rows = self.table.rows(_filter(asked), self.editor.edits)
        start = asked.offset or 0
        shown = rows[start : start + (asked.n or _PAGE)].tolist()
        return json_response(
            {
                "total": len(rows),
                "offset": start,
                "version": self.table.version,
                "rows": [{**self.table.row(i), "edit": self.editor.of(i)} for i in shown],
            }
        )

    def _points(self) -> Response:
        """Return x and y of each image as whole numbers to 65,535, then the number of its first class, 65,535 for none:
        three little-endian columns."""
        points = self.table.points
        if points is None:
            raise HttpError(
                404, "points", "there is no scatter plot yet", fix="wait until the images have been checked"
            )
        n = len(points)
        classes = np.full(n, 65_535, "<u2")
        if self.table.by_class:
            for i, sample in enumerate(self.table.dataset.samples):
                held = sample.target.held
                classes[i] = held[0] if held else 65_535
        scaled = np.round(points * 65_534).astype("<u2")
        data = scaled[:, 0].tobytes() + scaled[:, 1].tobytes() + classes.tobytes()
        return Response(data, media_type="application/octet-stream")

    async def _image(self, request: Request, i: int) -> Response:
        asked = read_options(PictureQuery, request.query)
        side, marks = asked.side or _SIDE, asked.marks is not False
        tag = f'"{self._tag}-{i}-{side}-{int(marks)}"'.encode()
        headers = [(b"etag", tag), (b"cache-control", f"private, max-age={_KEPT_S}".encode())]
        if request.headers.get("if-none-match", "").encode("latin-1") == tag:
            return Response(b"", 304, "image/jpeg", headers)
        async with self._decoding:
            data = await asyncio.to_thread(self.pictures.jpeg, i, side, marks=marks)
        return Response(data, media_type="image/jpeg", headers=headers)

    def _list(self, rows: list[int]) -> Response:
        """Return images as CSV with the columns that `--group-by` and the readers of tables know."""
        out = io.StringIO(newline="")
        table = csv.writer(out, lineterminator="\n")
        table.writerow(("path", "label", "split", "group", "findings", "score", "predicted", "edit"))
        samples, names, groups = self.table.dataset.samples, self.table.dataset.labels.names, self.table.groups
        for i in dict.fromkeys(rows):
            self.table.check_row(i)
            shown, edit = self.table.row(i), self.editor.edits.get(i)
            said = "" if edit is None else edit.action if edit.action == "leave_out" else edit.label
            group = "" if groups is None else f"g{groups[i]}"
            cells = (
                samples[i].id, samples[i].target.cell(names) or shown["label"], shown["split"], group,
                " ".join(shown["findings"]), shown.get("score", ""), shown.get("predicted", ""), said,
            )  # fmt: skip
            table.writerow(map(to_cell, cells))
        headers = [(b"content-disposition", b'attachment; filename="images.csv"')]
        body = out.getvalue().encode("utf-8", "surrogateescape")
        return Response(body, media_type="text/csv; charset=utf-8", headers=headers)


def _filter(asked: Filter) -> Filter:
    """Return what is asked for without the page of it, so that pages of one list share what was computed."""
    return Filter(**{name: getattr(asked, name) for name in Filter.__struct_fields__})


def _check_method(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise HttpError(
            405,
            "method",
            f"expected {' or '.join(methods)}, found {request.method[:20]}",
            headers={"allow": ", ".join(methods)},
        )
