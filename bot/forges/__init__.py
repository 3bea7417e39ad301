"""What the forge adapters share: reading payloads safely, and fitting texts and paths to a forge."""

import base64
import binascii
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Annotated, TypeVar
from urllib.parse import parse_qs, quote

import msgspec

from bot.core.errors import Undecodable
from bot.core.events import Checked, Repository

T = TypeVar("T")

KEPT = "sluice/keep/"  # the only branches that Sluice moves by force, or removes
OWN_CONTEXT = "sluice/"  # how our own statuses begin; they never gate anything
CONTEXT_LIMIT = 255
RECENT = 50  # how far back a commit of ours is looked for on a branch

_NAME = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.-]+"
_FULL_NAME = re.compile(rf"{_NAME}/{_NAME}\Z")
_PREFIX = re.compile(r"[0-9a-f]{4,64}\Z")

FullName = Annotated[str, msgspec.Meta(pattern=rf"^{_NAME}/{_NAME}\Z")]
Commit = Annotated[str, msgspec.Meta(pattern=r"^(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")]
Number = Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
Id = Annotated[int, msgspec.Meta(le=2**63 - 1)]


def payload(headers: Mapping[str, str], body: bytes) -> bytes:
    """The JSON of a delivery, whose body is that JSON or a form with the one field `payload`; else Undecodable."""
    kind = headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return body
    try:
        form = parse_qs(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError as error:
        raise Undecodable(f"the form cannot be read: {error}"[:200]) from None
    found = form.get("payload", [])
    if len(found) != 1:
        raise Undecodable(f"the form has {len(found)} fields named payload, not one")
    return found[0].encode()


def decode(raw: bytes, type: type[T]) -> T:
    """The JSON `raw` as `type`; Undecodable for everything that is not, however deep, long or broken."""
    try:
        return msgspec.json.decode(raw, type=type)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError) as error:
        raise Undecodable(f"the payload cannot be read: {error}"[:200]) from None


def key(value: str | None) -> str | None:
    """A delivery id or event name from a header: 1 to 128 printable ASCII characters; None for anything else."""
    if value is None or not 0 < len(value) <= 128 or not (value.isascii() and value.isprintable()):
        return None
    return value


def clean(text: str) -> str:
    """`text` without NUL, which PostgreSQL cannot store."""
    return text.replace("\0", "")


def commit_or_none(commit: str) -> str | None:
    """None for the commit of zeros with which forges say "no commit"."""
    return commit if commit.strip("0") else None


def is_prefix(text: str) -> bool:
    """Whether `text` may be the beginning of a commit's id (4 to 64 lower-case hex digits)."""
    return _PREFIX.match(text) is not None


def full_name_path(repository: str) -> str:
    """`owner/name`, fit to stand in a URL; ValueError for what cannot be a repository's name."""
    if not _FULL_NAME.match(repository):
        raise ValueError(f"{repository!r} is no full name of a repository")
    return repository


def sha_path(oid: str) -> str:
    """A Git object's id, fit to stand in a URL; ValueError for anything else."""
    if not is_prefix(oid):
        raise ValueError(f"{oid!r} is no id of a Git object")
    return oid


def branch_path(branch: str) -> str | None:
    """A branch's name, fit to stand in a URL; None when Git allows no such branch."""
    if any(part in ("", ".", "..") for part in branch.split("/")):
        return None
    return quote(branch, safe="/")


def kept_path(branch: str) -> str:
    """The path of one of Sluice's own branches; ValueError for every other: those are not ours to touch."""
    path = branch_path(branch)
    if path is None or not branch.startswith(KEPT):
        raise ValueError(f"{branch!r} is not below {KEPT}: Sluice moves no such branch")
    return path


def any_branch_path(branch: str) -> str:
    """The path of a branch that is written to; ValueError when Git allows no such branch."""
    path = branch_path(branch)
    if path is None or branch.startswith("refs/"):
        raise ValueError(f"{branch!r} is no name of a branch")
    return path


def file_path(path: str) -> str:
    """A file's path in a repository; ValueError for what would leave it or reach into Git's own folder."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts) or not path.isprintable():
        raise ValueError(f"{path!r} is no path of a file in a repository")
    return path


def team_of(team: str) -> tuple[str, str] | None:
    """(organization, team), both fit to stand in a URL; None for what is no `ORGANIZATION/TEAM`."""
    parts = team.split("/")
    if len(parts) != 2 or not _FULL_NAME.match(team):
        return None
    return parts[0], parts[1]


def is_login(login: str) -> bool:
    """Whether this may be an account's name, and may stand in a URL."""
    return "/" not in login and branch_path(login) is not None


def account_id(number: int) -> str:
    """An account's number as text; the forge's own accounts and the ghosts of deleted ones have none."""
    return str(number) if number > 0 else ""


def worst(states: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The state of each check by its name; of several with one name the worst counts. Sluice's own are left out."""
    order = ("success", "pending", "failure")
    found: dict[str, str] = {}
    for name, state in states:
        if not name.startswith(OWN_CONTEXT):
            found[name] = max(found.get(name, "success"), state, key=order.index)
    return found


def checked(
    repository: Repository, commit: str, name: str, state: str, states: Mapping[str, str], actor: str
) -> Checked | None:
    """The event of a check that ended; None for one that goes on, and for Sluice's own."""
    known = states.get(state, "failure")
    if known == "pending" or name.startswith(OWN_CONTEXT):
        return None
    return Checked(repository=repository, commit=commit, name=clean(name), state=known, actor=clean(actor))


def mode_of(mode: str) -> str:
    """A file's mode, where it is no ordinary one."""
    return mode if mode in ("100755", "120000") else ""


def has_line(message: str, line: str) -> bool:
    """Whether a commit's message has exactly this line."""
    return line in (each.strip() for each in message.splitlines())


def one_line(text: str, limit: int) -> str:
    """`text` on one line and at most `limit` characters long; what is cut off is shown by an ellipsis."""
    line = " ".join(clean(text).split())
    if len(line) <= limit:
        return line
    end = limit - 1
    while end > 0 and (_continues(line[end]) or line[end - 1] == "\u200d"):
        end -= 1  # never through the middle of what people see as one character
    return line[:end].rstrip() + "…"


def _continues(character: str) -> bool:
    """Whether this code point belongs to the one before it: accents, joiners, variation selectors, skin tones."""
    return (
        unicodedata.combining(character) > 0
        or unicodedata.category(character) in ("Mn", "Me")
        or character == "\u200d"
        or "\U0001f3fb" <= character <= "\U0001f3ff"
    )


def status_context(context: str) -> str:
    """A status context of at most 255 characters; longer ones keep their beginning and get a digest, so stay apart."""
    line = " ".join(clean(context).split())
    if len(line) <= CONTEXT_LIMIT:
        return line
    return f"{line[: CONTEXT_LIMIT - 9]}~{hashlib.sha256(line.encode()).hexdigest()[:8]}"


def unpacked(content: str) -> bytes | None:
    """The bytes of base64 with line breaks, as forges send files; None when it is something else."""
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def fitting(body: str, limit: int) -> str:
    """A comment's text without NUL; ValueError when it is longer than the forge takes: reports are paged before."""
    text = clean(body)
    if len(text) > limit:
        raise ValueError(f"a comment of {len(text)} characters is over the limit of {limit}")
    return text
