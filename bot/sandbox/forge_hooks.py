"""Sends the sandbox forge's webhooks: signed, in order, from one thread, each once and never again by itself."""

from __future__ import annotations

import hashlib
import hmac
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

import httpx2
import msgspec

from bot.sandbox.forge_state import Hook, Refusal, Repository, State, iso

LARGEST_PAYLOAD = 25 * 1024 * 1024
_KEPT_RESPONSE = 4096
_KEPT_DELIVERIES = 20_000
_TIMEOUT = 10.0


@dataclass(slots=True)
class Delivery:
    """One request to one hook, and what came of it; `status_code` is None until it was sent."""

    id: int
    guid: str
    hook: Hook
    repository: Repository
    event: str
    action: str | None
    headers: dict[str, str]
    body: bytes = field(repr=False)
    redelivery: bool = False
    delivered_at: float | None = None
    duration: float = 0.0
    status: str = "pending"
    status_code: int | None = None
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str = ""

    def payload(self) -> Any:
        """What the event says."""
        form = self.headers["Content-Type"] != "application/json"
        return msgspec.json.decode(parse_qs(self.body)[b"payload"][0] if form else self.body)

    def summary(self) -> dict[str, Any]:
        """The delivery as the hook's list shows it."""
        return {
            "id": self.id,
            "guid": self.guid,
            "delivered_at": iso(self.delivered_at),
            "redelivery": self.redelivery,
            "duration": round(self.duration, 2),
            "status": self.status,
            "status_code": self.status_code or 0,
            "event": self.event,
            "action": self.action,
            "installation_id": None,
            "repository_id": self.repository.id,
            "throttled_at": None,
        }

    def details(self) -> dict[str, Any]:
        """The delivery with its request and response."""
        response = {"headers": self.response_headers, "payload": self.response_body}
        request = {"headers": self.headers, "payload": self.payload()}
        return {**self.summary(), "url": self.hook.url, "request": request, "response": response}


class Deliveries:
    """The queue and the log of webhook requests, with knobs that make the network worse than it is."""

    def __init__(self, state: State, *, timeout: float = _TIMEOUT) -> None:
        self._log: dict[int, Delivery] = {}
        self._state = state
        self._timeout = timeout
        self._queue: deque[Delivery] = deque()
        self._held: list[Delivery] = []
        self._holding = False
        self._duplicate = self._lose = 0
        self._busy = self._closed = False
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    # Sending

    def send(self, repository: Repository, event: str, payload: Callable[[], Mapping[str, Any]]) -> None:
        """Queue an event for every active hook that asked for it."""
        hooks = [hook for hook in repository.hooks.values() if hook.active and {event, "*"} & set(hook.events)]
        said = payload() if hooks else {}
        for hook in hooks:
            self.send_to(hook, repository, event, said)

    def send_to(self, hook: Hook, repository: Repository, event: str, payload: Mapping[str, Any]) -> None:
        """Queue an event for one hook; like on GitHub, a payload of more than 25 MB is never sent."""
        body = msgspec.json.encode(payload)
        if len(body) > LARGEST_PAYLOAD:
            return
        if hook.content_type == "form":
            body = urlencode({"payload": body}).encode()
        guid, action = str(uuid.uuid4()), payload.get("action")
        headers = _headers(hook, repository, event, guid, body)
        number = self._state.next_id()
        self._enqueue(Delivery(number, guid, hook, repository, event, action, headers, body))

    def redeliver(self, delivery_id: int) -> Delivery:
        """Send a delivery again: another id, the same GUID, the same body."""
        old = self.find(delivery_id)
        fresh = {"delivered_at": None, "duration": 0.0, "status": "pending", "status_code": None}
        again = replace(old, id=self._state.next_id(), redelivery=True, **fresh)  # type: ignore[arg-type]
        again.response_headers, again.response_body = {}, ""
        self._enqueue(again)
        return again

    def find(self, delivery_id: int) -> Delivery:
        """The delivery of that id, 404 without one."""
        with self._wake:
            found = self._log.get(delivery_id)
        if found is None:
            raise Refusal(404, "Not Found")
        return found

    def log(self) -> list[Delivery]:
        """The last deliveries, oldest first, also those not sent yet."""
        with self._wake:
            return list(self._log.values())

    # Knobs

    def hold(self) -> None:
        """Keep back what is sent from now on."""
        with self._wake:
            self._holding = True

    def release(self, order: str = "kept", seed: int = 0) -> None:
        """Send what was kept back: in the order `kept`, `reversed` or `shuffled`."""
        with self._wake:
            held, self._held, self._holding = self._held, [], False
            if order == "reversed":
                held.reverse()
            elif order == "shuffled":
                random.Random(seed).shuffle(held)  # noqa: S311 -- an order for a test, not a secret
            self._put(held)

    def duplicate_next(self, times: int) -> None:
        """Send the next deliveries twice, as a redelivery by an impatient person would be."""
        with self._wake:
            self._duplicate += times

    def lose_next(self, times: int) -> None:
        """Log the next deliveries as failed without having sent them."""
        with self._wake:
            self._lose += times

    def settle(self, timeout: float = 30.0) -> None:
        """Wait until everything that is not held back has been sent and answered."""
        with self._wake:
            if not self._wake.wait_for(lambda: not self._queue and not self._busy, timeout):
                raise TimeoutError(f"{len(self._queue)} deliveries are still unsent after {timeout:g} s")

    def close(self) -> None:
        """Stop sending; what is queued is dropped."""
        with self._wake:
            self._closed = True
            self._queue.clear()
            self._wake.notify_all()
            thread = self._thread
        if thread:
            thread.join(self._timeout + 1)

    # Inside

    def _enqueue(self, delivery: Delivery) -> None:
        with self._wake:
            self._log[delivery.id] = delivery
            if len(self._log) > _KEPT_DELIVERIES:
                del self._log[next(iter(self._log))]
            if self._holding:
                self._held.append(delivery)
            else:
                self._put([delivery])

    def _put(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            self._queue.append(delivery)
            if self._duplicate:
                self._duplicate -= 1
                self._queue.append(delivery)
        if self._thread is None and self._queue and not self._closed:
            self._thread = threading.Thread(target=self._run, name="sandbox-webhooks", daemon=True)
            self._thread.start()
        self._wake.notify_all()

    def _run(self) -> None:
        with httpx2.Client(timeout=self._timeout, trust_env=False, follow_redirects=False) as client:
            while True:
                with self._wake:
                    self._busy = False
                    self._wake.notify_all()
                    self._wake.wait_for(lambda: self._queue or self._closed)
                    if self._closed:
                        return
                    delivery = self._queue.popleft()
                    self._busy = True
                    lost = self._lose > 0
                    self._lose -= lost
                self._attempt(client, delivery, lost)

    def _attempt(self, client: httpx2.Client, delivery: Delivery, lost: bool) -> None:
        started = time.monotonic()
        try:
            if lost:
                raise httpx2.ConnectError("the sandbox lost it on purpose")
            response = client.post(delivery.hook.url, content=delivery.body, headers=delivery.headers)
            delivery.response_headers = dict(response.headers)
            delivery.response_body = response.text[:_KEPT_RESPONSE]
            code, text = response.status_code, "OK" if response.is_success else response.reason_phrase
        except httpx2.TimeoutException:
            code, text = 504, "timed out"
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            code, text = 502, "failed to connect to host"
            delivery.response_body = str(error)
        delivery.duration = time.monotonic() - started
        delivery.delivered_at = self._state.clock()
        delivery.status, delivery.status_code = text, code
        good = 200 <= code < 300
        delivery.hook.last_response = (code, "active" if good else "failed", text)


def _headers(hook: Hook, repository: Repository, event: str, guid: str, body: bytes) -> dict[str, str]:
    form = hook.content_type == "form"
    headers = {
        "Accept": "*/*",
        "Content-Type": "application/x-www-form-urlencoded" if form else "application/json",
        "User-Agent": "GitHub-Hookshot/5a4ndb0",
        "X-GitHub-Delivery": guid,
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": str(hook.id),
        "X-GitHub-Hook-Installation-Target-ID": str(repository.id),
        "X-GitHub-Hook-Installation-Target-Type": "repository",
    }
    if hook.secret:
        for name, digest in (("X-Hub-Signature", hashlib.sha1), ("X-Hub-Signature-256", hashlib.sha256)):
            mac = hmac.new(hook.secret.encode(), body, digest)
            headers[name] = f"{mac.name.removeprefix('hmac-')}={mac.hexdigest()}"
    return headers
