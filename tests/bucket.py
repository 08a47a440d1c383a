"""A local Google Cloud Storage for tests: gcp-storage-emulator, made stricter, and failing on demand.

It adds to the emulator: conditional uploads (`ifGenerationMatch`), without which a bucket has no mutual exclusion, and
the generation of downloads, on which TensorStore bases its conditions; multipart bodies byte for byte (the emulator
parses them as mail and loses a trailing carriage return); and faults, each for a number of requests of one kind.
"""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import buckets, objects
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

BUCKET = "bucket"
logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)  # it logs missing files as errors


@dataclass
class Fault:
    """What happens to the next `times` requests of a method whose path and query contain `text`.

    Attributes:
      what: a status to answer with instead ("503", "403"), "hang up" before handling the request, or "lose" the
        answer after handling it.
    """

    what: str
    method: str
    text: str = ""
    times: int = 1


class Bucket:
    """The server. `requests` lists (method, path with query) of all requests; every `fail_every`-th gets a 503."""

    def __init__(self) -> None:
        self.storage = Storage(use_memory_fs=True)
        self.faults: list[Fault] = []
        self.fail_every = 0
        self.requests: list[tuple[str, str]] = []
        buckets.create_bucket(BUCKET, self.storage)
        self._server = _Server(("localhost", 0), partial(_Handler, self))  # one request at a time
        self.url = f"http://localhost:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """Settings that direct gcsfs, TensorStore and Google's client here, without credentials."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "GOOGLE_CLOUD_PROJECT": "project",
            "GCE_METADATA_ROOT": "localhost:1",
            "NO_GCE_CHECK": "true",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    def contents(self, folder: str = "") -> dict[str, bytes]:
        """The files under a folder of the bucket, by their paths in it."""
        prefix = f"{folder}/" if folder else ""
        names = [name for name in self.storage.objects.get(BUCKET, {}) if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.storage.get_file(BUCKET, name) for name in sorted(names)}

    def take_fault(self, method: str, target: str) -> str | None:
        if self.fail_every and len(self.requests) % self.fail_every == 0:
            return "503"
        for fault in self.faults:
            if fault.times and fault.method == method and fault.text in target:
                fault.times -= 1
                return fault.what
        return None

    @contextlib.contextmanager
    def serving(self) -> Iterator[Bucket]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class _Server(http.server.HTTPServer):
    request_queue_size = 100

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores clients that hang up."""


class _Handler(RequestHandler):
    def __init__(self, bucket: Bucket, *args: Any) -> None:
        self._bucket = bucket
        super().__init__(bucket.storage, *args)

    def do_GET(self) -> None:
        self._serve("GET", super().do_GET)

    def end_headers(self) -> None:
        parts = urlsplit(self.path)
        if self.command == "GET" and "alt=media" in parts.query:
            bucket, _, name = parts.path.partition("/b/")[2].partition("/o/")
            with contextlib.suppress(NotFound):
                self.send_header(
                    "X-Goog-Generation", self.storage.get_file_obj(bucket, unquote(name))["generation"]
                )
        super().end_headers()

    def do_POST(self) -> None:
        self._serve("POST", self._post)

    def do_PUT(self) -> None:
        self._serve("PUT", super().do_PUT)

    def do_DELETE(self) -> None:
        self._serve("DELETE", super().do_DELETE)

    def _serve(self, method: str, serve: Any) -> None:
        self._bucket.requests.append((method, self.path))
        fault = self._bucket.take_fault(method, self.path)
        self.close_connection = True
        if fault == "hang up":
            return
        if fault is not None and fault.isdigit():
            self._read()
            self._answer(int(fault), {"error": {"code": int(fault), "message": f"injected {fault}"}})
            return
        out = self.wfile
        if fault == "lose":
            self.wfile = io.BytesIO()  # type: ignore[assignment]
        serve()
        self.wfile = out

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _post(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if query.get("uploadType") not in ("multipart", "media"):
            super().do_POST()
            return
        bucket = parts.path.partition("/b/")[2].partition("/")[0]
        body = self._read()
        if query["uploadType"] == "media":
            meta, content = {"name": query["name"]}, body
        else:
            name, content = _parts(body, self.headers["Content-Type"])
            meta = json.loads(name)
        try:
            if not self._is_allowed(bucket, meta["name"], query.get("ifGenerationMatch")):
                self._answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})
                return
            resource = objects._checksums(
                content,
                objects._make_object_resource(
                    self._bucket.url,
                    bucket,
                    meta["name"],
                    "application/octet-stream",
                    str(len(content)),
                    meta,
                ),
            )
            self.storage.create_file(bucket, meta["name"], content, resource)
        except NotFound:
            self._answer(404, {"error": {"code": 404, "message": "no such bucket"}})
            return
        self._answer(200, resource)

    def _is_allowed(self, bucket: str, name: str, generation: str | None) -> bool:
        if generation is None:
            return True
        try:
            return self.storage.get_file_obj(bucket, name)["generation"] == generation
        except NotFound:
            return generation == "0"


def _parts(body: bytes, content_type: str) -> tuple[bytes, bytes]:
    """The two payloads of a multipart body, with any line endings."""
    boundary = b"--" + content_type.partition("boundary=")[2].strip('"').encode()
    line_end = b"\r\n" if body.startswith(boundary + b"\r\n") else b"\n"
    first, second = body.removesuffix(boundary + b"--").removesuffix(line_end).split(boundary, 2)[1:]
    return first.partition(line_end * 2)[2], second.partition(line_end * 2)[2]
