"""Fetching from a server on this computer that does what it should, and then what it should not."""

from __future__ import annotations

import hashlib
import itertools
import socket
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from engine.errors import NotFound, TextError
from inputs import fetching
from inputs.catalogue import Entry
from inputs.fetching import fetch
from inputs.reading import read_bytes

BODY = b"It was a fine day in Thimble Valley.\n" * 8000
SIZE = len(BODY)
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server(BaseHTTPRequestHandler):
    stop = threading.Event()

    def do_GET(self):
        getattr(self, "get_" + self.path.strip("/").split("/")[0])()

    def answer(self, body=BODY, length=None, code=200, **headers):
        self.send_response(code)
        if length != "none":
            self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass

    def get_good(self):
        self.answer()

    def get_unsized(self):
        self.answer(length="none")

    def get_endless(self):
        self.answer(b"", length="none")
        try:
            while not self.stop.is_set():
                self.wfile.write(b"more and more " * 5000)
        except OSError:
            pass

    def get_cut(self):
        self.answer(BODY[:1000], length=len(BODY))

    def get_huge(self):
        self.answer(b"x", length=10**13)

    def get_empty(self):
        self.answer(b"")

    def get_missing(self):
        self.answer(b"no", code=404)

    def get_broken(self):
        self.answer(b"no", code=503)

    def get_silent(self):
        self.stop.wait(5)

    def get_nonsense(self):
        self.wfile.write(b"what?\r\n\r\n")

    def get_moved(self):
        self.answer(b"", code=302, Location="/good")

    def get_file(self):
        self.answer(b"", code=302, Location="file:///etc/passwd")

    def get_ftp(self):
        self.answer(b"", code=301, Location="ftp://127.0.0.1/a.txt")

    def get_round(self):
        self.answer(b"", code=302, Location="/round")

    def log_message(self, *_args):
        pass


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    Server.stop.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def entry(url, size=SIZE, digest=DIGEST):
    return Entry("good", "Good", "web", "note", url=url, announced_bytes=size, announced_sha256=digest)


def refused(call, *words):
    with pytest.raises(TextError) as caught:
        call()
    message = str(caught.value)
    assert message.endswith(".") and message.isprintable()
    for word in words:
        assert word in message, message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_text_is_fetched_with_progress_and_read(address):
    seen = []
    data = fetch(address + "/good", progress=lambda done, total: seen.append((done, total)))
    assert data == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert all(one[0] <= two[0] for one, two in itertools.pairwise(seen))
    assert read_bytes("good.txt", data).text.encode() == BODY


def test_the_size_is_unknown_when_the_server_does_not_say(address):
    seen = []
    assert fetch(address + "/unsized", progress=lambda *step: seen.append(step)) == BODY
    assert seen[-1] == (len(BODY), None)


def test_an_entry_is_held_to_its_size_and_checksum(address):
    assert fetch(entry(address + "/good")) == BODY
    refused(lambda: fetch(entry(address + "/good", digest="0" * 64)), "checksum")
    refused(lambda: fetch(entry(address + "/good", size=len(BODY) - 1)), f"{len(BODY)} bytes")
    refused(lambda: fetch(entry(address + "/good", size=len(BODY) + 1)), f"instead of {len(BODY) + 1}")
    refused(lambda: fetch(entry(address + "/unsized", size=100)), "more than the 100 bytes")
    assert fetch(entry(address + "/good", size=len(BODY) - 1, digest=None)) == BODY  # not pinned: about right will do
    refused(lambda: fetch(entry(address + "/good", size=1000, digest=None)), "more than the 2000")


@pytest.mark.parametrize(("path", "words"), [
    ("/missing", ["404", "check the address"]), ("/broken", ["503", "try again later"]), ("/empty", ["empty"]),
    ("/cut", ["broke off", "1000 of"]), ("/huge", ["10000000000000 bytes", "not fetched"]),
    ("/nonsense", ["could not be fetched"]), ("/file", ["leads on", "add the file"]),
    ("/ftp", ["ftp://", "not a safe address"]), ("/round", ["leads on"]),
])
def test_what_goes_wrong_is_said(address, path, words):
    refused(lambda: fetch(address + path, timeout=3), *words)


def test_an_endless_answer_is_stopped_at_the_limit(address):
    refused(lambda: fetch(address + "/endless", limit=500_000, timeout=3), "500000", "stopped")


def test_silence_ends_at_the_timeout(address):
    refused(lambda: fetch(address + "/silent", timeout=0.2), "in time")


def test_redirects_on_the_web_are_followed(address):
    assert fetch(address + "/moved") == BODY


def test_refused_and_unknown_hosts(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refused(lambda: fetch(f"http://127.0.0.1:{port}/a", timeout=2), "refused the connection")

    def unknown(*_args, **_options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    refused(lambda: fetch("https://nowhere.invalid/a.txt"), "nowhere.invalid could not be found", "online")


@pytest.mark.parametrize("url", [
    "file:///etc/passwd", "ftp://example.org/a", "data:text/plain,hi", "http://", "https:///a", "http://[1", "http://a:b/",
    "http://exa mple.org/", "javascript:alert(1)", "http://example.org/a\nb", "HTTP:example.org",
])
def test_only_web_addresses(url, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *_a, **_o: pytest.fail("connected"))
    refused(lambda: fetch(url), "not a web address")


def test_a_password_in_an_address_is_not_shown(monkeypatch):
    with pytest.raises(TextError) as caught:
        fetch("ftp://me:secret@example.org/a")
    assert "secret" not in str(caught.value)


def test_names_from_the_catalogue():
    refused(lambda: fetch("nursery"), "ships with babytui")
    with pytest.raises(NotFound):
        fetch("no-such-text")


def test_a_proxy_from_the_environment_is_used(address, monkeypatch):
    class Proxy(Server):
        def do_GET(self):
            asked.append(self.path)
            self.answer()

    asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    try:
        assert fetch("http://example.invalid/a.txt", timeout=3) == BODY
    finally:
        server.shutdown()
        server.server_close()
    assert asked == ["http://example.invalid/a.txt"]


def test_an_interrupt_leaves_nothing_behind(address, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files = []
    make = tempfile.TemporaryFile
    monkeypatch.setattr(fetching.tempfile, "TemporaryFile", lambda: files.append(make()) or files[-1])

    def interrupt(_done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(address + "/good", progress=interrupt)
    assert files and all(file.closed for file in files)
    assert list(tmp_path.iterdir()) == []
