"""Settings: read once, all problems named, nothing secret shown."""

import base64
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from rich.pretty import pretty_repr

from bot.core.errors import ConfigError
from bot.core.policy import Policy
from bot.settings import Settings, describe, load

SECRET = "a-planted-secret-of-github"
GITHUB = {"SLUICE_GITHUB_WEBHOOK_SECRET": SECRET}
KEY = "5f" * 32


def problems(**environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load({**GITHUB, **{f"SLUICE_{name}": value for name, value in environ.items()}})
    return str(caught.value).splitlines()


def test_the_least_that_starts() -> None:
    """One webhook secret is enough; everything else has a default."""
    settings = load({**GITHUB, "PATH": "/bin", "SLUICE_HOST": ""})

    assert settings.database_url == "sqlite+aiosqlite:///sluice.db"
    assert (settings.host, settings.port, settings.redis_url) == ("127.0.0.1", 8080, None)
    assert list(settings.forges) == ["github"]
    assert settings.forges["github"].url == "https://api.github.com"
    assert settings.forges["github"].webhook_secrets == (SECRET.encode(),)
    assert settings.forges["github"].git_username == "git"


def test_everything_set(tmp_path: Path) -> None:
    """Each setting arrives where it belongs."""
    file = tmp_path / "a-file"
    file.write_text("x")
    settings = load(
        {
            "SLUICE_DATABASE_URL": "postgres://u:p@db/sluice?sslmode=require",
            "SLUICE_REDIS_URL": "redis://queue:6379/0",
            "SLUICE_HOST": "0.0.0.0",
            "SLUICE_PORT": "9090",
            "SLUICE_PUBLIC_URL": "https://sluice.example/",
            "SLUICE_API_TOKEN": "t" * 32,
            "SLUICE_SECRET_KEYS": f"{KEY},{'p' * 32}",
            "SLUICE_KUBECONFIG": str(file),
            "SLUICE_GITEA_URL": "https://git.example/",
            "SLUICE_GITEA_WEBHOOK_SECRET": "first-secret-of-gitea, second-secret-of-gitea",
            "SLUICE_GITEA_TOKEN": "t0ken",
            "SLUICE_GITEA_GIT_USERNAME": "robot",
            "SLUICE_GITEA_GIT_TOKEN": "read-only",
        }
    )

    assert settings.database_url == "postgresql+asyncpg://u:p@db/sluice?ssl=require"
    assert (settings.redis_url, settings.host, settings.port) == ("redis://queue:6379/0", "0.0.0.0", 9090)
    assert settings.public_url == "https://sluice.example"
    assert settings.api_token == "t" * 32
    assert settings.secret_keys == (bytes.fromhex(KEY), b"p" * 32)
    assert settings.kubeconfig == file
    gitea = settings.forges["gitea"]
    assert gitea.url == "https://git.example"
    assert gitea.webhook_secrets == (b"first-secret-of-gitea", b"second-secret-of-gitea")
    assert (gitea.token, gitea.git_username, gitea.git_token) == ("t0ken", "robot", "read-only")


def test_several_clusters(tmp_path: Path) -> None:
    """More clusters by name; `default` is the one of SLUICE_KUBECONFIG."""
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("x")
    b.write_text("x")
    settings = load({**GITHUB, "SLUICE_KUBECONFIGS": f"production={a}, edge={b}"})
    assert settings.kubeconfigs == {"production": a, "edge": b}

    for given, problem in (
        (str(a), "is not NAME=FILE"),
        (f"Edge={a}", "the name must be lower-case letters"),
        (f"default={a}", "the cluster default is SLUICE_KUBECONFIG"),
        (f"edge={a},edge={b}", "edge is there twice"),
        ("edge=/nowhere", "there is no file /nowhere"),
    ):
        [found] = problems(KUBECONFIGS=given)
        assert found.startswith("SLUICE_KUBECONFIGS: ")
        assert problem in found


def test_the_policy(tmp_path: Path) -> None:
    """It is mostly named by its file; what is wrong with it stops the start, with its line."""
    file = tmp_path / "policy.yaml"
    file.write_text("\n\nversion: 1\nrepositories: [{match: a/*}]\n")
    settings = load({**GITHUB, "SLUICE_POLICY_FILE": str(file), "SLUICE_ALLOW_CLUSTER_ADMIN": "true"})
    assert settings.policy.rules is not None
    assert settings.policy.rules[0].match == ("a/*",)
    assert settings.policy.allow_cluster_admin
    assert load(GITHUB).policy == Policy()

    file.write_text("\n\nversion: 1\nrepositries: []\n")
    [found] = problems(POLICY_FILE=str(file))
    assert found == (
        "SLUICE_POLICY: the policy line 4, column 1: repositries is not known here; did you mean `repositories`?"
    )
    assert problems(ALLOW_CLUSTER_ADMIN="yes") == ["SLUICE_ALLOW_CLUSTER_ADMIN: neither true nor false"]


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("sqlite:///data/s.db", "sqlite+aiosqlite:///data/s.db"),
        ("sqlite:////data/s.db", "sqlite+aiosqlite:////data/s.db"),
        ("sqlite+aiosqlite:///s.db", "sqlite+aiosqlite:///s.db"),
        ("postgres://db/s", "postgresql+asyncpg://db/s"),
        ("postgresql://u:p%40@db:5433/s", "postgresql+asyncpg://u:p%40@db:5433/s"),
        ("postgresql+asyncpg:///s?host=/run/pg", "postgresql+asyncpg:///s?host=%2Frun%2Fpg"),
    ],
)
def test_spellings_of_databases(given: str, taken: str) -> None:
    """What people write for a database is understood."""
    assert load({**GITHUB, "SLUICE_DATABASE_URL": given}).database_url == taken


BROKEN = {
    "a database of another kind": ("DATABASE_URL", "mysql://db/x", "'mysql' is no database"),
    "a database in memory": ("DATABASE_URL", "sqlite://", "name a file"),
    "a database without name": ("DATABASE_URL", "postgresql://db", "name the database"),
    "no URL": ("DATABASE_URL", "sluice.db", "not a URL"),
    "no Redis": ("REDIS_URL", "http://queue", "not a URL of Redis"),
    "a word for a port": ("PORT", "http", "not a port"),
    "a port too high": ("PORT", "65536", "not a port"),
    "a host with a space": ("HOST", "a b", "not an address"),
    "a public URL with a query": ("PUBLIC_URL", "https://a/?b", "not a web address"),
    "a public URL without scheme": ("PUBLIC_URL", "sluice.example", "not a web address"),
    "a short API token": ("API_TOKEN", "t" * 31, "at least 32 characters"),
    "a kubeconfig that is not there": ("KUBECONFIG", "/nowhere/config", "there is no file"),
    "a short key": ("SECRET_KEYS", "too-short", "at least 32 bytes"),
    "a key that is long only in hex": ("SECRET_KEYS", "ab" * 16, "at least 32 bytes"),
    "a key twice": ("SECRET_KEYS", f"{KEY},{KEY}", "twice"),
    "a short webhook secret": ("GITHUB_WEBHOOK_SECRET", "fifteen-bytes-x", "at least 16 bytes"),
    "a short one among long ones": ("GITHUB_WEBHOOK_SECRET", f"{SECRET},short", "at least 16 bytes"),
    "nothing behind a comma": ("GITHUB_WEBHOOK_SECRET", f"{SECRET},", "at least 16 bytes"),
    "a token with a line end": ("GITHUB_TOKEN", "a\nb", "spaces and control characters"),
    "Gitea without its address": ("GITEA_TOKEN", "abc", "SLUICE_GITEA_URL: set the address"),
    "a forge to come": ("GITLAB_TOKEN", "abc", "not built yet"),
    "half an App": ("GITHUB_APP_ID", "1", "SLUICE_GITHUB_APP_PRIVATE_KEY: set both or none"),
    "an App of a forge without Apps": ("GITEA_APP_ID", "1", "unknown setting"),
    "half an OAuth application": ("GITHUB_OAUTH_CLIENT_ID", "x", "SLUICE_GITHUB_OAUTH_CLIENT_SECRET: set both or none"),
    "an SSH address without user": ("GITHUB_SSH_URL", "ssh://git.example", "not an SSH address"),
    "known hosts of another form": ("GITHUB_KNOWN_HOSTS", "planted", "not lines of known_hosts"),
    "a slip of the pen": ("GITHUB_WEBHOK_SECRET", SECRET, "did you mean SLUICE_GITHUB_WEBHOOK_SECRET?"),
    "something else": ("XYZZY", "1", "unknown setting"),
    "a file that is not there": ("GITHUB_TOKEN_FILE", "/nowhere/planted", "cannot be read"),
}


@pytest.mark.parametrize("row", BROKEN)
def test_broken_settings_stop_the_start(row: str) -> None:
    """The message names the setting and the trouble, and never the value of a secret."""
    name, value, words = BROKEN[row]

    [problem] = problems(**{name: value})

    assert name in problem or name.startswith("GITEA")
    assert words in problem
    assert SECRET not in problem
    assert "planted" not in problem


def test_all_problems_at_once() -> None:
    """One start tells everything that is wrong."""
    found = problems(PORT="x", HOST="?", NOTHING="1", GITHUB_TOKEN="a b")

    assert sorted(problem.split(":")[0] for problem in found) == [
        "SLUICE_GITHUB_TOKEN",
        "SLUICE_HOST",
        "SLUICE_NOTHING",
        "SLUICE_PORT",
    ]


def test_values_from_files(tmp_path: Path) -> None:
    """Each setting can lie in a file; both at once is a mistake."""
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")

    settings = load({"SLUICE_GITHUB_WEBHOOK_SECRET_FILE": str(file)})
    both = problems(GITHUB_WEBHOOK_SECRET_FILE=str(file))

    assert settings.forges["github"].webhook_secrets == (SECRET.encode(),)
    assert "SLUICE_GITHUB_WEBHOOK_SECRET is set as well" in both[0]


def test_limits_that_are_not_kept_yet_are_refused() -> None:
    """An operator who sets something must not believe that it holds."""
    assert problems(GITLAB_TOKEN="x") == ["SLUICE_GITLAB_TOKEN: this is not built yet; remove it"]


def test_no_webhook_secret_at_all() -> None:
    """A server that could verify nothing does not start; commands that serve nothing do."""
    with pytest.raises(ConfigError, match="no webhook secret"):
        load({})
    with pytest.raises(ConfigError, match="no webhook secret"):
        load({"SLUICE_GITHUB_TOKEN": "abc"})
    assert load({}, serving=False).forges == {}
    assert load({"SLUICE_SECRET_KEYS": KEY}).hook_secrets(UUID(int=1))


def test_two_forges_with_one_secret() -> None:
    """Also where it is only one of several."""
    [problem] = problems(GITEA_URL="https://git.example", GITEA_WEBHOOK_SECRET=f"another-secret-of-16,{SECRET}")

    assert "the same secret" in problem
    assert SECRET not in problem


def test_service_links_of_kubernetes_are_not_settings() -> None:
    """A Service called sluice puts its addresses into every pod's environment."""
    settings = load(
        {
            **GITHUB,
            "SLUICE_SERVICE_HOST": "10.0.0.1",
            "SLUICE_SERVICE_PORT_HTTP": "80",
            "SLUICE_PORT": "tcp://10.0.0.1:80",
            "SLUICE_PORT_80_TCP_ADDR": "10.0.0.1",
            "SLUICE_WEB_SERVICE_HOST": "10.0.0.2",
            "SLUICE_WEB_PORT": "tcp://10.0.0.2:80",
        }
    )

    assert settings.port == 8080


@pytest.mark.parametrize("text", [KEY, base64.b64encode(bytes.fromhex(KEY)).decode(), "X18" * 14 + "X" + "w"])
def test_keys_in_hex_and_base64(text: str) -> None:
    """Keys are taken as openssl and Python's secrets print them."""
    [key] = load({"SLUICE_SECRET_KEYS": text}).secret_keys

    assert len(key) >= 32
    assert key != text.encode()


def test_hook_secrets_derive_from_every_key() -> None:
    """Newest first; each hook has its own."""
    settings = load({"SLUICE_SECRET_KEYS": f"{KEY},{'p' * 32}"})
    newest, older = settings.hook_secrets(UUID(int=1))

    assert load({"SLUICE_SECRET_KEYS": "p" * 32}).hook_secrets(UUID(int=1)) == (older,)
    assert len({newest, older, *settings.hook_secrets(UUID(int=2))}) == 4


def test_nothing_secret_is_shown() -> None:
    """Not by repr, str, format or rich; and the redactor gets every one."""
    planted = ["planted-password", "planted-webhook-secret", "planted-token", "planted-git-token", "planted-key" * 3]
    settings = load(
        {
            "SLUICE_DATABASE_URL": f"postgresql://u:{planted[0]}@db/s",
            "SLUICE_GITHUB_WEBHOOK_SECRET": planted[1],
            "SLUICE_GITHUB_TOKEN": planted[2],
            "SLUICE_GITHUB_GIT_TOKEN": planted[3],
            "SLUICE_SECRET_KEYS": planted[4],
        }
    )

    for text in (repr(settings), f"{settings}", repr(settings.forges), repr([settings]), pretty_repr(settings)):
        assert "planted" not in text
    assert set(planted) <= set(settings.secrets())


def test_the_description_is_whole() -> None:
    """Every field is described, with the default that it has."""
    described = {each.name: each for each in describe()}
    fields = {f"SLUICE_{field.name.upper()}" for field in msgspec.structs.fields(Settings)} - {
        "SLUICE_FORGES",
        "SLUICE_IN_POD",
    }

    assert fields <= set(described)
    assert all(each.meaning for each in described.values())
    assert described["SLUICE_PORT"].default == str(load(GITHUB).port)
    assert described["SLUICE_GITHUB_URL"].default == load(GITHUB).forges["github"].url
