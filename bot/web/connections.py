"""Connecting an account: off to the forge, and back with a code that only this browser can use, and once."""

import html
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get
from litestar.datastructures import Cookie
from litestar.params import FromPath

from bot.connections import Connections
from bot.core.errors import TemporaryError, UserError
from bot.core.sealing import SealBroken
from bot.store import leases
from bot.web.problems import Problem

LIFE = timedelta(minutes=10)  # from leaving to coming back
COOKIE = "sluice-connecting"
PLACE = "connecting"  # what the cookie is sealed for, with the state and the forge
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
PAGE = (
    "<!doctype html><title>Sluice</title><p>The {forge} account <b>{login}</b> is connected. You can close this page.\n"
)

AGENT_LENGTH = 200


class Departure(msgspec.Struct, frozen=True):
    """What the browser takes along, sealed; nobody else has it."""

    verifier: str
    at: datetime


@dataclass(frozen=True)
class Desk:
    """Sends people off to a forge, and takes them in when they come back."""

    connections: Connections

    async def start(self, forge: str) -> Response[bytes]:
        """Off to the forge, with a state and a verifier that are in this browser's cookie."""
        async with _answered():
            provider = self.connections.provider(forge)
            state, verifier = uuid.uuid4(), secrets.token_urlsafe(48)
            departure = msgspec.json.encode(Departure(verifier, self.connections.store.clock())).decode()
            sealed = self.connections.keys.seal(departure, table=PLACE, row=state, column=forge)
            url = provider.authorize_url(state.hex, verifier, self.connections.callback_url(forge))
        cookies = [self._cookie(forge, sealed, int(LIFE.total_seconds()))]
        return Response(b"", status_code=303, headers={**HEADERS, "location": url}, cookies=cookies)

    async def callback(self, request: Request[Any, Any, Any], forge: str) -> Response[bytes]:
        """Back with a code for the state that this browser left with."""
        state, code, error = (request.query_params.get(name, "") for name in ("state", "code", "error"))
        async with _answered():
            self.connections.provider(forge)
            departure = await self._redeemed(request, forge, state)
            if error or not code:
                raise UserError("oauth_refused", f"{forge} gave no permission: {error[:100] or 'no code came back'}")
            agent = request.headers.get("user-agent", "")[:AGENT_LENGTH] or None
            ip = request.client.host if request.client else None
            row = await self.connections.finish(forge, code, departure.verifier, ip=ip, user_agent=agent)
        page = PAGE.format(forge=html.escape(forge), login=html.escape(row.username)).encode()
        cookies = [self._cookie(forge, "", 0)]
        return Response(page, media_type="text/html; charset=utf-8", headers=HEADERS, cookies=cookies)

    async def _redeemed(self, request: Request[Any, Any, Any], forge: str, text: str) -> Departure:
        """What was sealed for this state; refused when it is old, another browser's, or came before."""
        invalid = Problem(400, "oauth_state_invalid", "this did not begin in this browser, or too long ago; begin anew")
        store = self.connections.store
        try:
            state = UUID(hex=text)
            sealed = request.cookies.get(COOKIE, "")
            opened = self.connections.keys.open(sealed, table=PLACE, row=state, column=forge)
            departure = msgspec.json.decode(opened, type=Departure)
        except (ValueError, SealBroken):
            raise invalid from None
        if store.clock() - departure.at > LIFE:
            raise invalid
        async with store.write() as tx:
            # Whoever takes the name first has it; nobody lets go of it before the state is too old anyway.
            if not await leases.take_name(tx.session, f"{PLACE}:{state.hex}", secrets.token_hex(8), tx.now, LIFE * 2):
                raise invalid
            await leases.clear_names(tx.session, f"{PLACE}:", tx.now)
        return departure

    def _cookie(self, forge: str, value: str, age: int) -> Cookie:
        secure = (self.connections.public_url or "").startswith("https://")
        path = f"/connections/{forge}"
        return Cookie(COOKIE, value=value, path=path, max_age=age, httponly=True, secure=secure, samesite="lax")


@asynccontextmanager
async def _answered() -> AsyncIterator[None]:
    """What the program raises, as the web answers it."""
    try:
        yield
    except UserError as error:
        problem = Problem(404 if error.code == "oauth_not_configured" else 400, error.code, error.message)
    except TemporaryError as error:
        problem = Problem(503, "forge_unreachable", str(error), retry_after=int(error.delay) + 1)
    except SealBroken as error:
        problem = Problem(503, "seal_broken", str(error))
    else:
        return
    raise problem


def router(connections: Connections) -> Router:
    """The routes by which accounts are connected."""
    desk = Desk(connections)

    @get("/{forge:str}/start", status_code=303)
    async def start(forge: FromPath[str]) -> Response[bytes]:
        """Begin to connect an account: sends the browser to the forge."""
        return await desk.start(forge)

    @get("/{forge:str}/callback")
    async def callback(request: Request[Any, Any, Any], forge: FromPath[str]) -> Response[bytes]:
        """Where the forge sends the browser back to, with `state` and `code` or `error`."""
        return await desk.callback(request, forge)

    return Router("/connections", route_handlers=[start, callback], tags=["connections"])
