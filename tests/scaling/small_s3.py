"""A small S3 for tests: objects, conditional and partial writes, listings in pages, uploads in parts, and faults."""

__all__ = ["SmallS3"]

import base64
import hashlib
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape


@dataclass
class _Object:
    data: bytes
    meta: dict[str, str]
    changed: float = field(default_factory=time.time)

    @property
    def tag(self) -> str:
        return f'"{hashlib.md5(self.data, usedforsecurity=False).hexdigest()}"'


@dataclass
class _Upload:
    key: str
    meta: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


class SmallS3:
    """A server of one bucket, "bucket"; `fault` is asked before each call with its method and key and returns a status
    to answer with, "lost" (the call takes effect and its answer is cut off), "cut" (half of the content) or None."""

    def __init__(self) -> None:
        self.objects: dict[str, _Object] = {}
        self.uploads: dict[str, _Upload] = {}
        self.calls: list[tuple[str, str]] = []
        self.fault: Callable[[str, str], int | str | None] = lambda method, key: None
        self.conditional = True
        self.page = 1000
        self.lock = threading.Lock()
        store = self

        class Handler(_Handler):
            s3 = store

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        self.objects[key] = _Object(data, {})

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys below a prefix."""
        return sorted(key for key in self.objects if key.startswith(prefix))

    def close(self) -> None:
        """End the server."""
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3: SmallS3

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        bucket, _, key = urllib.parse.unquote(path.removeprefix("/")).partition("/")
        body = self._body()
        with self.s3.lock:
            self.s3.calls.append((self.command, key))
            fault = self.s3.fault(self.command, key)
        if isinstance(fault, int):
            name = {403: "AccessDenied", 503: "SlowDown"}.get(fault, "InternalError")
            self._send(fault, f"<Error><Code>{name}</Code><Message>s3cret</Message></Error>".encode())
            return
        if bucket != "bucket":
            self._send(404, b"<Error><Code>NoSuchBucket</Code></Error>")
            return
        with self.s3.lock:
            status, data, headers = self._do(key, asked, body)
        if fault == "lost":
            self.close_connection = True
            return
        self._send(status, data, headers, cut=fault == "cut")

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "aws-chunked" not in (self.headers.get("Content-Encoding") or ""):
            return data
        whole = b""
        while data:
            size, _, data = data.partition(b"\r\n")
            n = int(size.partition(b";")[0], 16)
            whole, data = whole + data[:n], data[n + 2 :] if n else b""
        return whole

    def _do(self, key: str, asked: dict[str, str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        s3, method = self.s3, self.command
        if method == "GET" and not key:
            return self._uploads(asked) if "uploads" in asked else self._list(asked)
        if method == "POST" and "uploads" in asked:
            number = f"u{len(s3.calls)}"
            s3.uploads[number] = _Upload(key, self._meta())
            return 200, f"<R><UploadId>{number}</UploadId></R>".encode(), {}
        if "uploadId" in asked:
            return self._in_parts(key, asked, body)
        if method == "PUT":
            digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
            if self.headers.get("Content-MD5", digest) != digest:
                return _error(400, "BadDigest")
            return self._write(key, body, self._meta())
        if method == "DELETE":
            s3.objects.pop(key, None)
            return 204, b"", {}
        if key not in s3.objects:
            return _error(404, "NoSuchKey")
        one = s3.objects[key]
        headers = {"ETag": one.tag, "Last-Modified": formatdate(one.changed, usegmt=True)}
        headers |= {f"x-amz-meta-{k}": v for k, v in one.meta.items()}
        if span := self.headers.get("Range"):
            first, _, last = span.removeprefix("bytes=").partition("-")
            return 206, one.data[int(first) : int(last or len(one.data)) + 1], headers
        return 200, one.data, headers

    def _in_parts(self, key: str, asked: dict[str, str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        s3, number = self.s3, asked["uploadId"]
        upload = s3.uploads.get(number)
        if upload is None:
            return _error(404, "NoSuchUpload")
        if self.command == "PUT":
            upload.parts[int(asked["partNumber"])] = body
            return 200, b"", {"ETag": _Object(body, {}).tag}
        if self.command == "DELETE":
            del s3.uploads[number]
            return 204, b"", {}
        found = self._write(key, b"".join(upload.parts[k] for k in sorted(upload.parts)), upload.meta)
        if found[0] == 200:
            del s3.uploads[number]
            return 200, b"<R><ETag>x</ETag></R>", {}
        return found

    def _write(self, key: str, data: bytes, meta: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        if self.s3.conditional and self.headers.get("If-None-Match") == "*" and key in self.s3.objects:
            return _error(412, "PreconditionFailed")
        self.s3.objects[key] = _Object(data, meta)
        return 200, b"", {"ETag": self.s3.objects[key].tag}

    def _meta(self) -> dict[str, str]:
        start = "x-amz-meta-"
        return {k.lower()[len(start) :]: v for k, v in self.headers.items() if k.lower().startswith(start)}

    def _list(self, asked: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        prefix, mark, after = asked.get("prefix", ""), asked.get("delimiter"), asked.get("continuation-token", "")
        found = [key for key in self.s3.keys(prefix) if key > after and not (mark and mark in key[len(prefix) :])]
        rows = "".join(
            f"<Contents><Key>{escape(urllib.parse.quote(key))}</Key><Size>{len(one.data)}</Size>"
            f"<ETag>{escape(one.tag)}</ETag><LastModified>"
            f"{time.strftime('%Y-%m-%dT%H:%M:%S.123Z', time.gmtime(one.changed))}</LastModified></Contents>"
            for key in found[: self.s3.page]
            for one in (self.s3.objects[key],)
        )
        cut = len(found) > self.s3.page
        more = f"<NextContinuationToken>{escape(found[self.s3.page - 1])}</NextContinuationToken>" if cut else ""
        head = f"<EncodingType>url</EncodingType><IsTruncated>{str(cut).lower()}</IsTruncated>{more}"
        return 200, f"<ListBucketResult>{head}{rows}</ListBucketResult>".encode(), {}

    def _uploads(self, asked: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        rows = "".join(
            f"<Upload><Key>{escape(u.key)}</Key><UploadId>{number}</UploadId></Upload>"
            for number, u in self.s3.uploads.items()
            if u.key.startswith(asked.get("prefix", ""))
        )
        return 200, f"<R><IsTruncated>false</IsTruncated>{rows}</R>".encode(), {}

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


def _error(status: int, code: str) -> tuple[int, bytes, dict[str, str]]:
    return status, f"<Error><Code>{code}</Code><Message>s3cret</Message></Error>".encode(), {}
