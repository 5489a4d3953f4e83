"""Certificates are checked, against authorities that the operator can choose."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.errors import TransientError
from tests.transfer.conftest import Fetch, media

_CERTIFICATE = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
_NAMES = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for loopback, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        words = "the TLS tests need the openssl program, to make a certificate: install it (package openssl) and run again"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(words)
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(  # noqa: S603
        [openssl, *_CERTIFICATE, *_NAMES, "-out", str(made[0]), "-keyout", str(made[1])], check=True, capture_output=True
    )
    return made


@pytest.fixture
def secure_port(certificate: tuple[Path, Path]) -> Iterator[int]:
    """A TLS server that answers any request with a recording."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    body = media(5000)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(plain, server_side=True) as connection:
                        connection.recv(65536)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n" + body)
                except OSError:
                    plain.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)


def test_an_unknown_authority_is_refused(secure_port: int, fetch: Fetch) -> None:
    """A certificate that nobody vouches for ends the transfer before the link is sent."""
    with pytest.raises(TransientError, match="certificate"):
        fetch(f"https://127.0.0.1:{secure_port}/a")


def test_a_chosen_authority_is_trusted(
    secure_port: int, certificate: tuple[Path, Path], fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE brings in the authorities of one's own network, as it does for the API clients."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with fetch(f"https://127.0.0.1:{secure_port}/a") as got:
        assert b"".join(got.chunks()) == media(5000)
