"""Tell people, where the environment names whom: `NOTIFY_WEBHOOK` a URL, `NOTIFY_EMAIL` addresses, by way of `SMTP_URL`.

It must never be in the way of what it tells about: whatever fails is a sentence, and takes half a minute at most. Such a
sentence holds nothing of a URL but its host, for the rest may be a secret.
"""

import json
import os
import smtplib
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit

from .. import clock
from ..errors import ProjectError, UsageError

WEBHOOK, EMAIL, SMTP = "NOTIFY_WEBHOOK", "NOTIFY_EMAIL", "SMTP_URL"
SECONDS = 10.0  # that a receiver may be silent
PAUSE = 1.0  # before the second try
PATIENCE = 25.0  # for both tries: a receiver that sends a byte now and then is never silent for long


def notify(subject: str, text: str, facts: dict[str, Any]) -> list[str]:
    """Tell everyone whom the environment names; with nothing set, nobody.

    Args:
        subject: what happened, in a few words; where, if more than one project tells.
        text: what there is to know, and to do.
        facts: the same for programs, by name.

    Returns:
        A sentence for each way that failed; it never raises.
    """
    ways: dict[str, Callable[[str, str, dict[str, Any]], None]] = {WEBHOOK: _post, EMAIL: _mail}
    failed: dict[str, str] = {}

    def tell(name: str) -> None:
        try:
            ways[name](_line(subject), str(text), _plain(facts) | {"time": clock.now().isoformat(timespec="seconds")})
        except Exception as error:  # whatever it is, there are more important things than a message
            failed[name] = _why(error)
        else:
            failed.pop(name)

    threads = []
    for name in ways:
        if not os.environ.get(name, "").strip():
            continue
        thread = threading.Thread(target=tell, args=(name,), daemon=True)
        failed[name] = f"it took longer than {PATIENCE:g} s"
        try:
            thread.start()
        except RuntimeError:
            failed[name] = "the machine has no thread left"
        else:
            threads.append(thread)
    end = clock.seconds() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, end - clock.seconds()))
    return [f"The notification by {name} failed: {why}." for name, why in failed.copy().items()]


def _post(subject: str, text: str, facts: dict[str, Any]) -> None:
    """Send JSON; chats read `text`, so that it says all."""
    url = _url(WEBHOOK, ("http", "https"), "https://example.com/hook")
    content = facts | {"subject": subject, "text": f"{subject}\n\n{text}"}
    # Names of files may hold what is no Unicode.
    body = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    request = urllib.request.Request(url.geturl(), body, {"Content-Type": "application/json; charset=utf-8"})  # noqa: S310  http or https, as above
    # A redirect would be followed without the body, and look like a success.
    opener = urllib.request.build_opener(_Stay)
    _twice(lambda: opener.open(request, timeout=SECONDS).close())


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


def _mail(subject: str, text: str, facts: dict[str, Any]) -> None:
    """Send an e-mail; a password goes over an encrypted connection or not at all."""
    to = [address.strip() for address in os.environ[EMAIL].split(",") if address.strip()] or [""]
    if any(a.count("@") != 1 or not a.isprintable() or set(a) & set(' <>"') for a in to):
        raise UsageError(f"{EMAIL} must be addresses such as a@example.com,b@example.com")
    if not os.environ.get(SMTP, "").strip():
        raise UsageError(f"{SMTP} does not say which server sends it")
    url = _url(SMTP, ("smtp", "smtps"), "smtps://user:password@mail.example.com")
    user, password = unquote(url.username or ""), unquote(url.password or "")

    message = EmailMessage()
    message["Subject"], message["To"] = subject, ", ".join(to)
    message["From"] = user if "@" in user else to[0]
    message["Date"] = format_datetime(clock.now())
    # Made once: a mailbox that gets both tries shows one.
    message["Message-ID"] = make_msgid(domain=message["From"].addresses[0].domain)
    told = "\n".join(f"{name}: {value}" for name, value in facts.items() if not isinstance(value, list | dict))
    message.set_content(f"{text}\n\n{told}\n".encode("utf-8", "replace").decode())

    def send() -> None:
        host, port, safe = str(url.hostname), url.port or 0, ssl.create_default_context()
        with (
            smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=safe)
            if url.scheme == "smtps"
            else smtplib.SMTP(host, port, timeout=SECONDS)
        ) as server:
            if user and url.scheme == "smtp":
                server.ehlo()
                if not server.has_extn("starttls"):
                    raise UsageError(f"{host} offers no encryption, so that the password was not sent")
                server.starttls(context=safe)
            if user:
                server.login(user, password)
            if refused := server.send_message(message):
                raise UsageError(f"{host} refused {', '.join(refused)}")

    _twice(send)


def _twice(send: Callable[[], None]) -> None:
    try:
        return send()
    except smtplib.SMTPAuthenticationError:  # the same wrong password again may lock the account
        raise
    except (OSError, HTTPException):
        pass
    time.sleep(PAUSE)
    send()


def _url(name: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    """Read a URL of the environment; what it is must not be told."""
    try:
        url = urlsplit(os.environ[name].strip())
        if url.scheme in schemes and url.hostname and url.port != 0 and (name != WEBHOOK or "@" not in url.netloc):
            return url
    except ValueError:  # a port or an IPv6 address that is none
        pass
    raise UsageError(f"{name} must be a URL such as {example}")


def _why(error: Exception) -> str:
    """Say what went wrong in words that hold nothing of a URL; those of an exception may."""
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, ProjectError):
        return str(error)
    if isinstance(error, HTTPError):
        return f"the answer was {error.code}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"the answer was {error.smtp_code}"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"the server refused {', '.join(error.recipients)}"
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):  # smtplib makes another of it
        return f"no answer within {SECONDS:g} s"
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


def _line(text: str) -> str:
    """One line: a line break in a header would begin another header."""
    shown = "".join(c if c.isprintable() else " " for c in str(text))
    return " ".join(shown.split())


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """As JSON takes it: what it does not know, and numbers that are none, as text."""
    plain: dict[str, Any] = json.loads(json.dumps(facts, default=str), parse_constant=str)
    return plain
