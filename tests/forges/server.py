"""A small stateful forge on a real socket, speaking GitHub's or Gitea's REST API, with faults on demand."""

import asyncio
import base64
import contextlib
import dataclasses
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from dulwich.objects import Blob, Commit, ShaFile, Tree

Json = dict[str, Any]
OWN = "sluice-bot"
TOKEN = "planted-token-0123456789"


@dataclasses.dataclass
class Fault:
    """What happens to one request instead of, or (`after`) once it had its effect."""

    status: int = 0  # 0: no answer ever
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: str = "{}"
    after: bool = False
    method: str | None = None


@dataclasses.dataclass
class Call:
    """A request that reached the forge."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


class Forge(ABC):
    """State and HTTP of one forge with one repository, `acme/web`. Subclasses are the dialects."""

    page_limit = 100
    own_hook_url = ""

    def __init__(self) -> None:
        self.objects: dict[str, ShaFile] = {}
        self.branches: dict[str, str] = {}
        self.pulls: dict[int, Json] = {}
        self.comments: list[Json] = []
        self.posted: list[Json] = []  # statuses, oldest first
        self.hooks: list[Json] = []
        self.accounts: dict[str, int] = {}
        self.roles: dict[str, str] = {}
        self.teams: dict[str, dict[str, str]] = {}  # of the organization acme: login to active | pending
        self.reviews: list[Json] = []
        self.accounts: dict[str, tuple[Json | None, Json | None]] = {}  # by commit: its author's, its committer's
        self.reactions: list[tuple[int, str]] = []
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.url = ""
        self._id = 1000
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    # Setting the scene

    def commit(self, files: dict[str, bytes], parents: tuple[str, ...] = (), message: str = "m") -> str:
        """A commit of exactly these files."""
        return self.commit_tree(self._folder(files), parents, message)

    def commit_tree(self, tree: bytes, parents: tuple[str, ...], message: str) -> str:
        """A commit of a tree that is there."""
        made = Commit()
        made.tree = tree
        made.parents = [parent.encode() for parent in parents]
        made.author = made.committer = b"A <a@example.test>"
        made.author_time = made.commit_time = 1_700_000_000 + len(self.objects)
        made.author_timezone = made.commit_timezone = 0
        made.message = message.encode()
        return self._keep(made)

    def files(self, commit: str) -> dict[str, bytes]:
        """Every file at a commit, with its content."""
        found = self.objects[commit]
        assert isinstance(found, Commit)
        blobs = [entry for entry in self.listing(found.tree) if entry["type"] == "blob"]
        return {entry["path"]: self._blob(entry["sha"]).data for entry in blobs}

    def parents(self, commit: str) -> tuple[str, ...]:
        """The commits that a commit is made on."""
        found = self.objects[commit]
        assert isinstance(found, Commit)
        return tuple(parent.decode() for parent in found.parents)

    def changed(self, commit: str) -> list[Json]:
        """The files in which a commit differs from its first parent."""
        new, parents = self.files(commit), self.parents(commit)
        old = self.files(parents[0]) if parents else {}
        return [{"filename": path} for path in sorted({*new, *old}) if new.get(path) != old.get(path)]

    def message(self, commit: str) -> str:
        """What a commit says about itself."""
        found = self.objects[commit]
        assert isinstance(found, Commit)
        return found.message.decode()

    def _blob(self, oid: str) -> Blob:
        found = self.objects[oid]
        assert isinstance(found, Blob)
        return found

    def log(self, branch: str) -> list[Json]:
        """The commits of a branch, newest first, as a list shows them."""
        todo, found = [self.branches[branch]], list[str]()
        while todo:
            sha = todo.pop(0)
            if sha not in found:
                found.append(sha)
                todo += self.parents(sha)
        return [{"sha": sha, "commit": {"message": self.message(sha)}} for sha in found]

    def pull(self, number: int, at: str, /, **changes: Any) -> None:
        """A pull request; `changes` overwrite fields of its JSON."""
        self.pulls[number] = {
            "number": number,
            "state": "open",
            "title": "Try it",
            "merged": False,
            "user": {"login": "alice", "id": 7, "type": "User"},
            "draft": False,
            "merge_commit_sha": None,
            "head": {"ref": "feature", "sha": at, "repo": {"id": 12}},
            "base": {"ref": "main", "sha": at, "repo": {"id": 12}},
            **changes,
        }

    def brought(self, commit: str) -> list[Json]:
        """The merged pull requests that brought a commit."""
        merged = [pull for pull in self.pulls.values() if pull["merged"]]
        return [pull for pull in merged if commit in (pull["merge_commit_sha"], pull["head"]["sha"])]

    def reviewed(self, number: int, verdict: str, commit: str, login: str, **more: Any) -> int:
        """A review, in this forge's words."""
        review = {"id": self._next(), "state": verdict, "commit_id": commit, "user": {"login": login, "id": 8}, **more}
        self.reviews.append({**review, "number": number})
        return int(review["id"])

    def authored(self, sha: str) -> Json:
        """A commit as lists show it."""
        author, committer = self.accounts.get(sha, (None, None))
        parents = [{"sha": parent} for parent in self.parents(sha)]
        return {"sha": sha, "author": author, "committer": committer, "parents": parents}

    def said(self, number: int, body: str, login: str) -> int:
        """A comment by somebody."""
        comment = {"id": self._next(), "body": body, "user": {"login": login, "id": 7}, "number": number}
        self.comments.append(comment)
        return int(comment["id"])

    def _folder(self, files: dict[str, bytes]) -> bytes:
        tree, below = Tree(), dict[str, dict[str, bytes]]()
        for path, content in files.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = content
            else:
                blob = Blob.from_string(content)
                self._keep(blob)
                tree.add(name.encode(), 0o100644, blob.id)
        for name, inner in below.items():
            tree.add(name.encode(), 0o040000, self._folder(inner))
        self._keep(tree)
        return tree.id

    def _keep(self, thing: ShaFile) -> str:
        name = thing.id.decode()
        self.objects[name] = thing
        return name

    def _next(self) -> int:
        self._id += 1
        return self._id

    # HTTP

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._writers):
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                await self._one(reader, writer)
        self._tasks.discard(task)
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        call = Call(method, parts.path, query, json.loads(raw) if raw else None, headers)
        self.calls.append(call)
        fault = next((f for f in self.faults if f.method in (None, method)), None)
        if fault is not None:
            self.faults.remove(fault)
        status, extra, answer = (0, {}, None) if fault is not None and not fault.after else self._route(call)
        if fault is not None:
            if fault.status == 0:
                await asyncio.Event().wait()
            status, extra, answer = fault.status, fault.headers, fault.body
        text = answer if isinstance(answer, str) else json.dumps(answer)
        content = b"" if status == 204 else text.encode()
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(content)}", *(f"{k}: {v}" for k, v in extra.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        await writer.drain()

    def _route(self, call: Call) -> tuple[int, dict[str, str], Any]:
        path = unquote(call.path.removeprefix(self.prefix))
        for method, pattern, act in self.routes():
            found = re.fullmatch(pattern, path)
            if found and method == call.method:
                result = act(call, *found.groups())
                return result if len(result) == 3 else (result[0], {}, result[1])
        return 404, {}, {"message": "Not Found"}

    prefix = ""

    def routes(self) -> Iterator[tuple[str, str, Callable[..., Any]]]:
        repo = "/repos/acme/web"
        yield "GET", "/user", lambda call: (200, {"login": OWN, "id": 3, "type": "User"})
        yield "GET", "/users/([^/]+)", self.account
        yield "GET", repo, lambda call: (200, self.repository())
        yield "GET", f"{repo}/pulls", self.list_pulls
        yield "POST", f"{repo}/pulls", self.post_pull
        yield "GET", rf"{repo}/pulls/(\d+)", self.get_pull
        yield "GET", rf"{repo}/collaborators/([^/]+)/permission", self.permission
        yield "GET", rf"{repo}/git/trees/(\w+)", self.tree
        yield "GET", rf"{repo}/git/blobs/(\w+)", self.blob
        yield "POST", rf"{repo}/statuses/(\w+)", self.post_status
        yield "GET", rf"{repo}/issues/(\d+)/comments", self.list_comments
        yield "POST", rf"{repo}/issues/(\d+)/comments", self.post_comment
        yield "PATCH", rf"{repo}/issues/comments/(\d+)", self.edit_comment
        yield "POST", rf"{repo}/issues/comments/(\d+)/reactions", self.react
        yield "GET", rf"{repo}/pulls/(\d+)/reviews", self.list_reviews
        yield "GET", f"{repo}/hooks", lambda call: self.paged(call, self.hooks)
        yield "POST", f"{repo}/hooks", self.post_hook

    def repository(self) -> Json:
        page = "https://forge.example.test/acme/web"
        facts = {"id": 12, "full_name": "acme/web", "default_branch": "main", "private": True}
        return {**facts, "clone_url": f"{page}.git", "html_url": page}

    def list_pulls(self, call: Call) -> Any:
        assert call.query["state"] == "open"
        return self.paged(call, [pull for pull in self.pulls.values() if pull["state"] == "open"])

    def post_pull(self, call: Call) -> Any:
        head, number = self.branches.get(call.body["head"]), len(self.pulls) + 1
        if head is None or call.body["base"] not in self.branches:
            return self.no_such_branch
        if any(pull["head"]["ref"] == call.body["head"] and pull["state"] == "open" for pull in self.pulls.values()):
            return self.pull_exists
        ends = {name: {"ref": call.body[name], "sha": head, "repo": {"id": 12}} for name in ("head", "base")}
        self.pull(number, head, **ends, title=call.body["title"], body=call.body["body"], user={"login": OWN, "id": 3})
        return 201, self.pulls[number]

    no_such_branch: tuple[int, Json] = (404, {"message": "The target couldn't be found."})
    pull_exists: tuple[int, Json] = (409, {"message": "pull request already exists for these targets"})

    def get_pull(self, call: Call, number: str) -> Any:
        pull = self.pulls.get(int(number))
        return (200, pull) if pull else (404, {"message": "Not Found"})

    def account(self, call: Call, login: str) -> Any:
        if login not in self.accounts:
            return 404, {}, {"message": "Not Found"}
        return 200, {}, {"login": login, "id": self.accounts[login], "type": "User"}

    def permission(self, call: Call, login: str) -> Any:
        role = self.roles.get(login)
        return (200, {"permission": role, "role_name": role}) if role else (404, {"message": f"{login} is not a user"})

    def blob(self, call: Call, oid: str) -> Any:
        thing = self.objects.get(oid)
        if not isinstance(thing, Blob):
            return 404, {"message": "Not Found"}
        return 200, {"content": base64.encodebytes(thing.data).decode(), "encoding": "base64", "sha": oid}

    def listing(self, oid: bytes, below: str = "") -> Iterator[Json]:
        tree = self.objects[oid.decode()]
        assert isinstance(tree, Tree)
        for entry in tree.iteritems():
            kind = "tree" if entry.mode == 0o040000 else "blob"
            path = below + entry.path.decode()
            yield {"path": path, "mode": f"{entry.mode:06o}", "type": kind, "sha": entry.sha.decode()}
            if kind == "tree":
                yield from self.listing(entry.sha, f"{path}/")

    def ancestors(self, sha: str) -> set[str]:
        found, todo = set[str](), [sha]
        while todo:
            one = todo.pop()
            commit = self.objects[one]
            assert isinstance(commit, Commit)
            found.add(one)
            todo += [parent.decode() for parent in commit.parents if parent.decode() not in found]
        return found

    def is_commit(self, sha: str) -> bool:
        return isinstance(self.objects.get(sha), Commit)

    def commits_like(self, prefix: str) -> list[str]:
        return [sha for sha in self.objects if sha.startswith(prefix) and self.is_commit(sha)]

    def list_comments(self, call: Call, number: str) -> Any:
        return self.paged(call, [comment for comment in self.comments if comment["number"] == int(number)])

    def post_comment(self, call: Call, number: str) -> Any:
        made = self.said(int(number), call.body["body"], OWN)
        return 201, {"id": made}

    def edit_comment(self, call: Call, number: str) -> Any:
        for comment in self.comments:
            if comment["id"] == int(number):
                comment["body"] = call.body["body"]
                return 200, comment
        return 404, {"message": "Not Found"}

    def react(self, call: Call, number: str) -> Any:
        if not any(comment["id"] == int(number) for comment in self.comments):
            return 404, {"message": "Not Found"}
        new = (int(number), call.body["content"]) not in self.reactions
        if new:
            self.reactions.append((int(number), call.body["content"]))
        return 201 if new else 200, {"content": call.body["content"]}

    def list_reviews(self, call: Call, number: str) -> Any:
        return self.paged(call, [review for review in self.reviews if review["number"] == int(number)])

    @abstractmethod
    def post_status(self, call: Call, sha: str) -> Any:
        """Each forge has its own states and field names."""

    @abstractmethod
    def tree(self, call: Call, sha: str) -> Any:
        """Each forge pages and cuts it in its own way."""

    def post_hook(self, call: Call) -> Any:
        hook = {"id": self._next(), "active": True, "events": call.body["events"], "config": call.body["config"]}
        self.hooks.append(hook)
        return 201, hook

    def paged(self, call: Call, items: list[Any]) -> Any:
        size = min(int(call.query.get(self.size_name, 30)), self.page_limit)
        page = int(call.query.get("page", 1))
        part = items[(page - 1) * size : page * size]
        more = page * size < len(items)
        query = "&".join(f"{k}={v}" for k, v in {**call.query, "page": page + 1}.items())
        return 200, {"link": f'<{self.link_base}{call.path}?{query}>; rel="next"'} if more else {}, part

    size_name = "per_page"

    @property
    def link_base(self) -> str:
        return self.url


class GitHubForge(Forge):
    """Speaks as GitHub does."""

    def __init__(self) -> None:
        super().__init__()
        self.check_runs: list[Json] = []

    def routes(self) -> Iterator[tuple[str, str, Callable[..., Any]]]:
        yield from super().routes()
        repo = "/repos/acme/web"
        yield "GET", f"{repo}/git/ref/heads/(.+)", self.get_ref
        yield "POST", f"{repo}/git/refs", self.post_ref
        yield "PATCH", f"{repo}/git/refs/heads/(.+)", self.move_ref
        yield "DELETE", f"{repo}/git/refs/heads/(.+)", self.delete_ref
        yield "GET", rf"{repo}/git/commits/(\w+)", self.git_commit
        yield "GET", rf"{repo}/commits/(\w+)", self.get_commit
        yield "GET", rf"{repo}/commits/(\w+)/statuses", self.statuses
        yield "GET", rf"{repo}/compare/(\w+)\.\.\.(\w+)", self.compare
        yield "GET", rf"{repo}/commits/(\w+)/status", self.combined
        yield "GET", rf"{repo}/commits/(\w+)/check-runs", self.list_check_runs
        yield "GET", rf"{repo}/commits/(\w+)/pulls", lambda call, sha: self.paged(call, self.brought(sha))
        yield "GET", r"/orgs/acme/teams/([^/]+)/memberships/([^/]+)", self.membership
        yield "POST", rf"{repo}/comments/(\d+)/reactions", self.react
        yield "GET", rf"{repo}/commits/(\w+)/comments", self.list_commit_comments
        yield "POST", rf"{repo}/commits/(\w+)/comments", self.post_commit_comment
        yield "PATCH", rf"{repo}/hooks/(\d+)", self.edit_hook
        yield "POST", f"{repo}/git/blobs", self.post_blob
        yield "POST", f"{repo}/git/trees", self.post_tree
        yield "POST", f"{repo}/git/commits", self.post_commit
        yield "GET", f"{repo}/commits", self.list_commits

    no_such_branch = (422, {"message": "Validation Failed", "errors": [{"field": "head", "code": "invalid"}]})
    pull_exists = (422, {"message": "Validation Failed", "errors": [{"message": "A pull request already exists"}]})

    def list_pulls(self, call: Call) -> Any:
        found = [pull for pull in self.pulls.values() if pull["state"] == "open"]
        if "head" in call.query:
            found = [pull for pull in found if f"acme:{pull['head']['ref']}" == call.query["head"]]
        return self.paged(call, found)

    def post_blob(self, call: Call) -> Any:
        assert call.body["encoding"] == "base64"
        return 201, {"sha": self._keep(Blob.from_string(base64.b64decode(call.body["content"])))}

    def post_tree(self, call: Call) -> Any:
        files = {entry["path"]: entry["sha"] for entry in call.body["tree"]}
        old = [each for each in self.listing(call.body["base_tree"].encode()) if each["type"] == "blob"]
        every = {**{each["path"]: each["sha"] for each in old}, **files}
        return 201, {"sha": self._folder({path: self._blob(sha).data for path, sha in every.items()}).decode()}

    def post_commit(self, call: Call) -> Any:
        parents = tuple(call.body["parents"])
        if not all(self.is_commit(parent) for parent in parents):
            return 422, {"message": "Parent SHA does not exist or is not a commit object"}
        return 201, {"sha": self.commit_tree(call.body["tree"].encode(), parents, call.body["message"])}

    def list_commits(self, call: Call) -> Any:
        if call.query["sha"] not in self.branches:
            return 404, {"message": "Not Found"}
        return self.paged(call, self.log(call.query["sha"]))

    def get_ref(self, call: Call, branch: str) -> Any:
        head = self.branches.get(branch)
        return (200, {"object": {"sha": head}}) if head else (404, {"message": "Not Found"})

    def post_ref(self, call: Call) -> Any:
        branch = call.body["ref"].removeprefix("refs/heads/")
        if branch in self.branches:
            return 422, {"message": "Reference already exists"}
        if not self.is_commit(call.body["sha"]):
            return 422, {"message": "Object does not exist"}
        self.branches[branch] = call.body["sha"]
        return 201, {"object": {"sha": call.body["sha"]}}

    def move_ref(self, call: Call, branch: str) -> Any:
        if branch not in self.branches:
            return 422, {"message": "Reference does not exist"}
        forced = call.body["force"]
        assert not forced or branch.startswith("sluice/keep/")
        if not forced and self.branches[branch] not in self.ancestors(call.body["sha"]):
            return 422, {"message": "Update is not a fast forward"}
        self.branches[branch] = call.body["sha"]
        return 200, {"object": {"sha": call.body["sha"]}}

    def delete_ref(self, call: Call, branch: str) -> Any:
        if self.branches.pop(branch, None) is None:
            return 422, {"message": "Reference does not exist"}
        return 204, None

    def git_commit(self, call: Call, sha: str) -> Any:
        commit = self.objects.get(sha)
        if not isinstance(commit, Commit):
            return 404, {"message": "Not Found"}
        return 200, {"sha": sha, "tree": {"sha": commit.tree.decode()}}

    def tree(self, call: Call, sha: str) -> Any:
        return 200, {"sha": sha, "tree": list(self.listing(sha.encode())), "truncated": False}

    def get_commit(self, call: Call, prefix: str) -> Any:
        found = self.commits_like(prefix)
        if len(found) != 1:
            return 422, {"message": f"No commit found for SHA: {prefix}"}
        return 200, {"sha": found[0], "files": self.changed(found[0])[:300]}

    def compare(self, call: Call, base: str, head: str) -> Any:
        if not (self.is_commit(base) and self.is_commit(head)):
            return 404, {"message": "Not Found"}
        ahead, behind = self.ancestors(head), self.ancestors(base)
        if not ahead & behind:
            return 404, {"message": f"No common ancestor between {base} and {head}."}
        status = "ahead" if base in ahead else "behind" if head in behind else "diverged"
        common = ahead & behind
        best = common - {parent for sha in common for parent in self.parents(sha)}
        _, links, page = self.paged(call, [self.authored(sha) for sha in sorted(ahead - behind)])
        return 200, links, {"status": status, "merge_base_commit": {"sha": min(best)}, "commits": page}

    def list_commit_comments(self, call: Call, sha: str) -> Any:
        return self.paged(call, [comment for comment in self.comments if comment["number"] == sha])

    def post_commit_comment(self, call: Call, sha: str) -> Any:
        made = {"id": self._next(), "body": call.body["body"], "user": {"login": OWN, "id": 3}, "number": sha}
        self.comments.append(made)
        return 201, {"id": made["id"]}

    def membership(self, call: Call, team: str, login: str) -> Any:
        state = self.teams.get(team, {}).get(login)
        return (200, {"state": state, "role": "member"}) if state else (404, {"message": "Not Found"})

    def combined(self, call: Call, sha: str) -> Any:
        newest = {each["context"]: each for each in self.posted if each["sha"] == sha}
        _, links, page = self.paged(call, list(newest.values()))
        return 200, links, {"state": "pending", "statuses": page, "total_count": len(newest)}

    def list_check_runs(self, call: Call, sha: str) -> Any:
        assert call.query["filter"] == "latest"
        _, links, page = self.paged(call, [run for run in self.check_runs if run["head_sha"] == sha])
        return 200, links, {"total_count": len(self.check_runs), "check_runs": page}

    def statuses(self, call: Call, sha: str) -> Any:
        return self.paged(call, [status for status in reversed(self.posted) if status["sha"] == sha])

    def post_status(self, call: Call, sha: str) -> Any:
        context = call.body["context"]
        if sum((each["sha"], each["context"]) == (sha, context) for each in self.posted) >= 1000:
            told = "This SHA and context has reached the maximum number of statuses."
            return 422, {"message": "Validation Failed", "errors": [{"resource": "Status", "message": told}]}
        if call.body["state"] not in ("pending", "success", "error", "failure") or len(call.body["description"]) > 140:
            return 422, {"message": "Validation Failed"}
        if not self.is_commit(sha):
            return 422, {"message": f"No commit found for SHA: {sha}"}
        self.posted.append({**call.body, "sha": sha})
        return 201, self.posted[-1]

    def post_hook(self, call: Call) -> Any:
        assert call.body["name"] == "web"
        if any(hook["config"]["url"] == call.body["config"]["url"] for hook in self.hooks):
            return 422, {"message": "Validation Failed", "errors": [{"message": "Hook already exists"}]}
        return super().post_hook(call)

    def edit_hook(self, call: Call, number: str) -> Any:
        hook = next(hook for hook in self.hooks if hook["id"] == int(number))
        hook.update(active=call.body["active"], events=call.body["events"], config=call.body["config"])
        return 200, hook


class GiteaForge(Forge):
    """Speaks as Gitea 1.26 does, with the oddities seen there."""

    prefix = "/api/v1"
    page_limit = 50
    size_name = "limit"
    tree_page = 1000
    moves_branches = True

    @property
    def link_base(self) -> str:
        return "https://gitea.example.test"  # ROOT_URL, whatever address was asked

    def routes(self) -> Iterator[tuple[str, str, Callable[..., Any]]]:
        yield from super().routes()
        repo = "/repos/acme/web"
        yield "POST", f"{repo}/branches", self.post_branch
        yield "GET", f"{repo}/branches/(.+)", self.get_branch
        yield "PUT", f"{repo}/branches/(.+)", self.put_branch
        yield "DELETE", f"{repo}/branches/(.+)", self.delete_branch
        yield "GET", rf"{repo}/git/commits/(\w+)", self.get_commit
        yield "GET", f"{repo}/commits", self.list_commits
        yield "GET", rf"{repo}/statuses/(\w+)", self.statuses
        yield "GET", rf"{repo}/commits/(\w+)/pull", self.merged_pull
        yield "GET", "/orgs/acme/teams/search", self.search_teams
        yield "GET", r"/teams/(\d+)/members/([^/]+)", self.member
        yield "DELETE", rf"{repo}/hooks/(\d+)", self.delete_hook
        yield "POST", f"{repo}/contents", self.post_contents

    def post_contents(self, call: Call) -> Any:
        branch = call.body["branch"]
        if branch not in self.branches:
            return 404, {"message": "branch does not exist"}
        files = self.files(self.branches[branch])
        for change in call.body["files"]:
            path, old = change["path"], files.get(change["path"])
            if change["operation"] == "create" and old is not None:
                return 422, {"message": f"repository file already exists [path: {path}]"}
            if change["operation"] == "update" and (old is None or Blob.from_string(old).id.decode() != change["sha"]):
                return 422, {"message": "sha does not match"}
            files[path] = base64.b64decode(change["content"])
        made = self.commit(files, (self.branches[branch],), call.body["message"])
        self.branches[branch] = made
        return 201, {"commit": {"sha": made}}

    def list_comments(self, call: Call, number: str) -> Any:
        found = [comment for comment in self.comments if comment["number"] == int(number)]
        return 200, {"x-total-count": str(len(found))}, found  # all at once

    def post_branch(self, call: Call) -> Any:
        name, sha = call.body["new_branch_name"], call.body["old_ref_name"]
        if len(name) > 100:
            return 422, {"message": "[BranchName]: MaxSize"}
        if name in self.branches:
            return 409, {"message": "The branch already exists."}
        if not self.is_commit(sha):
            return 500, {"message": ""}
        self.branches[name] = sha
        return 201, {"commit": {"id": sha}}

    def get_branch(self, call: Call, branch: str) -> Any:
        head = self.branches.get(branch)
        return (200, {"commit": {"id": head}}) if head else (404, {"message": "not found"})

    def put_branch(self, call: Call, branch: str) -> Any:
        if not self.moves_branches:
            return 405, ""
        if branch not in self.branches:
            return 404, {"message": "not found"}
        self.branches[branch] = call.body["new_commit_id"]
        return 204, None

    def delete_branch(self, call: Call, branch: str) -> Any:
        return (204, None) if self.branches.pop(branch, None) else (404, {"message": "not found"})

    def get_commit(self, call: Call, prefix: str) -> Any:
        found = self.commits_like(prefix)
        if len(found) != 1:
            return 404, {"message": f"commit doesn't exist: {prefix}"}
        files = self.changed(found[0]) if call.query.get("files") == "true" else None
        return 200, {"sha": found[0], "commit": {"tree": {"sha": found[0]}}, "files": files}  # not the tree's

    def list_commits(self, call: Call) -> Any:
        if call.query["sha"] in self.branches:
            return self.paged(call, self.log(call.query["sha"]))
        if not self.is_commit(call.query["sha"]):
            return 404, {"message": "not found"}
        if not self.is_commit(call.query["not"]):
            return 500, {"message": ""}
        lacking = self.ancestors(call.query["sha"]) - self.ancestors(call.query["not"])
        return self.paged(call, [self.authored(sha) for sha in sorted(lacking)])

    def merged_pull(self, call: Call, sha: str) -> Any:
        found = [pull for pull in self.brought(sha) if pull["merge_commit_sha"] == sha]
        return (200, found[0]) if found else (404, {"message": "pull request does not exist"})

    def search_teams(self, call: Call) -> Any:
        names = [name for name in self.teams if call.query["q"].lower() in name.lower()]
        data = [{"id": list(self.teams).index(name) + 1, "name": name} for name in names]
        return 200, {"ok": True, "data": data}

    def member(self, call: Call, team: str, login: str) -> Any:
        state = list(self.teams.values())[int(team) - 1].get(login)
        return (200, {"login": login, "id": 9}) if state == "active" else (404, {"message": "Not Found"})

    def tree(self, call: Call, sha: str) -> Any:
        commit = self.objects.get(sha)
        if not isinstance(commit, Commit):
            return 400, {"message": f"sha not found [{sha}]"}
        page = int(call.query.get("page", 1))
        listed = list(self.listing(commit.tree))
        end = page * self.tree_page
        return 200, {"sha": sha, "tree": listed[end - self.tree_page : end], "truncated": end < len(listed)}

    def statuses(self, call: Call, sha: str) -> Any:
        found = [status for status in self.posted if status["sha"] == sha]
        if call.query.get("sort") == "leastindex":
            found.reverse()
        return self.paged(call, found)

    def post_status(self, call: Call, sha: str) -> Any:
        if not self.is_commit(sha):
            return 500, {"message": ""}
        made = {"id": self._next(), "sha": sha, "context": call.body["context"], "status": call.body["state"]}
        self.posted.append({**made, "description": call.body["description"].strip()})
        return 201, self.posted[-1]

    def delete_hook(self, call: Call, number: str) -> Any:
        self.hooks = [hook for hook in self.hooks if hook["id"] != int(number)]
        return 204, None
