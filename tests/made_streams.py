"""Streams served on loopback for tests: MJPEG over HTTP, and H.264 over RTSP (RFC 2326, RFC 6184)."""

from __future__ import annotations

import contextlib
import re
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import cv2
import numpy as np

FPS = 25
Pictures = list[np.ndarray]  # BGR, all of one size; sent in turn, again and again


class _Server:
    """A stream that can be cut and served again at the same port; a context manager."""

    def __init__(self, pictures: Pictures, port: int = 0) -> None:
        self.alive = True
        self.server = self.make(pictures, port)
        self.server.daemon_threads = True  # type: ignore[attr-defined]
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def make(self, pictures: Pictures, port: int) -> socketserver.BaseServer:
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.alive = False
        self.server.shutdown()
        self.server.server_close()


class MjpegServer(_Server):
    """`url` gives multipart/x-mixed-replace, as network cameras do."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/camera.mjpg"

    def make(self, pictures: Pictures, port: int) -> socketserver.BaseServer:
        jpegs = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]
        stream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
                self.end_headers()
                with contextlib.suppress(OSError):
                    for jpeg in in_real_time(jpegs, stream):
                        head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)


class RtspServer(_Server):
    """`url` gives H.264 by RTSP to any number of players."""

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/camera"

    def make(self, pictures: Pictures, port: int) -> socketserver.BaseServer:
        frames = h264(pictures)
        stream = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    while (request := self._request()) is not None and self._answer(*request):
                        pass
                    if request is not None:
                        self._play()

            def _request(self) -> tuple[str, str] | None:
                """Method and CSeq."""
                lines: list[str] = []
                while line := self.rfile.readline().decode().strip():
                    lines.append(line)
                if not lines:
                    return None
                number = next((x.split(":")[1].strip() for x in lines if x.lower().startswith("cseq")), "0")
                return lines[0].split()[0], number

            def _answer(self, method: str, number: str) -> bool:
                """Answers; False once PLAY has come."""
                body = ""
                head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1\r\n"
                if method == "OPTIONS":
                    head += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
                elif method == "DESCRIBE":
                    body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                    body += "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track\r\n"
                    head += f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
                elif method == "SETUP":
                    head += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
                self.wfile.write(f"{head}\r\n{body}".encode())
                return method != "PLAY"

            def _play(self) -> None:
                count = 0
                for k, units in enumerate(in_real_time(frames, stream)):
                    for unit in units:
                        last = 0x80 if unit is units[-1] else 0
                        rtp = struct.pack(">BBHII", 0x80, last | 96, count & 0xFFFF, 90_000 * k // FPS, 1)
                        self.wfile.write(b"$\0" + struct.pack(">H", len(rtp) + len(unit)) + rtp + unit)
                        count += 1

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        return socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler)


def in_real_time(items: list, stream: _Server) -> Iterator:
    """The items in turn at FPS, while the stream is alive."""
    began = time.monotonic()
    for k in range(10**9):
        time.sleep(max(0.0, began + k / FPS - time.monotonic()))
        if not stream.alive:
            return
        yield items[k % len(items)]


def h264(pictures: Pictures) -> list[list[bytes]]:
    """The NAL units of each picture; any of them can be the first."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = pictures[0].shape[:2]
    encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", Fraction(FPS), Fraction(1, FPS)
    # Key frames only: a player may come at any moment, and the pictures are sent again and again.
    encoder.options = {"tune": "zerolatency", "g": "1", "crf": "30", "x264-params": "repeat-headers=1"}
    coded: list[list[bytes]] = []
    for k, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, "bgr24")
        frame.pts = k
        for packet in encoder.encode(frame):
            coded.append([unit for unit in re.split(b"\0\0\0?\1", bytes(packet)) if unit])
    assert len(coded) == len(pictures)
    return coded
