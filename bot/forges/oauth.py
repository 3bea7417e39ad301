"""OAuth 2 with a forge: authorization code with PKCE, and refreshing."""

import base64
import hashlib
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from bot.core.access import Tokens
from bot.core.errors import TemporaryError, UserError
from bot.http import Client, Limits

# Registering a deploy key is what a connection is used for; neither forge has a scope for that alone.
SCOPES = {"github": "repo", "gitea": "read:user write:repository"}
WHOLE = 30.0  # seconds that one request may take, retries and all: less than the lease of a refresh
PASSING = ("server_error", "temporarily_unavailable")


class _Answer(msgspec.Struct):
    access_token: str = ""
    refresh_token: str | None = None
    expires_in: int | None = None
    error: str = ""
    error_description: str = ""


class OAuth:
    """One OAuth application at one forge."""

    def __init__(self, forge: str, api_url: str, client_id: str, client_secret: str, *, client: Client | None = None):
        self.forge = forge
        self.client_id = client_id
        self.server_url = web_url(forge, api_url)
        self._secret = client_secret
        headers = {"accept": "application/json"}
        self._http = client or Client(self.server_url, headers=headers, limits=Limits(whole=WHOLE, attempts=1))

    def __repr__(self) -> str:
        return f"OAuth({self.forge!r}, {self.server_url!r})"

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.close()

    def authorize_url(self, state: str, verifier: str, redirect_uri: str) -> str:
        """Where a person says yes."""
        query = {
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "response_type": "code",
            "scope": SCOPES[self.forge],
            "state": state,
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
        }
        return f"{self.server_url}/login/oauth/authorize?{urlencode(query)}"

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> Tokens:
        """The tokens for a code; UserError `oauth_refused` in the forge's words."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
        }
        return await self._ask(form, hidden=(code, verifier))

    async def refresh(self, token: str) -> Tokens:
        """New tokens for a refresh token, which is used up then; UserError `oauth_refused` when it was not good."""
        return await self._ask({"grant_type": "refresh_token", "refresh_token": token}, hidden=(token,))

    async def _ask(self, form: Mapping[str, str], *, hidden: tuple[str, ...]) -> Tokens:
        sent = {"client_id": self.client_id, "client_secret": self._secret, **form}
        secrets = (*hidden, self._secret)
        answer = await self._http.request("POST", "/login/oauth/access_token", form=sent, hidden=secrets)
        found = answer.read(_Answer)
        if answer.ok and found.access_token and not found.error:
            return Tokens(access=found.access_token, refresh=found.refresh_token, expires_in=found.expires_in or None)
        if found.error in PASSING:
            raise TemporaryError(f"{answer.host} answered {found.error}")
        said = " ".join(f"{found.error} {found.error_description}".split())[:200]
        for secret in secrets:  # GitHub refuses with a 200, which is not blotted out
            said = said.replace(secret, "***")
        raise UserError("oauth_refused", f"{answer.host} gave no token: {said or answer.words}")


def challenge(verifier: str) -> str:
    """The S256 challenge of PKCE."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def web_url(forge: str, api_url: str) -> str:
    """The address that people open, from the API's."""
    if forge == "github":
        api_url = "https://github.com" if api_url == "https://api.github.com" else api_url.removesuffix("/api/v3")
    return api_url.rstrip("/")
