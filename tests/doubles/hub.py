"""The Hugging Face hub on this machine: a folder of repositories, asked by the hub's own clients.

Other paths are served as they are, as GitHub serves raw files.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

LISTING = re.compile(r"/api/(?:models|datasets)/([^/]+/[^/]+)/(tree|revision)/(\w+)/?([^?]*)")
FILE = re.compile(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/(\w+)/([^?]+)")


@dataclass
class Hub:
    """A running server.

    Attributes:
        folder: holds `<owner>/<name>/<file>` for each repository.
        url: where it listens.
        asked: method and path of every request so far.
        break_off: names of files that break off in the middle, each time they are asked for.
    """

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)
    break_off: set[str] = field(default_factory=set)


class Handler(BaseHTTPRequestHandler):
    """Answers for one request."""

    def __init__(self, hub: Hub, *arguments: object):
        self.hub = hub
        super().__init__(*arguments)

    def log_message(self, *_: object) -> None:
        """Nothing goes to the test's own output."""

    def do_HEAD(self) -> None:
        """The same, without its content."""
        self.do_GET()

    def do_GET(self) -> None:
        """A list of files, or a file."""
        self.hub.asked.append(f"{self.command} {self.path}")
        if found := LISTING.match(self.path):
            name, kind, revision, inside = found.groups()
            self.list_files(self.hub.folder / name, kind, revision, inside)
        elif found := FILE.match(self.path):
            name, revision, file = found.groups()
            self.send_file(self.hub.folder / name / file, revision)
        else:
            self.send_file(self.hub.folder / self.path.lstrip("/"))

    def list_files(self, repository: Path, kind: str, revision: str, inside: str) -> None:
        """What a repository holds, in the hub's two forms."""
        deep = kind == "revision" or "recursive=true" in self.path
        base = repository / inside
        if not base.is_dir():
            return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        found = [
            {
                "type": "file" if path.is_file() else "directory",
                "path": str(path.relative_to(repository)),
                "size": path.stat().st_size,
                "oid": "0" * 40,
            }
            for path in sorted(base.rglob("*") if deep else base.iterdir())
        ]
        if kind == "revision":
            siblings = [{"rfilename": one["path"]} for one in found if one["type"] == "file"]
            found = {"id": repository.name, "sha": revision, "siblings": siblings}
        return self.send(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def send_file(self, path: Path, revision: str = "") -> None:
        """A file, or the rest of it."""
        if not path.is_file():
            return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        content = path.read_bytes()
        about = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": revision}
        first = int(re.sub(r"bytes=(\d+)-.*", r"\1", self.headers.get("Range", "bytes=0-")))
        if first:
            about["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        cut = len(content) // 2 if path.name in self.hub.break_off else len(content)
        return self.send(206 if first else 200, content[first:], about, content[first:cut])

    def send(
        self, code: int, body: bytes, about: dict[str, str], sent: bytes | None = None
    ) -> None:
        """An answer; of its body perhaps only what is `sent`."""
        self.send_response(code)
        for name, value in about.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body if sent is None else sent)


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """A hub of what is in `folder`, until the block ends."""
    hub = Hub(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, hub)) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()
