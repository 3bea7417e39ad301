"""Receives webhooks: verifies them and keeps them; nothing is read or decided here."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, post
from litestar.openapi import ResponseSpec
from litestar.params import FromPath

from bot import log
from bot.settings import Settings
from bot.store.deliveries import NewDelivery, Overloaded, Recorded
from bot.web.bodies import RETRY_AFTER, Bodies, Limits
from bot.web.problems import Problem, ProblemDetails

KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,200}")  # visible ASCII; no comma, which two headers in one would have
EVENT = re.compile(r"[\w .:-]{1,100}", re.ASCII)
NEVER_KEPT = frozenset({"authorization", "proxy-authorization", "cookie", "x-gitlab-token"})

logger = log.get(__name__)

KnownHook = Callable[[str, UUID], Awaitable[bool]]


class Verifier(Protocol):
    """What the intake asks of a forge."""

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes]) -> bool: ...
    def delivery_key(self, headers: Mapping[str, str]) -> str | None: ...
    def event_name(self, headers: Mapping[str, str]) -> str | None: ...


class Recorder(Protocol):
    """Keeps a delivery before it returns."""

    async def record(self, delivery: NewDelivery) -> Recorded: ...


class Kept(msgspec.Struct, frozen=True):
    """The answer to a delivery that is kept. `result` is recorded or duplicate."""

    delivery: UUID
    result: str


class Receiver:
    """Takes a request through the intake, in the order of design section 10."""

    def __init__(
        self,
        settings: Settings,
        intake: Recorder,
        forges: Mapping[str, Verifier],
        known_hook: KnownHook,
        limits: Limits,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._forges = forges
        self._known_hook = known_hook
        self._limits = limits
        self._bodies = Bodies(limits)

    async def receive(self, request: Request[Any, Any, Any], forge: str, hook: str | None) -> Kept:
        """Verify and keep; Problem says why not."""
        verifier = self._forges.get(forge)
        secrets = self._secrets(forge, hook)
        if verifier is None or secrets is None:
            raise Problem(404, "forge_not_configured", "no such forge is configured here")
        headers = joined(request)
        async with self._bodies.read(request) as body:
            received_at = datetime.now(UTC)
            if not await self._signed(verifier, headers, body, secrets) or not await self._known(forge, hook):
                raise Problem(401, "signature_invalid", "the signature is missing or wrong")
            delivery = NewDelivery(
                provider=forge,
                hook_id=None if hook is None else UUID(hook),
                delivery_key=_required(verifier.delivery_key(headers), KEY, "delivery_id_missing", "delivery id"),
                event=_required(verifier.event_name(headers), EVENT, "event_missing", "event"),
                headers=msgspec.json.encode({k: v for k, v in headers.items() if k not in NEVER_KEPT}),
                body=body,
                received_at=received_at,
            )
            recorded = await self._record(delivery)
        return Kept(recorded.id, "duplicate" if recorded.duplicate else "recorded")

    def _secrets(self, forge: str, hook: str | None) -> tuple[bytes, ...] | None:
        """Those of the URL, and no others; None where the URL cannot have any."""
        configured = self._settings.forges.get(forge)
        if configured is None:
            return None
        if hook is None:
            return configured.webhook_secrets or None
        hook_id = canonical(hook)
        return () if hook_id is None else self._settings.hook_secrets(hook_id)

    async def _signed(
        self, verifier: Verifier, headers: Mapping[str, str], body: bytes, secrets: tuple[bytes, ...]
    ) -> bool:
        if not secrets:
            return False
        if len(body) > self._limits.thread_from:
            return await asyncio.to_thread(verifier.verify, headers, body, secrets)
        return verifier.verify(headers, body, secrets)

    async def _known(self, forge: str, hook: str | None) -> bool:
        """Asked after the signature: only we can make a hook's secret, so strangers never reach the database."""
        if hook is None:
            return True
        try:
            return await self._known_hook(forge, UUID(hook))
        except Exception as error:
            logger.error("the hook could not be looked up", forge=forge, error=type(error).__name__)
            raise _unkept("the hook could not be looked up") from error

    async def _record(self, delivery: NewDelivery) -> Recorded:
        try:
            return await self._intake.record(delivery)
        except Overloaded as error:
            raise _unkept(str(error), "overloaded") from error
        except Exception as error:  # whatever the database says: never a 2xx, and the sender may come again
            logger.error("a delivery was not kept", forge=delivery.provider, error=type(error).__name__)
            raise _unkept("the delivery could not be kept") from error


def joined(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Headers by lower-case name; one that came twice holds both, so that it passes for neither."""
    found: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def canonical(hook: str) -> UUID | None:
    """The hook's id, if it is written as we write it."""
    try:
        hook_id = UUID(hook)
    except ValueError:
        return None
    return hook_id if str(hook_id) == hook else None


def _required(value: str | None, form: re.Pattern[str], code: str, what: str) -> str:
    if value is None or not form.fullmatch(value):
        raise Problem(400, code, f"the header with the {what} is missing or unusable")
    return value


def _unkept(detail: str, code: str = "not_kept") -> Problem:
    return Problem(503, code, detail, retry_after=RETRY_AFTER)


def _refusals() -> dict[int, ResponseSpec]:
    texts = {
        400: "the event or the delivery id is missing",
        401: "the signature is missing or wrong",
        404: "the forge is not configured",
        408: "the body did not arrive in time",
        413: "the body is too large",
        503: "it cannot be kept now; come again after Retry-After seconds",
    }
    return {
        status: ResponseSpec(ProblemDetails, description=text, generate_examples=False)
        for status, text in texts.items()
    }


def router(receiver: Receiver) -> Router:
    """The routes of the webhooks."""

    @post("/{forge:str}", status_code=202, responses=_refusals(), request_max_body_size=None)
    async def receive(request: Request[Any, Any, Any], forge: FromPath[str]) -> Response[Kept]:
        """Keep a webhook of an App or an organisation, signed with the forge-wide secret."""
        return Response(await receiver.receive(request, forge, None))

    @post("/{forge:str}/{hook:str}", status_code=202, responses=_refusals(), request_max_body_size=None)
    async def receive_hook(
        request: Request[Any, Any, Any], forge: FromPath[str], hook: FromPath[str]
    ) -> Response[Kept]:
        """Keep a webhook that Sluice registered; it speaks for its repository only."""
        return Response(await receiver.receive(request, forge, hook))

    return Router("/webhooks", route_handlers=[receive, receive_hook], tags=["webhooks"])
