"""The same in a browser: a page with the picture as MJPEG and the keys as buttons, by Python's own http.server.

Only this machine may connect, unless another address is asked for; then the page asks for a token that is drawn at
random. Requests that another site's page makes a browser send are refused.
"""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import cv2

from ...skeleton.errors import InputError
from ..capture import Image
from ..interrupt import Interrupt
from .controls import Controls
from .engine import Engine, Seen
from .page import page
from .picture import waiting_picture

HOST, PORT = "127.0.0.1", 8765
LOOPBACK = ("127.0.0.1", "localhost", "::1")
QUALITY = 80
PATIENCE_S = 0.1
SEND_S = 10.0
"""A browser that takes nothing for so long is given up."""
BUFFER = 128 * 1024
"""Bytes that may lie in a connection's buffer: a slow one skips pictures instead of falling behind."""
_BOUNDARY = "posefix-picture"
_PART = f"--{_BOUNDARY}\r\n".encode()


def parse_address(words: str | None) -> tuple[str, int]:
    """`HOST:PORT`, `HOST`, `:PORT` or `PORT` as (host, port). Raises InputError."""
    host, port = HOST, str(PORT)
    if words and words.isdecimal():
        port = words
    elif words:
        host, _, tail = words.rpartition(":") if words.count(":") == 1 or "]:" in words else (words, "", "")
        host, port = host.strip("[]") or HOST, tail or port
    if not (port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        raise InputError(f"--serve {words}: expected HOST:PORT, e.g. 127.0.0.1:{PORT}")
    return host, int(port)


class Board:
    """The newest picture, for any number of browsers; it becomes a JPEG when the first asks for it.

    Attributes:
        asked: whether anybody has looked so far. closed: no more pictures.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._seen = Seen(waiting_picture("starting"), time.monotonic(), False)
        self._number, self._sent, self._jpeg = 0, 0, (-1, b"")
        self._watchers, self.closed = 0, False
        self.asked = False

    @property
    def watched(self) -> bool:
        """Whether any browser looks."""
        return self._watchers > 0

    def watch(self, change: int) -> None:
        """A browser begins (1) or ends (-1) to look."""
        with self._changed:
            self._watchers += change

    def first_to_send(self, number: int) -> bool:
        """Whether no other browser has got this picture, or a later one, before."""
        with self._changed:
            first, self._sent = number > self._sent, max(number, self._sent)
        return first

    def close(self) -> None:
        """No more pictures."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def put(self, seen: Seen) -> None:
        """The next picture."""
        with self._changed:
            self._seen, self._number = seen, self._number + 1
            self._changed.notify_all()

    def after(self, number: int, patience_s: float) -> tuple[int, Seen]:
        """The newest picture with its number, waiting for one after `number`."""
        self.asked = True
        with self._changed:
            self._changed.wait_for(lambda: self._number > number or self.closed, patience_s)
            return self._number, self._seen

    def jpeg(self, number: int, seen: Seen) -> bytes:
        """That picture as JPEG."""
        with self._encoding:
            if self._jpeg[0] != number:
                self._jpeg = number, as_jpeg(seen.image)
            return self._jpeg[1]


def as_jpeg(image: Image) -> bytes:
    """(H, W, 3) uint8 BGR as a JPEG file."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


class Server:
    """Serves one engine's pictures; a context manager.

    Attributes:
        url: what to open, with the token where one is needed.
        token: None where everybody on this machine may look.

    Raises:
        InputError: the address cannot be used.
    """

    def __init__(self, engine: Engine, address: tuple[str, int]) -> None:
        host, port = address
        self.board, self.token = Board(), None if host in LOOPBACK else secrets.token_urlsafe(16)
        handler = _handler(engine, self.board, self.token)
        try:
            self._http = _Http((host, port), handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"--serve {host}:{port}: {reason.lower()}; choose another address or port"
            ) from None
        self.port = self._http.server_address[1]
        name = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
        name = f"[{name}]" if ":" in name else name
        self.url = f"http://{name}:{self.port}/" + (f"?token={self.token}" if self.token else "")
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.1,), name="serve", daemon=True
        )

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.board.close()
        self._http.shutdown()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        """Binds without asking a name server what this machine is called, which may take long."""
        socketserver.TCPServer.server_bind(self)

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away is no error."""


def _handler(engine: Engine, board: Board, token: str | None) -> type[BaseHTTPRequestHandler]:
    """The class that answers requests of this engine."""

    class Handler(_Handler):
        pass

    Handler.engine, Handler.board, Handler.token = engine, board, token
    return Handler


class _Handler(BaseHTTPRequestHandler):
    engine: Engine
    board: Board
    token: str | None
    timeout = SEND_S
    disable_nagle_algorithm = True  # the end of a picture must not wait for the next

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if not self._allowed():
            return
        if path == "/":
            self._answer(200, "text/html; charset=utf-8", page().encode())
        elif path == "/state":
            self._answer(200, "application/json", json.dumps(self._state()).encode())
        elif path == "/picture.jpg":
            self._answer(200, "image/jpeg", self.board.jpeg(*self.board.after(-1, 0)))
        elif path == "/stream.mjpg":
            self._stream()
        else:
            self._answer(404, "text/plain", b"there is no such page")

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        if not self._allowed():
            return
        key = (parse_qs(parts.query).get("key") or [""])[0]
        if parts.path != "/key" or not self.engine.controls.press(key):
            self._answer(404, "text/plain", b"there is no such key")
            return
        self._answer(200, "application/json", json.dumps(self._state()).encode())

    def _allowed(self) -> bool:
        """Whether the request may be answered; where not, says so."""
        site = self.headers.get("Sec-Fetch-Site", "none")
        follows_link = self.command == "GET" and self.headers.get("Sec-Fetch-Mode") == "navigate"
        foreign = site not in ("none", "same-origin") and not follows_link
        origin = self.headers.get("Origin")
        foreign |= origin is not None and urlsplit(origin).netloc != self.headers.get("Host")
        if self.token is None:
            # Else a page could reach this one by a name of its own that leads to this machine.
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
            problem = "another site's page" if foreign or host not in LOOPBACK else ""
        else:
            given = (parse_qs(urlsplit(self.path).query).get("token") or [""])[0]
            right = hmac.compare_digest(given.encode(), self.token.encode())
            problem = "another site's page" if foreign else "" if right else "the token is missing or wrong"
        if problem:
            self._answer(
                403, "text/plain", f"refused: {problem}; open the address that posefix printed".encode()
            )
        return not problem

    def _state(self) -> dict[str, object]:
        state, meter = self.engine.controls.state, self.engine.meter
        names = ("record", "paused", "mirror", "refine", "help", "quit", "yaw_deg")
        figures = {"fps": round(meter.fps, 1), "latency_ms": round(meter.latency_ms), "frames": meter.frames}
        found = {name: getattr(state, name) for name in names}
        return {**found, **figures, "trouble": self.engine.camera.trouble}

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self._safe_headers()
        self.end_headers()
        self.wfile.write(body)

    def _safe_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")

    def _stream(self) -> None:
        """Pictures until the browser goes away or the demo ends."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self._safe_headers()
        self.end_headers()
        number = -1
        self.board.watch(1)
        try:
            self.wfile.write(_PART)
            while not (self.engine.controls.state.quit or self.board.closed):
                found, seen = self.board.after(number, 1.0)
                if found == number:
                    continue
                number, data = found, self.board.jpeg(found, seen)
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                # The next boundary at once: browsers show a picture when they see where it ends.
                self.wfile.write(head + data + b"\r\n" + _PART)
                if seen.new and self.board.first_to_send(number):
                    self.engine.meter.shown(seen.taken_s, time.monotonic())
        except OSError:
            pass
        finally:
            self.board.watch(-1)
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Silent: lines would hold the token."""


def await_browser(server: Server, controls: Controls, interrupt: Interrupt) -> None:
    """Returns when somebody looks, quits, or a signal comes: a clip may be over before its page is open."""
    while not (server.board.asked or controls.state.quit or interrupt.signal is not None):
        time.sleep(PATIENCE_S)


def show_in_browser(engine: Engine, server: Server, interrupt: Interrupt) -> None:
    """Serves the engine's pictures until the source ends, somebody quits or a signal comes. Raises PosefixError."""
    for seen in engine.pictures(PATIENCE_S):
        if interrupt.signal is not None:
            return
        if seen is not None:
            server.board.put(seen)
            if seen.new and not server.board.watched:
                engine.meter.shown(seen.taken_s, time.monotonic())
