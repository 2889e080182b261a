"""A page in a real browser: what it shows, asks for and complains of.

Chromium is run once per page, with a probe at the end of the page that looks at the images, clicks
every column head twice, and writes down what it found; a server in this process hears what the page
asks for.
"""

import html
import json
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

PROBE = """<script>
window.addEventListener("load", () => {
  const column = (table, i) => [...table.tBodies[0].rows].map(row => row.cells[i].textContent);
  const tables = [...document.querySelectorAll("table")].map(table =>
    [...table.tHead.rows[0].cells].map((head, i) => {
      const found = [column(table, i)];
      for (let click = 0; click < 2; click++) { head.click(); found.push(column(table, i)); }
      return found;
    }));
  const images = [...document.images].map(i => ({alt: i.alt, width: i.naturalWidth}));
  const found = document.createElement("pre");
  found.id = "found";
  found.textContent = JSON.stringify({images, tables});
  document.body.replaceChildren(found);
});
</script>"""


@dataclass(frozen=True)
class Seen:
    """What a page did: images (alt, natural width), columns of each table (as given, after one
    click, after two), lines on the console, paths that were asked for.
    """

    images: list[dict]
    tables: list[list[list[list[str]]]]
    console: list[str]
    requests: list[str]


class Browser:
    """Headless Chromium with a profile of its own in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder

    @staticmethod
    def program() -> str | None:
        """Path of a Chromium, if there is one."""
        names = ("chromium", "chromium-browser", "google-chrome")
        return next(filter(None, map(shutil.which, names)), None)

    def open(self, page: str) -> Seen:
        """Open a page given as text."""
        content, requests = (page + PROBE).encode(), []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 (the base class's name)
                requests.append(self.path)
                self.send_response(200 if self.path == "/" else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(content if self.path == "/" else b"")

            def log_message(self, *_):
                pass

        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            done = subprocess.run(
                [
                    self.program(), "--headless", "--no-sandbox", "--disable-gpu",
                    "--no-first-run", "--disable-background-networking",
                    "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
                    f"--user-data-dir={self.folder}", "--dump-dom",
                    f"http://127.0.0.1:{server.server_port}/",
                ],
                capture_output=True,
                text=True,
                timeout=300,
            )  # fmt: skip
            server.shutdown()
        found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
        assert found, done.stderr[-2000:]
        console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        return Seen(**json.loads(html.unescape(found[1])), console=console, requests=requests)

    def sheets(self, page: str) -> int:
        """How many sheets a page given as text prints on."""
        source, printed = self.folder / "page.html", self.folder / "page.pdf"
        source.write_text(page, encoding="utf-8")
        done = subprocess.run(
            [
                self.program(), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                f"--user-data-dir={self.folder / 'profile'}", f"--print-to-pdf={printed}",
                source.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=300,
        )  # fmt: skip
        assert printed.is_file(), done.stderr[-2000:]
        return len(re.findall(rb"/Type /Page\b(?!s)", printed.read_bytes()))
