"""What people are told: that it arrives whole at a webhook and by e-mail, harms nobody where it fails, tells no secret."""

import email.message
import email.policy
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from {{ cookiecutter.__package }} import clock
from {{ cookiecutter.__package }}.watch import notify as module
from {{ cookiecutter.__package }}.watch.notify import notify

FACTS = {"project": "claims", "severity": 2, "ratio": 0.25}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told but whom a test names, and the second try comes at once."""
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name.startswith(("NOTIFY_", "SMTP_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(module, "PAUSE", 0.01)


class Hook:
    """A receiver on this machine: what was posted to it, and what it answers, an exception for nothing at all."""

    def __init__(self, *answers: int | float | str) -> None:
        self.taken: list[tuple[str, Any]] = []
        self.asked: list[str] = []
        left = [*answers]
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hook.asked.append(self.command)
                self.send_response(200)
                self.end_headers()

            def do_POST(self) -> None:
                hook.asked.append(self.command)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.taken.append((self.path, json.loads(body.decode("utf-8"), parse_constant=_no)))
                answer = left.pop(0) if left else 204
                if isinstance(answer, str):
                    self.wfile.write(answer.encode())
                    return
                if isinstance(answer, float):
                    time.sleep(answer)
                    answer = 204
                self.send_response(answer)
                if 300 <= answer < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/services/T0/s3cret"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _no(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Hook]]:
    """Return `hook(*answers)`, which starts a receiver and names it in the environment."""
    started: list[Hook] = []

    def start(*answers: int | float | str) -> Hook:
        started.append(Hook(*answers))
        monkeypatch.setenv(module.WEBHOOK, started[-1].url)
        return started[-1]

    yield start
    for one in started:
        one.close()


class Mailbox:
    """Keeps what an SMTP server takes; refuses the recipients in `unknown`, and the first `busy` messages."""

    def __init__(self, unknown: str = "", busy: int = 0) -> None:
        self.envelopes: list[Envelope] = []
        self.logins: list[tuple[str, str, bool]] = []
        self.unknown, self.busy = unknown, busy

    async def handle_RCPT(self, _: Any, session: Any, envelope: Envelope, address: str, options: Any) -> str:
        if address == self.unknown:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: Any, session: Any, envelope: Envelope) -> str:
        if self.busy:
            self.busy -= 1
            return "451 come again"
        self.envelopes.append(envelope)
        return "250 OK"

    def login(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        known = (data.login.decode(), data.password.decode())
        self.logins.append((*known, session.ssl is not None))
        return AuthResult(success=known == ("mailer@example.com", "pa:ss/word"), handled=False)

    @property
    def messages(self) -> list[email.message.EmailMessage]:
        contents = [envelope.content for envelope in self.envelopes]
        found = [email.message_from_bytes(c, policy=email.policy.default) for c in contents if isinstance(c, bytes)]
        return [one for one in found if isinstance(one, email.message.EmailMessage)]


@pytest.fixture
def smtp() -> Iterator[Callable[..., str]]:
    """Return `smtp(mailbox, **settings)`, which starts a real server and returns its address."""
    running: list[Controller] = []

    def start(mailbox: Mailbox, **settings: Any) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        running.append(Controller(mailbox, hostname="127.0.0.1", port=port, authenticator=mailbox.login, **settings))
        running[-1].start()
        return f"127.0.0.1:{port}"

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A certificate of this machine's address, which this process trusts."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    (tmp_path / "certificate.pem").write_bytes(made.public_bytes(pem))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    return context


def mail_to(monkeypatch: pytest.MonkeyPatch, url: str, addresses: str = "a@example.com") -> None:
    monkeypatch.setenv(module.EMAIL, addresses)
    monkeypatch.setenv(module.SMTP, url)


# --- what arrives


def test_with_nothing_set_nobody_is_told_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notify("subject", "text", FACTS) == []
    monkeypatch.setenv(module.WEBHOOK, " ")
    monkeypatch.setenv(module.SMTP, "smtp://127.0.0.1:9")  # a server, but nobody to write to
    assert notify("subject", "text", FACTS) == []


def test_a_webhook_gets_all_of_it_as_json(hook: Callable[..., Hook]) -> None:
    received = hook()
    clock.set_now(datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC))
    try:
        assert notify("Model is worse", "AUC fell.\nLook at it.", FACTS) == []
    finally:
        clock.set_now(None)
    ((path, content),) = received.taken
    assert path == "/services/T0/s3cret"
    assert content == {
        "subject": "Model is worse",
        "text": "Model is worse\n\nAUC fell.\nLook at it.",  # all that a chat shows
        "project": "claims",
        "severity": 2,
        "ratio": 0.25,
        "time": "2031-05-06T07:08:09+00:00",
    }


def test_facts_of_any_kind_are_json_in_the_end_and_cannot_take_the_place_of_the_text(hook: Callable[..., Hook]) -> None:
    received = hook()
    facts = {
        "nan": float("nan"), "numpy": np.float64(0.5), "path": Path("a/b"), "when": datetime(2031, 1, 1, tzinfo=UTC),
        "inner": {"x": [1, None, float("inf")]}, "text": "mine", "subject": "mine", "time": "mine",
        "broken": b"caf\xe9.csv".decode("utf-8", "surrogateescape"), "文": "Größe 🚗",
    }  # fmt: skip
    assert notify("s", "t", facts) == []
    ((_, content),) = received.taken
    assert (content["text"], content["subject"], content["time"] != "mine") == ("s\n\nt", "s", True)
    assert (content["nan"], content["numpy"], content["path"]) == ("NaN", 0.5, "a/b")
    assert (content["inner"], content["broken"], content["文"]) == (
        {"x": [1, None, "Infinity"]},
        "caf?.csv",
        "Größe 🚗",
    )


def test_an_e_mail_arrives_in_every_mailbox(monkeypatch: pytest.MonkeyPatch, smtp: Callable[..., str]) -> None:
    mailbox = Mailbox()
    mail_to(monkeypatch, f"smtp://{smtp(mailbox)}", "a@example.com, b@example.com,")
    assert notify("Größe 🚗 falsch", "Zeile eins: ü\n.\nZeile drei", FACTS | {"events": [{"for": "programs"}]}) == []
    (message,), (envelope,) = mailbox.messages, mailbox.envelopes
    assert envelope.rcpt_tos == ["a@example.com", "b@example.com"]
    assert message["Subject"] == "Größe 🚗 falsch"
    assert (message["To"], message["From"]) == ("a@example.com, b@example.com", "a@example.com")
    assert message["Date"].datetime.tzinfo
    assert message["Message-ID"].endswith("@example.com>")
    lines = message.get_content().splitlines()
    assert lines[:4] == ["Zeile eins: ü", ".", "Zeile drei", ""]
    assert lines[4:7] == ["project: claims", "severity: 2", "ratio: 0.25"]
    assert "programs" not in str(lines)
    assert mailbox.logins == []


@pytest.mark.parametrize("subject", ["Alarm\r\nBcc: evil@example.com\r\n\r\nbody", "Alarm\nBcc: evil@example.com"])
def test_a_subject_stays_one_line(
    monkeypatch: pytest.MonkeyPatch, smtp: Callable[..., str], hook: Callable[..., Hook], subject: str
) -> None:
    mailbox, received = Mailbox(), hook()
    mail_to(monkeypatch, f"smtp://{smtp(mailbox)}")
    assert notify(subject, "text", {"project": "a\r\nBcc: b@example.com"}) == []
    (message,), (envelope,) = mailbox.messages, mailbox.envelopes
    assert (message["Bcc"], envelope.rcpt_tos) == (None, ["a@example.com"])
    assert message["Subject"].startswith("Alarm Bcc: evil@example.com")
    assert message.get_content().startswith("text")
    assert received.taken[0][1]["subject"].startswith("Alarm Bcc: evil@example.com")


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_password_goes_over_an_encrypted_connection(
    monkeypatch: pytest.MonkeyPatch, smtp: Callable[..., str], certificate: ssl.SSLContext, scheme: str
) -> None:
    mailbox = Mailbox()
    settings = {"ssl_context": certificate} if scheme == "smtps" else {"tls_context": certificate}
    address = smtp(mailbox, auth_require_tls=scheme == "smtp", **settings)
    mail_to(monkeypatch, f"{scheme}://mailer%40example.com:pa%3Ass%2Fword@{address}")  # pragma: allowlist secret
    assert notify("s", "t", {}) == []
    assert [(user, word) for user, word, _ in mailbox.logins] == [("mailer@example.com", "pa:ss/word")]
    assert mailbox.messages[0]["From"] == "mailer@example.com"
    if scheme == "smtp":
        assert mailbox.logins[0][2], "the connection was encrypted by then"


def test_a_password_is_not_sent_in_clear_nor_to_a_stranger(
    monkeypatch: pytest.MonkeyPatch, smtp: Callable[..., str], certificate: ssl.SSLContext
) -> None:
    mailbox = Mailbox()
    mail_to(monkeypatch, f"smtp://user:s3cret@{smtp(mailbox, auth_require_tls=False)}")  # pragma: allowlist secret
    (said,) = notify("s", "t", {})
    assert "127.0.0.1 offers no encryption" in said
    strangers = (
        f"smtps://user:s3cret@{smtp(mailbox, ssl_context=certificate)}",  # pragma: allowlist secret
        f"smtp://user:s3cret@{smtp(mailbox, tls_context=certificate)}",  # pragma: allowlist secret
    )
    monkeypatch.delenv("SSL_CERT_FILE")
    for url in strangers:
        mail_to(monkeypatch, url)
        (said,) = notify("s", "t", {})
        assert "CERTIFICATE_VERIFY_FAILED" in said
    assert mailbox.logins == mailbox.envelopes == []


# --- what fails


def test_a_second_try_is_made(
    hook: Callable[..., Hook], smtp: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    received, mailbox = hook(500), Mailbox(busy=1)
    mail_to(monkeypatch, f"smtp://{smtp(mailbox)}")
    assert notify("s", "t", FACTS) == []
    assert (len(received.taken), len(mailbox.envelopes)) == (2, 1)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((500, 503), "the answer was 503"),
        ((404, 404), "the answer was 404"),
        ((302, 302), "the answer was 302"),  # not followed as a GET without the body
        ((0.6, 0.6), "no answer within 0.3 s"),
        (("garbage\r\n\r\n", "garbage\r\n\r\n"), "BadStatusLine"),
    ],
)
def test_a_webhook_that_fails_is_told_in_a_sentence(
    hook: Callable[..., Hook], monkeypatch: pytest.MonkeyPatch, answers: tuple[Any, ...], words: str
) -> None:
    received = hook(*answers)
    if isinstance(answers[0], float):
        monkeypatch.setattr(module, "SECONDS", 0.3)
    (said,) = notify("s", "t", FACTS)
    assert said == f"The notification by NOTIFY_WEBHOOK failed: {words}."
    assert received.asked == ["POST", "POST"]


@pytest.mark.parametrize(
    "url",
    [
        "example.com/s3cret",
        "ftp://example.com/s3cret",
        "file:///s3cret",
        "https://",
        "https://[s3cret",
        "http://example.com:s3cret/",
        "http://user:s3cret@example.com/",  # pragma: allowlist secret
    ],
)
def test_an_address_that_is_none_is_told_without_what_it_is(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(module.WEBHOOK, url)
    mail_to(monkeypatch, url)
    hooked, mailed = notify("s", "t", FACTS)
    assert hooked.startswith("The notification by NOTIFY_WEBHOOK failed: NOTIFY_WEBHOOK must be a URL such as https://")
    assert mailed.startswith("The notification by NOTIFY_EMAIL failed: SMTP_URL must be a URL such as smtps://")
    assert "s3cret" not in hooked + mailed


@pytest.mark.parametrize("path", ["s3cret with spaces", "s3cret-é", "s3cret%zz", "s3cret\x01"])
def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv(module.WEBHOOK, f"http://127.0.0.1:9/{path}")
    mail_to(monkeypatch, "smtp://user:s3cret@127.0.0.1:9")  # pragma: allowlist secret
    said = notify("s", "t", FACTS)
    assert len(said) == 2
    assert "s3cret" not in str(said)
    assert "efused" in said[1]


def test_an_e_mail_that_fails_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, smtp: Callable[..., str], certificate: ssl.SSLContext
) -> None:
    def said(url: str | None, addresses: str) -> str:
        mail_to(monkeypatch, url or "", addresses)
        (sentence,) = notify("s", "t", FACTS)
        return sentence.removeprefix("The notification by NOTIFY_EMAIL failed: ")

    mailbox = Mailbox(unknown="gone@example.com")
    url = f"smtp://{smtp(mailbox)}"
    assert said(None, "a@example.com") == "SMTP_URL does not say which server sends it."
    assert said(url, "gone@example.com") == "the server refused gone@example.com."
    assert mailbox.envelopes == []
    assert said(url, "a@example.com,gone@example.com") == "127.0.0.1 refused gone@example.com."
    assert [e.rcpt_tos for e in mailbox.envelopes] == [["a@example.com"]]
    for wrong in ("nobody", "a@example.com\nBcc:", "A <a@example.com>", " , ", "https://example.com/s3cret"):
        assert said(url, wrong) == "NOTIFY_EMAIL must be addresses such as a@example.com,b@example.com."
    locked = Mailbox()
    server = smtp(locked, tls_context=certificate)
    stranger = f"smtp://mailer%40example.com:s3cret@{server}"  # pragma: allowlist secret
    assert said(stranger, "a@example.com") == "the answer was 535."
    assert {word for _, word, _ in locked.logins} == {"s3cret"}
    assert len(locked.logins) <= 2, "smtplib tries two mechanisms, and not again"


def test_who_is_silent_or_slow_does_not_hold_anybody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.3)
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as mute, socket.create_server(("127.0.0.1", 0)) as slow:

        def drip() -> None:
            connection, _ = slow.accept()
            with connection:
                while not stop.wait(0.1):
                    connection.sendall(b"x")

        threading.Thread(target=drip, daemon=True).start()
        monkeypatch.setenv(module.WEBHOOK, f"http://127.0.0.1:{slow.getsockname()[1]}/")
        mail_to(monkeypatch, f"smtp://127.0.0.1:{mute.getsockname()[1]}")
        said = notify("s", "t", FACTS)
        stop.set()
    assert said == [
        "The notification by NOTIFY_WEBHOOK failed: it took longer than 1 s.",
        "The notification by NOTIFY_EMAIL failed: no answer within 0.3 s.",
    ]


def test_one_that_fails_does_not_keep_the_other_from_being_told(
    monkeypatch: pytest.MonkeyPatch, smtp: Callable[..., str]
) -> None:
    mailbox = Mailbox()
    monkeypatch.setenv(module.WEBHOOK, "http://127.0.0.1:9/")
    mail_to(monkeypatch, f"smtp://{smtp(mailbox)}")
    (said,) = notify("s", "t", FACTS)
    assert "NOTIFY_WEBHOOK" in said
    assert len(mailbox.messages) == 1


def test_even_facts_that_cannot_be_told_stop_nobody(hook: Callable[..., Hook]) -> None:
    received = hook()
    facts: dict[str, Any] = {"a": 1}
    facts["itself"] = facts
    (said,) = notify("s", "t", facts)
    assert "ValueError" in said
    assert received.taken == []
