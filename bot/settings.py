"""The operator's settings, read from the environment once, before anything starts."""

import base64
import binascii
import difflib
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bot.core.config_fields import CLUSTER
from bot.core.errors import ConfigError, UserError
from bot.core.policy import DEFAULT_CLUSTER, Policy
from bot.core.policy import parse as parse_policy

PREFIX = "SLUICE_"
FORGES = ("github", "gitea")
SHORTEST_WEBHOOK_SECRET = 16
SHORTEST_SECRET_KEY = 32

T = TypeVar("T")


class Described(msgspec.Struct, frozen=True):
    """One setting as `--help` and the documentation show it."""

    name: str
    meaning: str
    default: str


class ForgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to talk with one forge, and how its webhooks are signed."""

    url: str
    webhook_secrets: tuple[bytes, ...] = ()
    token: str | None = None
    git_username: str = "git"
    git_token: str | None = None
    ssh_url: str | None = None
    known_hosts: str | None = None
    app_id: str | None = None
    app_private_key: str | None = None
    oauth_client_id: str | None = None
    oauth_client_secret: str | None = None

    def __repr__(self) -> str:
        return f"ForgeSettings(url={self.url!r})"

    def __rich_repr__(self) -> Any:
        yield "url", self.url


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the operator decides. Secrets are in no repr."""

    database_url: str = "sqlite+aiosqlite:///sluice.db"
    redis_url: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str | None = None
    api_token: str | None = None
    secret_keys: tuple[bytes, ...] = ()
    kubeconfig: Path | None = None
    restore_pins: bool = False
    kubeconfigs: dict[str, Path] = {}
    in_pod: bool = False
    flux_cpu_limit: str | None = None
    flux_memory_limit: str | None = None
    policy: Policy = Policy()
    forges: dict[str, ForgeSettings] = {}

    def __repr__(self) -> str:
        return f"Settings(host={self.host!r}, port={self.port}, forges={sorted(self.forges)})"

    def __rich_repr__(self) -> Any:
        yield "host", self.host
        yield "port", self.port
        yield "forges", sorted(self.forges)

    def hook_secrets(self, hook_id: UUID) -> tuple[bytes, ...]:
        """The secrets of a webhook that Sluice registered, newest first; register with the first, accept them all."""
        return tuple(
            hmac.new(key, b"hook:" + str(hook_id).encode(), hashlib.sha256).hexdigest().encode()
            for key in self.secret_keys
        )

    def secrets(self) -> tuple[str, ...]:
        """Everything that must never be shown, for the log's redaction."""
        found: list[str | None] = [urlsplit(url).password for url in (self.database_url, self.redis_url or "")]
        found.append(self.api_token)
        for forge in self.forges.values():
            found += [forge.token, forge.git_token, *(_text(secret) for secret in forge.webhook_secrets)]
            found += [forge.oauth_client_secret, *(forge.app_private_key or "").splitlines()[1:-1]]
        for key in self.secret_keys:
            found += [key.hex(), base64.b64encode(key).decode(), _text(key)]
        return tuple(secret for secret in found if secret)


def _text(secret: bytes) -> str:
    return secret.decode(errors="replace")


GENERAL = (
    Described("DATABASE_URL", "where everything is kept: sqlite:///FILE or postgresql://…", "sqlite:///sluice.db"),
    Described("REDIS_URL", "the queue of several workers; without it the queue is in this process", ""),
    Described("HOST", "the address to listen on; 0.0.0.0 is every one", "127.0.0.1"),
    Described("PORT", "the port to listen on", "8080"),
    Described("PUBLIC_URL", "where forges reach this server; needed to register webhooks", ""),
    Described(
        "API_TOKEN",
        f"at least {SHORTEST_SECRET_KEY} characters, with which programs read /api/v1; without it there is none",
        "",
    ),
    Described(
        "SECRET_KEYS",
        "keys that seal tokens in the database and that webhook secrets derive from, newest first, at least "
        f"{SHORTEST_SECRET_KEY} bytes each, as base64, hex or plain text, separated by commas",
        "",
    ),
    Described("KUBECONFIG", "how to reach the cluster `default`; without it the service account of the pod", ""),
    Described("KUBECONFIGS", "more clusters, by the names that .sluice.yaml uses: NAME=FILE,NAME=FILE", ""),
    Described("FLUX_CPU_LIMIT", "`sluice flux install`: what each controller may use, as in 1 or 500m", ""),
    Described("FLUX_MEMORY_LIMIT", "`sluice flux install`: the same for memory, as in 1Gi", ""),
    Described("POLICY", "what repositories may do in the clusters, as YAML; mostly named by its file", ""),
    Described("RESTORE_PINS", "true: a pin that another hand moved is put back; it is told in any case", "false"),
    Described(
        "ALLOW_CLUSTER_ADMIN", "true: environments may be applied without a service account of their own", "false"
    ),
)
PER_FORGE = (
    Described(
        "WEBHOOK_SECRET",
        f"at least {SHORTEST_WEBHOOK_SECRET} bytes; several, separated by commas, are all accepted",
        "",
    ),
    Described("TOKEN", "the bot's token for the API", ""),
    Described("URL", "the address of the API", ""),
    Described("GIT_USERNAME", "the user name that Flux fetches with", "git"),
    Described("GIT_TOKEN", "a read-only token that Flux fetches with", ""),
    Described("SSH_URL", "where deploy keys fetch, if that is not port 22 of the same host: ssh://git@HOST:PORT", ""),
    Described("KNOWN_HOSTS", "the server's SSH host keys as lines of known_hosts, for deploy keys", ""),
    Described("APP_ID", "the id of the GitHub App that makes Flux's tokens", ""),
    Described("APP_PRIVATE_KEY", "the App's private key (PEM); it never enters the cluster", ""),
    Described("OAUTH_CLIENT_ID", "the OAuth application by which accounts are connected", ""),
    Described("OAUTH_CLIENT_SECRET", "its secret", ""),
)
ONLY = {"APP_ID": "github", "APP_PRIVATE_KEY": "github"}
DEFAULT_URLS = {"github": "https://api.github.com"}
PLANNED = re.compile(r"GITLAB_\w+")
AS_WRITTEN = ("POLICY",)  # their first lines count
KNOWN_HOST = re.compile(r"(@cert-authority )?\S+ [a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}( .*)?")
# Kubernetes gives every pod the addresses of the namespace's Services; one called "sluice" gives SLUICE_PORT=tcp://….
SERVICE_LINK = re.compile(r"SLUICE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
SERVICE_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")


def describe() -> list[Described]:
    """Every setting with its meaning and default, in the order to read them."""
    found = [Described(PREFIX + each.name, each.meaning, each.default) for each in GENERAL]
    for forge in FORGES:
        for each in PER_FORGE:
            if ONLY.get(each.name, forge) != forge:
                continue
            default = DEFAULT_URLS.get(forge, "") if each.name == "URL" else each.default
            found.append(Described(f"{PREFIX}{forge.upper()}_{each.name}", f"{forge}: {each.meaning}", default))
    return found


def load(environ: Mapping[str, str], *, serving: bool = True) -> Settings:
    """Read the settings, or raise ConfigError that names everything that is wrong with them.

    `serving` is False for commands that answer no webhooks: these start without a webhook secret.
    """
    problems: list[str] = []
    reader = _Reader(_values(environ, problems), problems)
    forges = {forge: found for forge in FORGES if (found := _forge(reader, forge)) is not None}
    settings = Settings(
        database_url=reader.take("DATABASE_URL", _database_url, "sqlite+aiosqlite:///sluice.db"),
        redis_url=reader.take("REDIS_URL", _redis_url, None),
        host=reader.take("HOST", _host, "127.0.0.1"),
        port=reader.take("PORT", _port, 8080),
        public_url=reader.take("PUBLIC_URL", _web_url, None),
        api_token=reader.take("API_TOKEN", _api_token, None),
        secret_keys=reader.take("SECRET_KEYS", _secret_keys, ()),
        kubeconfig=reader.take("KUBECONFIG", _file, None),
        kubeconfigs=reader.take("KUBECONFIGS", _kubeconfigs, {}),
        in_pod="KUBERNETES_SERVICE_HOST" in environ,
        flux_cpu_limit=reader.take("FLUX_CPU_LIMIT", _quantity, None),
        flux_memory_limit=reader.take("FLUX_MEMORY_LIMIT", _quantity, None),
        policy=_policy_of(reader),
        restore_pins=reader.take("RESTORE_PINS", _flag, False),
        forges=forges,
    )
    problems += _shared_secrets(forges)
    if serving and not problems and not settings.secret_keys and not any(f.webhook_secrets for f in forges.values()):
        problems.append(
            f"no webhook secret: set {PREFIX}GITHUB_WEBHOOK_SECRET or {PREFIX}GITEA_WEBHOOK_SECRET "
            f"(or {PREFIX}SECRET_KEYS for webhooks that Sluice registers)"
        )
    if problems:
        raise ConfigError("\n".join(problems))
    return settings


def _policy_of(reader: "_Reader") -> Policy:
    allowed = reader.take("ALLOW_CLUSTER_ADMIN", _flag, False)
    policy = reader.take("POLICY", _policy, Policy())
    return msgspec.structs.replace(policy, allow_cluster_admin=allowed)


class _Reader:
    """Takes settings one by one and collects what is wrong with them."""

    def __init__(self, values: Mapping[str, str], problems: list[str]) -> None:
        self.values = values
        self.problems = problems

    def take(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """The setting's value; the default if it is absent or broken."""
        text = self.values.get(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.problems.append(f"{PREFIX}{name}: {error}")
            return default


def _values(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """Our variables without prefix, with files read; an empty one counts as absent."""
    known = {each.name.removeprefix(PREFIX) for each in describe()}
    values: dict[str, str] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or _is_service_link(variable, text):
            continue
        name = variable.removeprefix(PREFIX)
        from_file = name.endswith("_FILE")
        target = name.removesuffix("_FILE") if from_file else name
        if target not in known:
            problems.append(_unknown(variable, target, known))
        elif from_file and environ.get(PREFIX + target):
            problems.append(f"{variable}: {PREFIX}{target} is set as well; leave one of them out")
        elif from_file and text:
            content = _content(text)
            if content is None:
                problems.append(f"{variable}: the file that it names cannot be read as text")
            elif content:
                values[target] = content if target in AS_WRITTEN else content.strip()
        elif text.strip():
            values[target] = text.strip()
    return values


def _is_service_link(variable: str, text: str) -> bool:
    if SERVICE_LINK.fullmatch(variable):
        return True
    return variable.endswith("_PORT") and SERVICE_LINK_VALUE.match(text) is not None


def _unknown(variable: str, name: str, known: set[str]) -> str:
    if PLANNED.fullmatch(name):
        return f"{variable}: this is not built yet; remove it"
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"{variable}: unknown setting" + (f"; did you mean {PREFIX}{near[0]}?" if near else "")


def _content(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip()
    except (OSError, UnicodeDecodeError):
        return None


def _forge(reader: _Reader, forge: str) -> ForgeSettings | None:
    """The settings of a forge; None if it has none."""
    prefix = f"{forge.upper()}_"
    if not any(name.startswith(prefix) for name in reader.values):
        return None
    url = reader.take(prefix + "URL", _web_url, DEFAULT_URLS.get(forge))
    if url is None:
        url = ""
        if prefix + "URL" not in reader.values:
            reader.problems.append(f"{PREFIX}{prefix}URL: set the address of the {forge} server")
    for one, other in (("APP_ID", "APP_PRIVATE_KEY"), ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET")):
        if (prefix + one in reader.values) != (prefix + other in reader.values):
            reader.problems.append(f"{PREFIX}{prefix}{one} and {PREFIX}{prefix}{other}: set both or none")
    return ForgeSettings(
        url=url,
        webhook_secrets=reader.take(prefix + "WEBHOOK_SECRET", _webhook_secrets, ()),
        token=reader.take(prefix + "TOKEN", _token, None),
        git_username=reader.take(prefix + "GIT_USERNAME", _token, "git"),
        git_token=reader.take(prefix + "GIT_TOKEN", _token, None),
        ssh_url=reader.take(prefix + "SSH_URL", _ssh_url, None),
        known_hosts=reader.take(prefix + "KNOWN_HOSTS", _known_hosts, None),
        app_id=reader.take(prefix + "APP_ID", _token, None),
        app_private_key=reader.take(prefix + "APP_PRIVATE_KEY", _private_key, None),
        oauth_client_id=reader.take(prefix + "OAUTH_CLIENT_ID", _token, None),
        oauth_client_secret=reader.take(prefix + "OAUTH_CLIENT_SECRET", _token, None),
    )


def _shared_secrets(forges: Mapping[str, ForgeSettings]) -> list[str]:
    """A forge must not be able to sign for another one."""
    return [
        f"{PREFIX}{a.upper()}_WEBHOOK_SECRET and {PREFIX}{b.upper()}_WEBHOOK_SECRET: the same secret; make one for each"
        for a, b in combinations(forges, 2)
        if set(forges[a].webhook_secrets) & set(forges[b].webhook_secrets)
    ]


def _webhook_secrets(text: str) -> tuple[bytes, ...]:
    secrets = tuple(part.strip().encode() for part in text.split(","))
    if any(len(secret) < SHORTEST_WEBHOOK_SECRET for secret in secrets):
        raise ValueError(
            f"each secret needs at least {SHORTEST_WEBHOOK_SECRET} bytes; make one with: openssl rand -hex 32"
        )
    return secrets


def _secret_keys(text: str) -> tuple[bytes, ...]:
    keys = tuple(_secret_key(part.strip()) for part in re.split(r"[,\n]", text))
    if any(len(key) < SHORTEST_SECRET_KEY for key in keys):
        raise ValueError(f"each key needs at least {SHORTEST_SECRET_KEY} bytes; make one with: openssl rand -hex 32")
    if len(set(keys)) != len(keys):
        raise ValueError("the same key is there twice")
    return keys


def _secret_key(text: str) -> bytes:
    """Hex if it looks so, base64 if that makes a whole key, else the text itself."""
    if re.fullmatch(r"([0-9a-fA-F]{2})+", text):
        return bytes.fromhex(text)
    try:
        padded = text.rstrip("=").replace("-", "+").replace("_", "/")
        key = base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except binascii.Error:
        key = b""
    return key if len(key) >= SHORTEST_SECRET_KEY else text.encode()


def _database_url(text: str) -> str:
    scheme, found, rest = text.partition("://")
    if not found:
        raise ValueError("not a URL; use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
    if scheme in ("sqlite", "sqlite+aiosqlite"):
        path = rest.removeprefix("/")
        if not rest.startswith("/") or not path or ":memory:" in path or "?" in path:
            raise ValueError("name a file: sqlite:///FILE, or sqlite:////FOLDER/FILE for an absolute one")
        return f"sqlite+aiosqlite:///{path}"
    if scheme in ("postgres", "postgresql", "postgresql+asyncpg"):
        return _postgres_url(rest)
    raise ValueError(f"{scheme!r} is no database that Sluice knows; use sqlite:/// or postgresql://")


def _postgres_url(rest: str) -> str:
    """The driver calls libpq's `sslmode` `ssl`."""
    parts = urlsplit("postgresql+asyncpg://" + rest)
    if not parts.path.strip("/"):
        raise ValueError("name the database: postgresql://USER:PASSWORD@HOST/NAME")
    query = [("ssl" if name == "sslmode" else name, value) for name, value in parse_qsl(parts.query)]
    return f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{urlencode(query)}" if query else "")


def _redis_url(text: str) -> str:
    if not re.match(r"(redis|rediss|unix)://.", text):
        raise ValueError("not a URL of Redis; use redis://HOST:6379/0")
    return text


def _web_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("not a web address; use https://HOST, without user, query and fragment")
    return text.rstrip("/")


def _host(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z.:-]+", text):
        raise ValueError("not an address or host name")
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 <= int(text) <= 65535:
        raise ValueError("not a port; use a number from 0 to 65535")
    return int(text)


def _quantity(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?", text):
        raise ValueError("not a quantity of Kubernetes; use 500m, 2, 512Mi or 1Gi")
    return text


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError(f"there is no file {text}")
    return path


def _kubeconfigs(text: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for part in filter(None, (part.strip() for part in re.split(r"[,\n]", text))):
        name, given, path = part.partition("=")
        problem = CLUSTER.problem(name)
        if not given or problem:
            raise ValueError(f"{part!r} is not NAME=FILE" + (f"; the name {problem}" if given else ""))
        if name == DEFAULT_CLUSTER or name in found:
            raise ValueError(f"{name} is there twice" if name in found else f"the cluster {name} is {PREFIX}KUBECONFIG")
        found[name] = _file(path)
    return found


def _policy(text: str) -> Policy:
    try:
        return parse_policy(text.encode(), "the policy")
    except UserError as error:
        raise ValueError(error.message) from error


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("neither true nor false")
    return text == "true"


def _token(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("spaces and control characters cannot be part of it")
    return text


def _api_token(text: str) -> str:
    if len(_token(text)) < SHORTEST_SECRET_KEY:
        raise ValueError(f"at least {SHORTEST_SECRET_KEY} characters are needed; make one with: openssl rand -hex 32")
    return text


def _ssh_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "ssh" or not parts.hostname or not parts.username or parts.password or parts.path.strip("/"):
        raise ValueError("not an SSH address; use ssh://git@HOST:PORT")
    return text.rstrip("/")


def _known_hosts(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if not all(KNOWN_HOST.fullmatch(line) for line in lines):
        raise ValueError("not lines of known_hosts (HOST KEYTYPE KEY); make them with: ssh-keyscan HOST")
    return "\n".join(lines) + "\n"


def _private_key(text: str) -> str:
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("not an RSA private key in PEM without a password; GitHub gives it as a .pem file")
    return text
