"""An HTTP server on 127.0.0.1 that imitates figshare: its API, its files, and its ways of failing."""

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """One answer: what is sent, and how it goes wrong."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    stop_after: int | None = None  # bytes, of what is sent this time
    pause: float = 0.0  # seconds before the answer
    drip: float = 0.0  # seconds between single bytes
    hang_after: int | None = None  # bytes; the connection stays open, and nothing comes any more
    ranges: bool = True  # whether Range is understood
    announce: bool = True  # whether Content-Length is sent


@dataclass
class Request:
    """What a client asked."""

    path: str
    headers: dict[str, str]


class ImitationServer:
    """A context manager; `answers` maps a path to its answers: one after another, the last for ever."""

    def __init__(self):
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[Request] = []
        self.gate = threading.Event()  # ends whatever hangs
        self._articles: dict[int, list[dict]] = {}
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.gate.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def serve(self, path, *answers):
        """Set the answers of a path."""
        self.answers[path] = [answer if isinstance(answer, Answer) else Answer(answer) for answer in answers]

    def add_file(self, article, file_id, name, body, **changes):
        """Put a file into an article: the API lists it, and both of its addresses serve it."""
        entry = {
            "id": file_id,
            "name": name,
            "size": len(body),
            "is_link_only": False,
            "download_url": f"{self.url}/files/{file_id}",
            "supplied_md5": "",
            "computed_md5": hashlib.md5(body).hexdigest(),
            "mimetype": "application/octet-stream",
        }
        self._articles.setdefault(article, []).append(entry | changes)
        files = self._articles[article]
        # the article lists ten files at most, as figshare's does
        self.serve(f"/v2/articles/{article}", json.dumps({"id": article, "files": files[:10]}).encode())
        self.serve(f"/v2/articles/{article}/files?page=1&page_size=100", json.dumps(files).encode())
        self.serve(f"/files/{file_id}", body)
        self.serve(f"/v2/file/download/{file_id}", body)

    def asked(self, start=""):
        """Paths that were asked for, in order."""
        return [request.path for request in self.requests if request.path.startswith(start)]

    def _next(self, path):
        with self._lock:
            answers = self.answers.get(path, [Answer(b"not here", 404)])
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def _handler(outer):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.requests.append(Request(self.path, dict(self.headers)))
                try:
                    self.answer(outer._next(self.path))
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def answer(self, answer):
                outer.gate.wait(answer.pause)
                status, body, more = answer.status, answer.body, dict(answer.headers)
                asked = self.headers.get("Range")
                if asked and answer.ranges and status == 200:
                    start = int(asked.removeprefix("bytes=").rstrip("-"))
                    if start >= len(body):
                        status, body = 416, b""
                    else:
                        status = 206
                        more["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                        body = body[start:]
                self.send_response(status)
                if answer.announce:
                    self.send_header("Content-Length", str(len(body)))
                else:
                    self.send_header("Connection", "close")
                for name, value in more.items():
                    self.send_header(name, value)
                self.end_headers()
                self.send_body(answer, body)

            def send_body(self, answer, body):
                if answer.drip:
                    for position in range(len(body)):
                        self.wfile.write(body[position : position + 1])
                        self.wfile.flush()
                        if outer.gate.wait(answer.drip):
                            break
                elif answer.hang_after is not None:
                    self.wfile.write(body[: answer.hang_after])
                    self.wfile.flush()
                    outer.gate.wait(30)
                else:
                    self.wfile.write(body[: answer.stop_after])
                whole = answer.stop_after is None and answer.hang_after is None and not answer.drip
                if not whole or not answer.announce:
                    self.close_connection = True

        return Handler


def wait_until(condition, seconds=10):
    """Wait for a condition, for tests of several processes."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
