"""A bucket on this machine: the emulator of Google Cloud Storage as a process, for tests over HTTP.

The package leaves out what TensorStore needs (the header x-goog-generation, the bounds of a list, ifGenerationMatch)
and what gcsfs renames by (moveTo). This process adds them. It forbids what `Emulator.refuse` names.
"""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

BUCKET, REFUSED = "bucket", "refused"
OBJECT = re.compile(r"/b/([^/]+)/o/([^/]+)$")
MOVE = re.compile(r"/b/([^/]+)/o/([^/]+)/moveTo/o/([^/]+)$")


@dataclass(frozen=True)
class Emulator:
    """A running emulator. environment: variables for a process that uses it. disk: folder of the bucket's objects."""

    environment: dict[str, str]
    disk: Path

    @contextmanager
    def refuse(self, *requests: str) -> Iterator[None]:
        """Answer 403 within the context to requests that begin so, such as GET, or POST /upload."""
        file = self.disk.parent.parent / REFUSED
        file.write_text("\n".join(requests))
        try:
            yield
        finally:
            file.unlink()


@contextmanager
def emulator(folder: Path) -> Iterator[Emulator]:
    """Run an emulator whose files lie in a folder."""
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = f"http://127.0.0.1:{int(process.stdout.readline())}"
            environment = {"STORAGE_EMULATOR_HOST": url, "TENSORSTORE_GCS_HTTP_URL": url}
            environment["GOOGLE_AUTH_TOKEN_FOR_TESTING"] = "none"  # TensorStore would log that it found no credentials
            environment["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # gcsfs would ask for the kind of the bucket
            yield Emulator(environment, next(folder.glob(f"*/{BUCKET}")))
        finally:
            process.kill()


def serve(folder: str) -> None:
    """Serve the bucket until the process is killed; print the port."""
    from gcp_storage_emulator.handlers.buckets import create_bucket
    from gcp_storage_emulator.server import RequestHandler
    from gcp_storage_emulator.storage import Storage

    class Handler(RequestHandler):
        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            request = f"{self.command} {self.path}"
            if is_refused := refused.exists() and request.startswith(tuple(refused.read_text().split("\n"))):
                self.answer(HTTPStatus.FORBIDDEN)
            return not is_refused

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            if "startOffset" in query:
                start, end = query["startOffset"][0], query["endOffset"][0]
                assert end == start[:-1] + chr(ord(start[-1]) + 1), "the bounds are not those of a prefix"
                self.path = f"{self.path.partition('?')[0]}?prefix={quote(start, safe='')}"
            super().do_GET()

        def do_POST(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            if found := MOVE.search(url.path):
                bucket, source, target = map(unquote, found.groups())
                if moved := self.found(bucket, source):
                    content = self.storage.get_file(bucket, source)
                    self.storage.create_file(bucket, target, content, {**moved, "name": target})
                    self.storage.delete_file(bucket, source)
                self.answer(HTTPStatus.OK if moved else HTTPStatus.NOT_FOUND, b"{}")
            elif wanted := query.get("ifGenerationMatch"):
                found = self.found(url.path.split("/b/")[1].split("/")[0], query["name"]).get("generation", "0")
                super().do_POST() if found == wanted else self.answer(HTTPStatus.PRECONDITION_FAILED)
            else:
                super().do_POST()

        def answer(self, status: HTTPStatus, content: bytes = b"") -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def end_headers(self) -> None:
            found = OBJECT.search(urlsplit(self.path).path)
            if found and (generation := self.found(*map(unquote, found.groups())).get("generation")):
                self.send_header("x-goog-generation", generation)
            super().end_headers()

        def found(self, bucket: str, name: str) -> dict[str, Any]:
            """Return what the storage knows of an object; nothing if it is missing."""
            return self.storage.objects.get(bucket, {}).get(name, {})

    logging.disable(logging.CRITICAL)
    refused = Path(folder) / REFUSED
    storage = Storage(data_dir=folder)
    create_bucket(BUCKET, storage)
    storage.buckets[BUCKET]["softDeletePolicy"]["retentionDurationSeconds"] = "0"
    server = HTTPServer(("127.0.0.1", 0), partial(Handler, storage))
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  clients that are killed
    serve(sys.argv[1])
