"""The sandbox forge's endpoints about what others come in with: deploy keys, GitHub Apps and OAuth."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from bot.sandbox.forge_http import Reply, RepositoryHandler, Request, Router, given, paged
from bot.sandbox.forge_routes_git import on_repository
from bot.sandbox.forge_shapes import Json, Shapes
from bot.sandbox.forge_state import ROLES, App, Grant, Key, Refusal, Repository, State, User, invalid, iso

TOKEN_LIFE = 3600.0
ACCESS_LIFE = 28_800.0
LONGEST_JWT = 600 + 60


@dataclass(eq=False, slots=True)
class Client:
    """An OAuth application, and the codes and refresh tokens that are still good; each is so once."""

    id: str
    secret: str = field(repr=False)
    redirect_uri: str
    codes: dict[str, tuple[User, str]] = field(default_factory=dict, repr=False)
    refresh_tokens: dict[str, User] = field(default_factory=dict, repr=False)
    spent: list[str] = field(default_factory=list, repr=False)  # refresh tokens that came a second time


class AccessRoutes:
    """Deploy keys, Apps with installations, and OAuth applications with rotating refresh tokens."""

    def __init__(self, state: State, shapes: Shapes) -> None:
        self.host_key = public_key(Ed25519PrivateKey.generate())
        self.clients: dict[str, Client] = {}
        self.issued: list[Grant] = []
        self.access_life = ACCESS_LIFE
        self._state = state
        self._shapes = shapes

    def add_to(self, router: Router) -> None:
        """Register every endpoint."""

        def add(method: str, tail: str, handler: RepositoryHandler) -> None:
            wrapped = on_repository(self._state, "admin", handler, login=True)
            router.add(method, "/repos/{owner}/{repo}/keys" + tail, wrapped)

        add("GET", "", self._keys)
        add("POST", "", self._add_key)
        add("DELETE", "/{id}", self._delete_key)
        router.add("GET", "/meta", lambda request: Reply(200, {"ssh_keys": [self.host_key]}))
        router.add("GET", "/orgs/{org}/teams/{team}/memberships/{login}", self._membership)
        router.add("GET", "/app", self._registered)
        router.add("GET", "/repos/{owner}/{repo}/installation", self._installation)
        router.add("POST", "/app/installations/{id}/access_tokens", self._access_token)
        router.add("POST", "/login/oauth/access_token", self._oauth_token)

    # Teams

    def _membership(self, request: Request) -> Reply:
        request.actor()
        members = self._state.teams.get((request.params["org"].lower(), request.params["team"].lower()), {})
        state = members.get(request.params["login"].lower())
        if state is None:
            raise Refusal(404, "Not Found")
        return Reply(200, {"url": request.path, "role": "member", "state": state})

    # Deploy keys

    def _keys(self, request: Request, repository: Repository) -> Reply:
        return paged(request, list(repository.keys.values()), lambda key: self._shape(repository, key))

    def _add_key(self, request: Request, repository: Repository) -> Reply:
        body = request.json()
        text = " ".join(given(body, "PublicKey", "key").split()[:2])
        if not text.startswith("ssh-") or " " not in text:
            raise invalid("PublicKey", "key", "custom", "key is invalid. You must supply a key in OpenSSH format")
        every = self._state.repositories.values()
        if any(text == key.key for other in every for key in other.keys.values()):
            raise invalid("PublicKey", "key", "custom", "key is already in use")
        title, read_only = str(body.get("title") or "key"), bool(body.get("read_only"))
        key = Key(self._state.next_id(), title, text, read_only, self._state.clock())
        repository.keys[key.id] = key
        self._state.record("key.created", repository, request.actor(), id=key.id, read_only=read_only)
        return Reply(201, self._shape(repository, key))

    def _delete_key(self, request: Request, repository: Repository) -> Reply:
        if repository.keys.pop(request.number("id"), None) is None:
            raise Refusal(404, "Not Found")
        self._state.record("key.deleted", repository, request.actor(), id=request.number("id"))
        return Reply(204)

    def _shape(self, repository: Repository, key: Key) -> Json:
        own = {"id": key.id, "key": key.key, "title": key.title, "read_only": key.read_only, "verified": True}
        return {**own, "url": self._shapes.link(repository, f"/keys/{key.id}"), "created_at": iso(key.created_at)}

    def may_fetch(self, repository: Repository, private_key: str) -> bool:
        """Whether somebody with this SSH key may fetch the repository."""
        try:
            public = public_key(load_ssh_private_key(private_key.encode(), None))
        except ValueError:
            return False
        return any(public == key.key for key in repository.keys.values())

    # Apps

    def _app(self, request: Request) -> App:
        """The App that signed the request."""
        token = request.headers.get("authorization", "").rpartition(" ")[2]
        try:
            named = str(jwt.decode(token, options={"verify_signature": False}).get("iss"))
            app = self._state.apps[named]
            # The sandbox's clock may be another; what is said of time is looked at below.
            claims = jwt.decode(
                token, app.public_key, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False}
            )
        except (jwt.InvalidTokenError, KeyError) as error:
            raise Refusal(401, "A JSON web token could not be decoded") from error
        now = self._state.clock()
        if not claims["iat"] <= now < claims["exp"] or claims["exp"] - claims["iat"] > LONGEST_JWT:
            raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future, or past")
        return app

    def _registered(self, request: Request) -> Reply:
        app = self._app(request)
        events = app.hook.events if app.hook else []
        return Reply(200, {"id": int(app.id), "permissions": dict(app.permissions), "events": list(events)})

    def _installation(self, request: Request) -> Reply:
        app, name = self._app(request), f"{request.params['owner']}/{request.params['repo']}".lower()
        for id, repositories in app.installations.items():
            if name in {each.lower() for each in repositories}:
                return Reply(200, {"id": id, "app_id": int(app.id), "permissions": dict(app.permissions)})
        raise Refusal(404, "Not Found")

    def _access_token(self, request: Request) -> Reply:
        app, id = self._app(request), request.number("id")
        if id not in app.installations:
            raise Refusal(404, "Not Found")
        installed, body = app.installations[id], request.json()
        wanted = body.get("repositories")
        names = sorted(each for each in installed if wanted is None or each.partition("/")[2] in wanted)
        if wanted is not None and len(names) != len(wanted):
            raise Refusal(422, "There is at least one repository that does not exist or is not accessible")
        rights = dict(body.get("permissions") or app.permissions)
        if any(ROLES.index(app.permissions.get(name, "none")) < ROLES.index(right) for name, right in rights.items()):
            raise Refusal(422, "The permissions requested are not granted to this installation.")
        return self._granted(app, names, {**rights, "metadata": "read"})

    def _granted(self, app: App, names: list[str], rights: Mapping[str, str]) -> Reply:
        token, ends = f"ghs_{secrets.token_hex(18)}", self._state.clock() + TOKEN_LIFE
        number = self._state.next_id()
        user = User(number, f"app-{number}[bot]", "Bot", token)
        grant = Grant(token, tuple(names), rights, app.id)
        self._state.tokens[token], self._state.expiries[token] = user, ends
        self._state.grants[user.login] = grant
        self.issued.append(grant)
        shown: list[Any] = [self._shapes.repository(self._state.repository(name)) for name in names]
        body = {"token": token, "expires_at": iso(ends), "permissions": rights, "repository_selection": "selected"}
        return Reply(201, {**body, "repositories": shown})

    # OAuth

    def authorize(self, url: str, user: User) -> str:
        """Say yes to an application; where the browser is sent back to."""
        asked = dict(parse_qsl(urlsplit(url).query))
        client = self.clients.get(asked.get("client_id", ""))
        if client is None or asked.get("redirect_uri") != client.redirect_uri:
            raise Refusal(404, "Not Found")
        if asked.get("code_challenge_method") != "S256" or asked.get("response_type") != "code":
            raise Refusal(400, "invalid_request")
        code = secrets.token_hex(10)
        client.codes[code] = (user, asked["code_challenge"])
        return f"{client.redirect_uri}?{urlencode({'code': code, 'state': asked['state']})}"

    def _oauth_token(self, request: Request) -> Reply:
        form = dict(parse_qsl(request.body.decode("latin-1")))
        client = self.clients.get(form.get("client_id", ""))
        if client is None or not secrets.compare_digest(client.secret, form.get("client_secret", "")):
            return _oauth_error("incorrect_client_credentials")
        if form.get("grant_type") == "refresh_token":
            return self._refreshed(client, form.get("refresh_token", ""))
        found = client.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if found is None or base64.urlsafe_b64encode(digest).decode().rstrip("=") != found[1]:
            return _oauth_error("bad_verification_code")
        return self._tokens(client, found[0])

    def _refreshed(self, client: Client, token: str) -> Reply:
        user = client.refresh_tokens.pop(token, None)
        if user is None:
            client.spent.append(token)
            return _oauth_error("bad_refresh_token", f"The refresh token {token} is incorrect or expired.")
        return self._tokens(client, user)

    def _tokens(self, client: Client, user: User) -> Reply:
        access, refresh = f"ghu_{secrets.token_hex(18)}", f"ghr_{secrets.token_hex(18)}"
        self._state.tokens[access] = user
        self._state.expiries[access] = self._state.clock() + self.access_life
        client.refresh_tokens[refresh] = user
        life = {"expires_in": int(self.access_life), "refresh_token_expires_in": 15_811_200}
        return Reply(
            200, {"access_token": access, "refresh_token": refresh, "token_type": "bearer", "scope": "", **life}
        )


def _oauth_error(code: str, description: str = "The request was refused.") -> Reply:
    """GitHub answers 200 to what OAuth refuses."""
    return Reply(200, {"error": code, "error_description": description})


def public_key(private: Any) -> str:
    """The public half of a key, as lines of OpenSSH have it."""
    return str(private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())
