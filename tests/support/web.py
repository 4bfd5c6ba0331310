"""A web server on loopback that serves files, and can misbehave."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@contextmanager
def serve_files(files: dict[str, bytes], *, cut: int | None = None, password: str | None = None) -> Iterator[str]:
    """Serve files from memory, without range requests; yields the server's URL without a slash at its end.

    Args:
        files: content by path, without the slash at its beginning.
        cut: close the connection after that many bytes, although more were announced.
        password: ask for HTTP Basic authentication as `ann` with this password.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            expected = "Basic " + base64.b64encode(f"ann:{password}".encode()).decode()
            if password is not None and self.headers.get("Authorization") != expected:
                self.send_error(401)
                return
            data = files.get(self.path.partition("?")[0].lstrip("/"))
            if data is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data if cut is None else data[:cut])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
