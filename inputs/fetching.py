"""Fetching a text from the web, with its size and checksum held to what was announced.

Only http and https, also after a redirect. Nothing is written for good: the bytes go through an unnamed temporary file,
so that an interrupted download leaves nothing behind. The caller decides where they are kept.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import IO

from engine.errors import TextError
from inputs.catalogue import Entry, find

LIMIT = 2 * 1024**3  # bytes
TIMEOUT = 30.0  # seconds without a single byte
PIECE = 64 * 1024
SLACK = 2  # an unpinned text may be this many times as large as the catalogue says

Progress = Callable[[int, int | None], None]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https down to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme.lower()
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise TextError(
                f"{_shown(req.full_url)} leads on to {_shown(newurl)}, which is not a safe address; "
                "download it yourself and add the file."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(
    source: Entry | str,
    progress: Progress | None = None,
    timeout: float = TIMEOUT,
    limit: int = LIMIT,
) -> bytes:
    """The bytes of a web entry, of the entry of that name, or of an http(s) address.

    `progress` is called with the bytes so far and the bytes in all (None when nobody knows). `timeout` is in seconds,
    for each wait on the network; `limit` in bytes. Raises TextError with one sentence when anything is not as
    announced, and NotFound for a name that is not in the catalogue.
    """
    entry = source if isinstance(source, Entry) else None if ":" in source else find(source)
    url = entry.url if entry else str(source)
    if entry and not url:
        raise TextError(f"The text {entry.name} ships with babytui and need not be fetched; use it by its name.")
    _check_address(url)
    digest = entry.sha256 if entry else None
    exact = entry.bytes if entry and digest else None
    if exact is not None:
        limit = min(limit, exact)
    elif entry and entry.bytes:
        limit = min(limit, entry.bytes * SLACK)
    try:
        data = _download(url, progress, timeout, limit, exact)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise TextError(_reason(url, error)) from None
    if exact is not None and len(data) != exact:
        raise TextError(f"{_shown(url)} has {len(data)} bytes instead of {exact}, so it was not kept; try again later.")
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise TextError(f"{_shown(url)} does not have the expected checksum, so it was not kept; try again later.")
    if not data:
        raise TextError(f"{_shown(url)} is empty; check the address.")
    return data


def _download(url: str, progress: Progress | None, timeout: float, limit: int, exact: int | None) -> bytes:
    opener = urllib.request.build_opener(_Redirects)  # honours http_proxy and https_proxy
    request = urllib.request.Request(url, headers={"User-Agent": "babytui", "Accept-Encoding": "identity"})
    with opener.open(request, timeout=timeout) as answer, tempfile.TemporaryFile() as file:
        length = answer.headers.get("Content-Length", "")
        announced = int(length) if length.isascii() and length.isdigit() else None
        if announced is not None and announced > limit:
            raise TextError(f"{_shown(url)} has {announced} bytes, more than the {limit} allowed; it was not fetched.")
        total = announced if announced is not None else exact
        done, told = 0, 0.0
        while piece := answer.read1(PIECE):
            done += len(piece)
            if done > limit:
                raise TextError(f"{_shown(url)} sent more than the {limit} bytes allowed, so it was stopped.")
            file.write(piece)
            if progress and time.monotonic() - told > 0.05:  # a screen needs no more than 20 a second
                told = time.monotonic()
                progress(done, total)
        if announced is not None and done < announced:
            raise TextError(f"The download of {_shown(url)} broke off at {done} of {announced} bytes; try again.")
        if progress:
            progress(done, total)
        file.seek(0)
        return file.read()


def _check_address(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        host, scheme = parts.hostname, parts.scheme.lower()
        _ = parts.port  # raises ValueError when it is not a number
    except ValueError:
        raise TextError(f"{_shown(url)} is not a web address; give one that starts with https://.") from None
    if scheme not in ("http", "https"):
        raise TextError(f"{_shown(url)} is not a web address; only http and https can be fetched.")
    if not host or any(letter.isspace() or not letter.isprintable() for letter in url):
        raise TextError(f"{_shown(url)} is not a web address; give one that starts with https:// and has no spaces.")


def _reason(url: str, error: BaseException) -> str:
    """One sentence for what went wrong on the way."""
    shown = _shown(url)
    host = urllib.parse.urlsplit(url).hostname
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code in (404, 410):
            return f"There is nothing at {shown} (HTTP {error.code}); check the address."
        if 300 <= error.code < 400:  # urllib refuses a circle of redirects, and most schemes, by itself
            return f"{shown} leads on to where babytui will not follow; download it yourself and add the file."
        return f"{host} refused {shown} (HTTP {error.code} {_shown(str(error.reason))}); try again later."
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"{host} did not answer in time; check the network and try again."
    if isinstance(cause, ssl.SSLError):
        return f"The certificate of {host} could not be trusted, so {shown} was not fetched."
    if isinstance(cause, socket.gaierror):
        return f"{host} could not be found; check the address and whether this computer is online."
    if isinstance(cause, ConnectionRefusedError):
        return f"{host} refused the connection; check the address or try again later."
    if isinstance(cause, http.client.IncompleteRead | ConnectionResetError):
        return f"The download of {shown} broke off; try again."
    if isinstance(cause, UnicodeError):
        return f"{shown} is not a web address; letters outside of ASCII must be written as %XX."
    return f"{shown} could not be fetched ({_shown(str(cause))}); check the network and try again."


def _shown(words: str) -> str:
    """For a message: control characters made visible, and no password from an address."""
    parts = urllib.parse.urlsplit(words) if "@" in words else None
    if parts and parts.hostname and parts.netloc.count("@"):
        words = words.replace(parts.netloc, parts.netloc.rsplit("@", 1)[1])
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in words)
