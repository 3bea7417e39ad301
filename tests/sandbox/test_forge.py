"""The sandbox forge answers and calls like GitHub does."""

import base64
import hashlib
import hmac
import http.server
import json
import socket
import threading
from urllib.parse import parse_qs

import httpx2
import pytest

from bot.sandbox.forge import Refusal, SandboxForge
from bot.sandbox.git import FetchError, GitStore
from bot.sandbox.server import Loopback

SHOP = "acme/shop"
FILES = {"README.md": b"# Shop\n", "deploy/dev/app.yaml": b"kind: ConfigMap\n"}
SECRET = "the hook's secret"
EVERYTHING = ["*"]


class Receiver:
    """A web server that keeps what it gets, and answers as told."""

    def __init__(self):
        self.got = []
        self.answer = 202
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                self.send_response(receiver.answer)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def events(self):
        return [(headers["X-GitHub-Event"], json.loads(body)) for headers, body in self.got]

    @property
    def names(self):
        return [f"{event}.{said['action']}" if "action" in said else event for event, said in self.events]

    def said(self, event):
        return [said for name, said in self.events if name == event]

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Clock:
    """Stands still unless told otherwise."""

    now = 1_800_000_000.0  # 2027-01-15T08:00:00Z

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def forge(tmp_path, clock):
    forge = SandboxForge(GitStore(tmp_path, clock=clock), clock=clock)
    for login in ("ada", "ben", "eve", "sluice"):
        forge.add_user(login)
    forge.create_repository("acme", "shop", FILES)
    forge.set_permission(SHOP, "ada", "admin")
    forge.set_permission(SHOP, "ben", "triage")
    forge.set_permission(SHOP, "sluice", "admin")
    server = Loopback(forge.app)
    forge.url = server.start()
    yield forge
    server.stop()
    forge.close()


@pytest.fixture
def client(forge):
    headers = {"Authorization": f"Bearer {forge.token('sluice')}"}
    with httpx2.Client(base_url=forge.url, headers=headers, trust_env=False, verify=False) as client:  # plain HTTP
        yield client


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def as_user(forge, login):
    return {"Authorization": f"token {forge.token(login)}"}


def hooked(client, receiver, **more):
    body = {"config": {"url": receiver.url, "secret": SECRET, "content_type": "json"}, "events": EVERYTHING}
    answer = client.post(f"/repos/{SHOP}/hooks", json={**body, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def pull(forge, branch="topic", by="ada", changes=None):
    forge.push(SHOP, branch, changes or {"deploy/dev/app.yaml": b"kind: Secret\n"}, by=by)
    return forge.open_pull_request(SHOP, branch, "main", "A change", by)


class TestAccess:
    """Who sees what, and what the refusals look like."""

    def test_me(self, client):
        """The token says who asks."""
        assert client.get("/user").json()["login"] == "sluice"
        assert client.get("/api/v3/user").json()["type"] == "User"

    @pytest.mark.parametrize("header", ["Bearer wrong", "token", "Basic eDp5", "Basic %%%", "Digest x"])
    def test_bad_tokens(self, client, header):
        """A wrong token is refused even for what is public."""
        answer = client.get(f"/repos/{SHOP}", headers={"Authorization": header})
        assert answer.status_code == 401
        assert answer.json()["message"] == "Bad credentials"
        assert answer.json().keys() == {"message", "documentation_url", "status"}

    def test_private_repositories_are_hidden(self, forge, client):
        """Without read access nothing is said about whether it exists."""
        forge.create_repository("acme", "vault", {"a": b""}, private=True)
        forge.set_permission("acme/vault", "ada", "read")

        assert client.get("/repos/acme/vault").status_code == 404
        assert client.get("/repos/acme/vault", headers=as_user(forge, "ada")).json()["private"] is True
        assert client.get("/repos/acme/vault/pulls").status_code == 404

    def test_writes_need_rights(self, forge, client):
        """Read is not write, write is not admin, nobody is not somebody."""
        sha = forge.head(SHOP)
        status = {"state": "success", "context": "x"}
        forge.set_permission(SHOP, "ben", "write")
        for login, path, body, expected in (
            ("eve", f"/statuses/{sha}", status, 403),
            ("ben", f"/statuses/{sha}", status, 201),
            ("ben", "/hooks", {"config": {"url": "http://127.0.0.1:9/"}}, 403),
            ("eve", "/git/refs", {"ref": "refs/heads/x", "sha": sha}, 403),
        ):
            answer = client.post(f"/repos/{SHOP}{path}", json=body, headers=as_user(forge, login))
            assert answer.status_code == expected, (login, path)
        assert httpx2.post(f"{forge.url}/repos/{SHOP}/statuses/{sha}", json=status).status_code == 401
        assert [(e.kind, e.actor) for e in forge.effects] == [("status.created", "ben")]

    @pytest.mark.parametrize(
        ("role", "permission"),
        [("admin", "admin"), ("maintain", "write"), ("write", "write"), ("triage", "read"), ("read", "read")],
    )
    def test_permission(self, forge, client, role, permission):
        """The endpoint has the old four words and the role."""
        forge.set_permission(SHOP, "ben", role)
        said = client.get(f"/repos/{SHOP}/collaborators/ben/permission").json()
        assert (said["permission"], said["role_name"], said["user"]["login"]) == (permission, role, "ben")

    def test_permission_of_strangers(self, forge, client):
        """In a public repository everybody reads; unknown people and bots are 404; asking needs push access."""
        forge.add_user("robot[bot]", "Bot")
        path = f"/repos/{SHOP}/collaborators"
        assert client.get(f"{path}/eve/permission").json()["permission"] == "read"
        assert client.get(f"{path}/nobody/permission").status_code == 404
        assert client.get(f"{path}/robot[bot]/permission").json()["message"] == "robot[bot] is not a user"
        assert client.get(f"{path}/ada/permission", headers=as_user(forge, "eve")).status_code == 403

        forge.create_repository("acme", "vault", {"a": b""}, private=True)
        forge.set_permission("acme/vault", "sluice", "write")
        said = client.get("/repos/acme/vault/collaborators/eve/permission").json()
        assert (said["permission"], said["role_name"]) == ("none", "none")


class TestGitData:
    """Branches, commits, trees and files."""

    def test_repository(self, forge, client):
        """The fields that clients read."""
        said = client.get(f"/repos/{SHOP}").json()
        assert (said["full_name"], said["default_branch"], said["owner"]["login"]) == (SHOP, "main", "acme")
        assert said["clone_url"] == f"{forge.url}/acme/shop.git"
        assert said["permissions"]["push"] is True
        assert client.get("/repos/ACME/Shop").json()["id"] == said["id"] == forge.repository_id(SHOP)

    def test_branches_and_refs(self, forge, client):
        """One branch by three names, with slashes in them."""
        sha = forge.push(SHOP, "feature/a/b", {"a": b"1"}, by="ada")
        assert client.get(f"/repos/{SHOP}/branches/feature/a/b").json()["commit"]["sha"] == sha
        assert client.get(f"/repos/{SHOP}/branches/feature%2Fa%2Fb").json()["name"] == "feature/a/b"
        assert client.get(f"/repos/{SHOP}/git/ref/heads/feature/a/b").json()["object"]["sha"] == sha
        assert client.get(f"/repos/{SHOP}/commits/feature/a/b").json()["sha"] == sha
        assert client.get(f"/repos/{SHOP}/branches/nope").json()["message"] == "Branch not found"
        assert client.get(f"/repos/{SHOP}/git/ref/heads/feature").status_code == 404
        assert [branch["name"] for branch in client.get(f"/repos/{SHOP}/branches").json()] == ["feature/a/b", "main"]

    def test_ref_writes(self, forge, client):
        """Made, moved forward, refused sideways, forced, removed; each wrong step has GitHub's words."""
        old, refs = forge.head(SHOP), f"/repos/{SHOP}/git/refs"
        new = forge.push(SHOP, "main", {"a": b"1"}, by="ada")
        ref = "refs/heads/sluice/keep/shop/dev"

        assert client.post(refs, json={"ref": ref, "sha": old}).status_code == 201
        assert client.post(refs, json={"ref": ref, "sha": old}).json()["message"] == "Reference already exists"
        gone = client.post(refs, json={"ref": "refs/heads/y", "sha": "1" * 40})
        assert (gone.status_code, gone.json()["message"]) == (422, "Object does not exist")
        path = f"{refs}/heads/sluice/keep/shop/dev"
        assert client.patch(path, json={"sha": new}).json()["object"]["sha"] == new
        back = client.patch(path, json={"sha": old})
        assert (back.status_code, back.json()["message"]) == (422, "Update is not a fast forward")
        assert client.patch(path, json={"sha": old, "force": True}).status_code == 200
        assert client.delete(path).status_code == 204
        assert client.delete(path).json()["message"] == "Reference does not exist"
        assert [e.kind for e in forge.effects if e.actor == "sluice"] == [
            "branch.created",
            "branch.moved",
            "branch.moved",
            "branch.deleted",
        ]

    def test_objects_are_made_before_a_branch_has_them(self, forge, client):
        """Blob, tree and commit as GitHub's Git database makes them; a branch moves to the commit like to any other."""
        git, base = f"/repos/{SHOP}/git", forge.head(SHOP)
        blob = client.post(f"{git}/blobs", json={"content": base64.b64encode(b"\xff").decode(), "encoding": "base64"})
        assert blob.status_code == 201
        old = client.get(f"{git}/commits/{base}").json()["tree"]["sha"]
        file = {"mode": "100644", "type": "blob"}
        entries = [{"path": "x/bin", "sha": blob.json()["sha"], **file}, {"path": "x/text", "content": "hé", **file}]
        entries.append({"path": "README.md", "sha": None, **file})
        tree = client.post(f"{git}/trees", json={"base_tree": old, "tree": entries}).json()
        assert [entry["path"] for entry in tree["tree"]] == ["deploy", "x"]
        body = {"message": "By hand", "tree": tree["sha"], "parents": [base]}
        made = client.post(f"{git}/commits", json=body).json()
        assert (made["message"], [parent["sha"] for parent in made["parents"]]) == ("By hand", [base])
        assert forge.head(SHOP) == base
        assert client.patch(f"{git}/refs/heads/main", json={"sha": made["sha"]}).status_code == 200
        assert forge.store.files(SHOP, forge.head(SHOP)) == {
            "deploy/dev/app.yaml": FILES["deploy/dev/app.yaml"],
            "x/bin": b"\xff",
            "x/text": "hé".encode(),
        }

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("blobs", {"encoding": "base64"}),
            ("blobs", {"content": "?", "encoding": "base64"}),
            ("blobs", {"content": "x", "encoding": "rot13"}),
            ("trees", {"tree": []}),
            ("trees", {"tree": ["x"]}),
            ("trees", {"tree": [{"path": "../x", "mode": "100644", "content": "x"}]}),
            ("trees", {"tree": [{"path": "x", "mode": "160000", "sha": "1" * 40}]}),
            ("trees", {"tree": [{"path": "x", "mode": "100644", "sha": "1" * 40}]}),
            ("trees", {"tree": [{"path": "x", "mode": "100644", "sha": None}]}),
            ("trees", {"base_tree": "1" * 40, "tree": [{"path": "x", "mode": "100644", "content": "x"}]}),
            ("commits", {"message": "x", "tree": "1" * 40}),
            ("commits", {"message": "x"}),
            ("commits", {"message": "x", "tree": "1" * 40, "parents": "main"}),
        ],
    )
    def test_objects_that_cannot_be_made(self, client, kind, body):
        assert client.post(f"/repos/{SHOP}/git/{kind}", json=body).status_code == 422

    def test_compare(self, forge, client):
        """All four relations, counted, with the merge base and the files."""
        base = forge.head(SHOP)
        topic = forge.push(SHOP, "topic", {"README.md": None, "new": b"a\nb\n"}, by="ada")
        main = forge.push(SHOP, "main", {"other": b""}, by="ada")

        def compare(span):
            said = client.get(f"/repos/{SHOP}/compare/{span}").json()
            return said["status"], said["ahead_by"], said["behind_by"], said["merge_base_commit"]["sha"]

        assert compare(f"{base}...topic") == ("ahead", 1, 0, base)
        assert compare(f"topic...{base}") == ("behind", 0, 1, base)
        assert compare("main...topic") == ("diverged", 1, 1, base)
        assert compare(f"{main}...main") == ("identical", 0, 0, main)
        said = client.get(f"/repos/{SHOP}/compare/main...{topic}").json()
        files = {file["filename"]: (file["status"], file["additions"], file["deletions"]) for file in said["files"]}
        assert files == {"README.md": ("removed", 0, 1), "new": ("added", 2, 0)}
        assert client.get(f"/repos/{SHOP}/compare/main...nope").status_code == 404

    def test_trees_blobs_and_contents(self, forge, client):
        """The same bytes by tree and blob, by path, and raw."""
        sha = forge.push(SHOP, "main", {"big.bin": bytes(range(256)) * 4}, by="ada")
        said = client.get(f"/repos/{SHOP}/git/trees/{sha}?recursive=1").json()
        assert said["truncated"] is False
        assert [(e["path"], e["type"], e["mode"]) for e in said["tree"]] == [
            ("README.md", "blob", "100644"),
            ("big.bin", "blob", "100644"),
            ("deploy", "tree", "040000"),
            ("deploy/dev", "tree", "040000"),
            ("deploy/dev/app.yaml", "blob", "100644"),
        ]
        blob = client.get(said["tree"][1]["url"]).json()
        assert base64.b64decode(blob["content"]) == bytes(range(256)) * 4
        assert "\n" in blob["content"], "GitHub breaks the lines"
        assert len(client.get(f"/repos/{SHOP}/git/trees/main").json()["tree"]) == 3
        content = client.get(f"/repos/{SHOP}/contents/deploy/dev/app.yaml?ref={sha}").json()
        assert base64.b64decode(content["content"]) == FILES["deploy/dev/app.yaml"]
        raw = client.get(content["url"], headers={"Accept": "application/vnd.github.raw+json"})
        assert raw.content == FILES["deploy/dev/app.yaml"]
        assert [(e["name"], e["type"]) for e in client.get(f"/repos/{SHOP}/contents/deploy").json()] == [("dev", "dir")]
        for path in ("contents/nope", "contents/README.md?ref=nope", f"git/blobs/{'0' * 40}", "git/trees/nope"):
            assert client.get(f"/repos/{SHOP}/{path}").status_code == 404, path

        forge.tree_limit = 2
        said = client.get(f"/repos/{SHOP}/git/trees/{sha}?recursive=1").json()
        assert (len(said["tree"]), said["truncated"]) == (2, True)

    @pytest.mark.parametrize(
        "path", ["/contents/../../../etc/passwd", "/contents/%2e%2e/%2e%2e/HEAD", "/commits/..%2f..%2fHEAD", "/%00"]
    )
    def test_nothing_reaches_the_disk(self, client, path):
        """Paths are looked up in Git's trees only."""
        assert client.get(f"/repos/{SHOP}{path}").status_code in (404, 422)


class TestPullRequests:
    """Requests from branches and forks, and their end."""

    def test_shape(self, forge, client):
        """Head, base, author and state as clients read them."""
        number = pull(forge)
        said = client.get(f"/repos/{SHOP}/pulls/{number}").json()
        assert (said["state"], said["merged"], said["user"]["login"], said["mergeable"]) == ("open", False, "ada", True)
        assert said["head"]["sha"] == forge.head(SHOP, "topic")
        assert said["head"]["repo"]["full_name"] == said["base"]["repo"]["full_name"] == SHOP
        assert said["base"]["ref"] == "main"
        assert client.get(f"/repos/{SHOP}/issues/{number}").json()["pull_request"]["url"] == said["url"]
        files = client.get(f"/repos/{SHOP}/pulls/{number}/files").json()
        assert [(file["filename"], file["status"]) for file in files] == [("deploy/dev/app.yaml", "modified")]
        assert files[0]["patch"] == "@@ -1 +1 @@\n-kind: ConfigMap\n+kind: Secret"
        assert len(client.get(f"/repos/{SHOP}/pulls/{number}/commits").json()) == 1
        assert client.get(f"/repos/{SHOP}/commits/topic/pulls").json()[0]["number"] == number

    def test_lists(self, forge, client):
        """Open by default, newest first, filtered by state, base and head."""
        first, second = pull(forge, "one"), pull(forge, "two")
        forge.close_pull_request(SHOP, first, "ada")

        def numbers(**query):
            return [said["number"] for said in client.get(f"/repos/{SHOP}/pulls", params=query).json()]

        assert numbers() == [second]
        assert numbers(state="all") == [second, first]
        assert numbers(state="closed", head="acme:one") == [first]
        assert numbers(base="release") == []

    def test_merge(self, forge, client, receiver):
        """The base gets a merge commit, the request is merged, both are announced."""
        number = pull(forge)
        hooked(client, receiver)
        sha = forge.merge_pull_request(SHOP, number, "ada")
        forge.settle()

        assert forge.head(SHOP) == sha
        said = client.get(f"/repos/{SHOP}/pulls/{number}").json()
        assert (said["state"], said["merged"], said["merge_commit_sha"]) == ("closed", True, sha)
        assert said["merged_by"]["login"] == "ada"
        assert receiver.names == ["ping", "push", "pull_request.closed"]
        assert receiver.said("pull_request")[0]["pull_request"]["merged"] is True
        with pytest.raises(Refusal, match="not mergeable"):
            forge.merge_pull_request(SHOP, number, "ada")

    def test_squash(self, forge, client, receiver):
        """A squashed request is merged, although its head is not in the base branch."""
        number = pull(forge)
        before, head = forge.head(SHOP), forge.head(SHOP, "topic")
        hooked(client, receiver)
        sha = forge.merge_pull_request(SHOP, number, "ada", squash=True)
        forge.settle()
        assert forge.store.info(SHOP, sha).parents == (before,)
        assert not forge.store.is_ancestor(SHOP, head, sha)
        assert client.get(f"/repos/{SHOP}/pulls/{number}").json()["merged"] is True
        assert receiver.names == ["ping", "push", "pull_request.closed"]

    def test_pushed_by_hand(self, forge, client):
        """A request whose commits are pushed to the base branch counts as merged."""
        number = pull(forge)
        forge.move_branch(SHOP, "main", forge.head(SHOP, "topic"), "ada", force=False)
        assert client.get(f"/repos/{SHOP}/pulls/{number}").json()["merged"] is True

    def test_conflict(self, forge, client):
        """A request that conflicts says so and cannot be merged."""
        number = pull(forge)
        forge.push(SHOP, "main", {"deploy/dev/app.yaml": b"kind: Other\n"}, by="ada")
        assert client.get(f"/repos/{SHOP}/pulls/{number}").json()["mergeable_state"] == "dirty"
        with pytest.raises(Refusal, match="conflicts"):
            forge.merge_pull_request(SHOP, number, "ada")

    def test_forks(self, forge, client, receiver):
        """A stranger's request comes from a fork, whose head the forge knows but Flux cannot fetch."""
        fork = forge.fork(SHOP, "eve")
        head = forge.push(fork, "evil", {"deploy/dev/app.yaml": b"kind: Evil\n"}, by="eve")
        number = forge.open_pull_request(SHOP, "eve:evil", "main", "Trust me", "eve")
        hooked(client, receiver)

        said = client.get(f"/repos/{SHOP}/pulls/{number}").json()
        assert (said["head"]["repo"]["full_name"], said["head"]["repo"]["fork"]) == ("eve/shop", True)
        assert client.get(f"/repos/{SHOP}/git/trees/{head}?recursive=1").status_code == 200
        with pytest.raises(FetchError, match="object not found"):
            forge.store.fetch(f"{forge.url}/acme/shop.git", None, None, head)

        forge.push(fork, "evil", {"more": b""}, by="eve")
        forge.settle()
        assert receiver.names == ["ping", "pull_request.synchronize"], "the push belongs to the fork"
        assert receiver.said("pull_request")[0]["before"] == head

    def test_opened_by_a_program(self, forge, client, receiver):
        """POST /pulls opens one as a person would, under the same rules."""
        hooked(client, receiver)
        head = forge.push(SHOP, "topic", {"a": b"1"}, by="ada")
        body = {"head": "topic", "base": "main", "title": "A change", "body": "Why"}
        made = client.post(f"/repos/{SHOP}/pulls", json=body)
        assert made.status_code == 201
        assert (made.json()["number"], made.json()["head"]["sha"], made.json()["user"]["login"]) == (1, head, "sluice")
        again = client.post(f"/repos/{SHOP}/pulls", json=body)
        assert (again.status_code, "already exists" in again.json()["errors"][0]["message"]) == (422, True)
        assert client.post(f"/repos/{SHOP}/pulls", json={**body, "base": "nothing"}).status_code == 422
        assert client.post(f"/repos/{SHOP}/pulls", json={"head": "topic"}).status_code == 422
        forge.settle()
        assert [said["action"] for said in receiver.said("pull_request")] == ["opened"]

    def test_rules(self, forge):
        """No second request of a branch, none without commits, none by those who may not."""
        pull(forge)
        with pytest.raises(Refusal):
            forge.open_pull_request(SHOP, "topic", "main", "Again", "ada")
        forge.create_branch(SHOP, "same", forge.head(SHOP), "ada")
        with pytest.raises(Refusal):
            forge.open_pull_request(SHOP, "same", "main", "Nothing", "ada")
        with pytest.raises(Refusal):
            forge.push(SHOP, "main", {"a": b""}, by="eve")
        with pytest.raises(Refusal):
            forge.merge_pull_request(SHOP, 1, "ben")

    def test_deleted_branch_closes_and_reopening_works(self, forge, client, receiver):
        """Without its branch a request is closed; with it back it can be reopened."""
        number = pull(forge)
        sha = forge.head(SHOP, "topic")
        hooked(client, receiver)
        forge.delete_branch(SHOP, "topic", "ada")
        forge.create_branch(SHOP, "topic", sha, "ada")
        forge.reopen_pull_request(SHOP, number, "ada")
        forge.settle()
        expected = ["ping", "delete", "push", "pull_request.closed", "create", "push", "pull_request.reopened"]
        assert receiver.names == expected

    def test_reviews(self, forge, client, receiver):
        """An approval names the commit it was given to; nobody approves their own."""
        number = pull(forge)
        hooked(client, receiver)
        forge.review(SHOP, number, "ben", body="fine")
        with pytest.raises(Refusal):
            forge.review(SHOP, number, "ada")
        forge.settle()
        (said,) = client.get(f"/repos/{SHOP}/pulls/{number}/reviews").json()
        assert (said["state"], said["commit_id"]) == ("APPROVED", forge.head(SHOP, "topic"))
        assert receiver.said("pull_request_review")[0]["review"]["state"] == "approved"


class TestComments:
    """Comments by people and programs."""

    def test_life_of_a_comment(self, forge, client):
        """Created, listed, changed, removed."""
        number = pull(forge)
        path = f"/repos/{SHOP}/issues/{number}/comments"
        made = client.post(path, json={"body": "hello <!-- marker -->"})
        assert made.status_code == 201
        said = made.json()
        assert said["user"]["login"] == "sluice"
        assert client.get(said["url"]).json()["body"] == "hello <!-- marker -->"
        assert client.patch(said["url"], json={"body": "changed"}).json()["body"] == "changed"
        assert [comment.body for comment in forge.comments(SHOP, number)] == ["changed"]
        assert client.delete(said["url"]).status_code == 204
        assert client.get(path).json() == []
        assert client.patch(said["url"], json={"body": "late"}).status_code == 404
        kinds = [effect.kind for effect in forge.effects if effect.actor == "sluice"]
        assert kinds == ["comment.created", "comment.edited", "comment.deleted"]

    @pytest.mark.parametrize(("length", "status"), [(65_536, 201), (65_537, 422), (0, 422)])
    def test_length(self, forge, client, length, status):
        """65,536 characters, not bytes."""
        number = pull(forge)
        answer = client.post(f"/repos/{SHOP}/issues/{number}/comments", json={"body": "ü" * length})
        assert answer.status_code == status
        if status == 422:
            assert answer.json()["errors"][0]["field"] == "body"

    def test_others_comments(self, forge, client):
        """Whoever cannot write changes only what is theirs."""
        number = pull(forge)
        theirs = forge.comment(SHOP, number, "mine", by="ada")
        path = f"/repos/{SHOP}/issues/comments/{theirs}"
        assert client.patch(path, json={"body": "x"}, headers=as_user(forge, "eve")).status_code == 403
        assert client.patch(path, json={"body": "x"}, headers=as_user(forge, "sluice")).status_code == 200

    def test_paging(self, forge, client):
        """At most a hundred a page; the Link header leads through all of them."""
        number = pull(forge)
        for count in range(250):
            forge.comment(SHOP, number, f"comment {count}", by="ada")
        seen, url = [], f"/repos/{SHOP}/issues/{number}/comments?per_page=500"
        pages = 0
        while url:
            answer = client.get(url)
            seen += [comment["body"] for comment in answer.json()]
            url, pages = answer.links.get("next", {}).get("url"), pages + 1
        assert (pages, seen) == (3, [f"comment {count}" for count in range(250)])
        first = client.get(f"/repos/{SHOP}/issues/{number}/comments").headers["link"]
        assert 'page=2>; rel="next"' in first
        assert 'page=9>; rel="last"' in first
        assert client.get(f"/repos/{SHOP}/issues/{number}/comments?page=99").json() == []

    def test_since(self, client, forge, clock):
        """Catching up asks for what changed since a time, over the whole repository."""
        number = pull(forge)
        old = forge.comment(SHOP, number, "old", by="ada")
        forge.comment(SHOP, number, "middle", by="ada")
        clock.now += 3600
        forge.edit_comment(SHOP, old, "old, edited", by="ada")
        forge.comment(SHOP, number, "new", by="ada")
        path = f"/repos/{SHOP}/issues/comments?since=2027-01-15T08:30:00Z"
        assert [comment["body"] for comment in client.get(path).json()] == ["old, edited", "new"]
        newest = client.get(f"{path}&sort=created&direction=desc").json()
        assert [comment["body"] for comment in newest] == ["new", "old, edited"]


class TestStatuses:
    """Commit statuses and their limits."""

    def test_newest_first_and_combined(self, forge, client):
        """The list has all, the summary only the last of each context."""
        sha = forge.head(SHOP)
        for state, context in (("pending", "a"), ("success", "a"), ("pending", "b")):
            answer = client.post(f"/repos/{SHOP}/statuses/{sha}", json={"state": state, "context": context})
            assert answer.status_code == 201
        listed = client.get(f"/repos/{SHOP}/commits/{sha}/statuses").json()
        assert [(s["context"], s["state"]) for s in listed] == [("b", "pending"), ("a", "success"), ("a", "pending")]
        whole = client.get(f"/repos/{SHOP}/commits/main/status").json()
        assert (whole["state"], whole["total_count"], whole["sha"]) == ("pending", 2, sha)
        assert [status.state for status in forge.statuses(SHOP, sha, "a")] == ["pending", "success"]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"state": "queued"}, "state"),
            ({"state": None}, "state"),
            ({"context": "c" * 256}, "context"),
            ({"description": "d" * 141}, "description"),
            ({"target_url": "javascript:alert(1)"}, "target_url"),
            ({"target_url": "http://[::1"}, "target_url"),
        ],
    )
    def test_limits(self, forge, client, change, field):
        """What is too long or not a state is refused by name."""
        sha = forge.head(SHOP)
        good = {"state": "success", "context": "c" * 255, "description": "d" * 140, "target_url": "https://x.test/"}
        assert client.post(f"/repos/{SHOP}/statuses/{sha}", json=good).status_code == 201
        answer = client.post(f"/repos/{SHOP}/statuses/{sha}", json={**good, **change})
        assert (answer.status_code, answer.json()["message"]) == (422, "Validation Failed")
        assert answer.json()["errors"][0]["field"] == field

    def test_unknown_commit(self, client):
        """A status needs a commit of this repository."""
        answer = client.post(f"/repos/{SHOP}/statuses/{'a' * 40}", json={"state": "success"})
        assert (answer.status_code, answer.json()["message"]) == (422, f"No commit found for SHA: {'a' * 40}")

    def test_a_thousand_at_most(self, forge, client):
        """The thousand and first status of one commit and context is refused, another context is not."""
        sha = forge.head(SHOP)
        for _ in range(1000):
            forge.add_status(SHOP, sha, "pending", "a", by="sluice")
        answer = client.post(f"/repos/{SHOP}/statuses/{sha}", json={"state": "success", "context": "a"})
        assert answer.status_code == 422
        assert "maximum number of statuses" in answer.json()["errors"][0]["message"]
        other = client.post(f"/repos/{SHOP}/statuses/{sha}", json={"state": "success", "context": "b"})
        assert other.status_code == 201


class TestWebhooks:
    """What is sent, how it is signed, and what happens when nobody listens."""

    def test_signature_and_headers(self, forge, client, receiver):
        """A ping comes at once, signed over the exact bytes in both ways."""
        hook = hooked(client, receiver)
        forge.settle()
        headers, body = receiver.got[0]
        assert headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(SECRET.encode(), body, "sha256").hexdigest()
        assert headers["X-Hub-Signature"] == "sha1=" + hmac.new(SECRET.encode(), body, "sha1").hexdigest()
        assert headers["User-Agent"].startswith("GitHub-Hookshot/")
        assert headers["Content-Type"] == "application/json"
        assert headers["X-GitHub-Hook-ID"] == str(hook["id"])
        assert len(headers["X-GitHub-Delivery"]) == 36
        assert json.loads(body)["hook_id"] == hook["id"]
        assert hook["config"]["secret"] == "********"
        assert SECRET not in json.dumps(client.get(hook["url"]).json())

    def test_form(self, forge, client, receiver):
        """Form-encoded hooks sign the form."""
        config = {"url": receiver.url, "secret": SECRET, "content_type": "form"}
        hooked(client, receiver, config=config)
        forge.settle()
        headers, body = receiver.got[0]
        assert headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert json.loads(parse_qs(body.decode())["payload"][0])["repository"]["full_name"] == SHOP

    def test_push(self, forge, client, receiver):
        """A push says what moved, a forced one that it was, a deletion that all is gone."""
        before = forge.head(SHOP)
        hooked(client, receiver, events=["push"])
        after = forge.push(SHOP, "main", {"README.md": b"x", "new": b"", "deploy/dev/app.yaml": None}, by="ada")
        forced = forge.push(SHOP, "main", {"a": b"1"}, by="ada", force_parent=before)
        forge.push(SHOP, "gone", {"b": b""}, by="ada")
        forge.delete_branch(SHOP, "gone", by="ada")
        forge.settle()

        first, second, third, fourth = receiver.said("push")
        assert (first["ref"], first["before"], first["after"]) == ("refs/heads/main", before, after)
        assert (first["created"], first["deleted"], first["forced"]) == (False, False, False)
        commit = first["head_commit"]
        assert (commit["added"], commit["removed"], commit["modified"]) == (
            ["new"],
            ["deploy/dev/app.yaml"],
            ["README.md"],
        )
        assert commit["author"]["username"] == first["pusher"]["name"] == first["sender"]["login"] == "ada"
        assert (second["before"], second["after"], second["forced"]) == (after, forced, True)
        assert [said["id"] for said in second["commits"]] == [forced]
        assert (third["created"], third["before"]) == (True, "0" * 40)
        assert (fourth["deleted"], fourth["after"], fourth["head_commit"]) == (True, "0" * 40, None)

    def test_at_most_twenty_commits(self, forge, client, receiver):
        """A push of many commits lists the last twenty."""
        shas = [forge.push(SHOP, "topic", {"a": str(count).encode()}, by="ada") for count in range(25)]
        hooked(client, receiver, events=["push"])
        forge.move_branch(SHOP, "main", shas[-1], "ada", force=False)
        forge.settle()
        (said,) = receiver.said("push")
        assert [commit["id"] for commit in said["commits"]] == shas[5:]
        assert said["forced"] is False

    def test_conversation(self, forge, client, receiver):
        """Opening, pushing to and talking on a request, in this order; the API's comments are announced, too."""
        hooked(client, receiver)
        number = pull(forge)
        forge.push(SHOP, "topic", {"more": b""}, by="ada")
        comment = forge.comment(SHOP, number, "/sluice help", by="ben")
        forge.edit_comment(SHOP, comment, "/deploy dev", by="ben")
        client.post(f"/repos/{SHOP}/issues/{number}/comments", json={"body": "an answer"})
        forge.delete_comment(SHOP, comment, by="ben")
        issue = forge.open_issue(SHOP, "No pull request", "ada")
        forge.comment(SHOP, issue, "/deploy dev", by="ada")
        forge.comment_on_commit(SHOP, forge.head(SHOP), "/status", by="ada")
        forge.settle()

        assert receiver.names == [
            "ping",
            "create",
            "push",
            "pull_request.opened",
            "push",
            "pull_request.synchronize",
            "issue_comment.created",
            "issue_comment.edited",
            "issue_comment.created",
            "issue_comment.deleted",
            "issues.opened",
            "issue_comment.created",
            "commit_comment.created",
        ]
        said = receiver.said("issue_comment")
        assert said[0]["comment"]["id"] == comment
        assert said[0]["issue"]["pull_request"]["url"].endswith(f"/pulls/{number}")
        assert said[1]["changes"] == {"body": {"from": "/sluice help"}}
        assert said[2]["sender"]["login"] == "sluice"
        assert "pull_request" not in said[4]["issue"]
        assert said[0]["comment"]["author_association"] == "COLLABORATOR"

    def test_only_what_was_asked_for(self, forge, client, receiver):
        """Events, activity and removal of a hook decide."""
        hook = hooked(client, receiver, events=["issue_comment"])
        number = pull(forge)
        forge.comment(SHOP, number, "one", by="ada")
        client.patch(hook["url"], json={"active": False})
        forge.comment(SHOP, number, "two", by="ada")
        client.patch(hook["url"], json={"active": True, "add_events": ["push"]})
        forge.push(SHOP, "main", {"x": b""}, by="ada")
        assert client.post(f"{hook['url']}/pings").status_code == 204
        assert client.delete(hook["url"]).status_code == 204
        forge.push(SHOP, "main", {"y": b""}, by="ada")
        forge.settle()
        assert receiver.names == ["ping", "issue_comment.created", "push", "ping"]
        assert client.get(f"/repos/{SHOP}/hooks").json() == []

    def test_the_same_hook_twice(self, client, receiver):
        """Registering again is refused, so that programs look before they write."""
        hooked(client, receiver)
        body = {"config": {"url": receiver.url}, "events": EVERYTHING}
        answer = client.post(f"/repos/{SHOP}/hooks", json=body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["message"] == "Hook already exists on this repository"
        for url in ("", "file:///etc/passwd", "http://"):
            assert client.post(f"/repos/{SHOP}/hooks", json={"config": {"url": url}}).status_code == 422

    def test_no_second_try_but_a_log(self, forge, client, receiver):
        """A failed delivery is logged and never repeated, until somebody asks: same GUID, new id."""
        hook = hooked(client, receiver)
        forge.settle()
        receiver.answer = 503
        forge.push(SHOP, "main", {"x": b""}, by="ada")
        forge.settle()
        assert len(receiver.got) == 2
        failed, ping = client.get(hook["deliveries_url"]).json()
        assert (failed["event"], failed["status_code"], failed["redelivery"]) == ("push", 503, False)
        assert (ping["event"], ping["status"], ping["status_code"]) == ("ping", "OK", 202)

        receiver.answer = 202
        assert client.post(f"{hook['deliveries_url']}/{failed['id']}/attempts").status_code == 202
        forge.settle()
        again = client.get(hook["deliveries_url"]).json()[0]
        assert (again["guid"], again["redelivery"], again["status_code"]) == (failed["guid"], True, 202)
        assert again["id"] != failed["id"]
        assert receiver.got[1] == receiver.got[2]
        details = client.get(f"{hook['deliveries_url']}/{again['id']}").json()
        assert details["request"]["payload"]["ref"] == "refs/heads/main"
        assert details["response"]["payload"] == "ok"

    def test_the_log_has_pages(self, forge, client, receiver):
        """The log is walked by cursor, newest first."""
        hook = hooked(client, receiver)
        for _ in range(4):
            client.post(f"{hook['url']}/pings")
        forge.settle()
        first = client.get(hook["deliveries_url"], params={"per_page": 3})
        second = client.get(first.links["next"]["url"])
        ids = [delivery["id"] for delivery in first.json() + second.json()]
        assert len(ids) == 5
        assert ids == sorted(ids, reverse=True)
        assert "next" not in second.links

    def test_nobody_listens(self, forge, client, receiver):
        """An address without a server is logged as such."""
        receiver.close()
        hook = hooked(client, receiver)
        forge.settle()
        (said,) = client.get(hook["deliveries_url"]).json()
        assert (said["status_code"], said["status"]) == (502, "failed to connect to host")
        assert client.get(hook["url"]).json()["last_response"]["code"] == 502

    def test_held_reordered_duplicated_lost(self, forge, client, receiver):
        """The network's tricks, one at a time."""
        hooked(client, receiver, events=["push"])
        forge.hold_deliveries()
        shas = [forge.push(SHOP, "main", {"a": str(count).encode()}, by="ada") for count in range(3)]
        forge.settle()
        assert receiver.said("push") == []
        forge.release("reversed")
        forge.settle()
        assert [said["after"] for said in receiver.said("push")] == shas[::-1]

        forge.duplicate_deliveries()
        forge.push(SHOP, "main", {"b": b""}, by="ada")
        forge.settle()
        assert receiver.got[-1] == receiver.got[-2]

        forge.lose_deliveries()
        count = len(receiver.got)
        forge.push(SHOP, "main", {"c": b""}, by="ada")
        forge.settle()
        assert len(receiver.got) == count
        lost = forge.deliveries[-1]
        assert lost.status_code == 502
        forge.redeliver(lost.id)
        forge.settle()
        assert receiver.got[-1][0]["X-GitHub-Delivery"] == lost.guid

    def test_statuses_are_announced(self, forge, client, receiver):
        """A status made through the API comes back as an event."""
        hooked(client, receiver, events=["status"])
        sha = forge.head(SHOP)
        client.post(f"/repos/{SHOP}/statuses/{sha}", json={"state": "success", "context": "sluice/dev"})
        forge.settle()
        (said,) = receiver.said("status")
        assert (said["sha"], said["context"], said["branches"][0]["name"]) == (sha, "sluice/dev", "main")


class TestFaults:
    """What the forge can be told to do wrong."""

    def test_errors(self, forge, client):
        """The next matching requests fail without an effect, others do not."""
        sha = forge.head(SHOP)
        path = f"/repos/{SHOP}/statuses/{sha}"
        forge.fail_next("POST", "*/statuses/*", 502, times=2)
        assert client.get(f"/repos/{SHOP}").status_code == 200
        codes = [client.post(path, json={"state": "success"}).status_code for _ in range(3)]
        assert codes == [502, 502, 201]
        assert len(forge.statuses(SHOP, sha)) == 1

    def test_dropped_after_the_effect(self, forge, client):
        """The status is there, the answer is not."""
        sha = forge.head(SHOP)
        forge.drop_next("POST", "*/statuses/*")
        with pytest.raises(httpx2.TransportError):
            client.post(f"/repos/{SHOP}/statuses/{sha}", json={"state": "success"})
        assert len(forge.statuses(SHOP, sha)) == 1
        number = pull(forge)
        comment = forge.comment(SHOP, number, "x", by="ada")
        forge.drop_next("DELETE", "*")
        with pytest.raises(httpx2.TransportError):
            client.delete(f"/repos/{SHOP}/issues/comments/{comment}")
        assert forge.comments(SHOP, number) == []

    def test_secondary_limit(self, forge, client):
        """403 or 429 with the time to wait."""
        for status in (403, 429):
            forge.limit_next(retry_after=7, status=status)
            answer = client.get(f"/repos/{SHOP}")
            assert (answer.status_code, answer.headers["retry-after"]) == (status, "7")
            assert "secondary rate limit" in answer.json()["message"]
        assert client.get(f"/repos/{SHOP}").status_code == 200

    def test_late_answers(self, forge, client):
        """A slow answer runs into the client's own limit."""
        forge.delay_next("GET", "*", 0.3)
        with pytest.raises(httpx2.ReadTimeout):
            client.get(f"/repos/{SHOP}", timeout=0.05)
        forge.latency = 0.01
        assert client.get(f"/repos/{SHOP}").status_code == 200

    def test_primary_limit(self, forge, client):
        """Every answer counts down; at zero all is refused; what has not changed is free."""
        forge.rate_limit = 3
        first = client.get(f"/repos/{SHOP}")
        assert (first.headers["x-ratelimit-limit"], first.headers["x-ratelimit-remaining"]) == ("3", "2")
        unchanged = client.get(f"/repos/{SHOP}", headers={"If-None-Match": first.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert unchanged.headers["x-ratelimit-remaining"] == "2"
        client.get("/user")
        client.get("/user")
        refused = client.get("/user")
        assert (refused.status_code, refused.headers["x-ratelimit-remaining"]) == (403, "0")
        assert "rate limit exceeded" in refused.json()["message"]
        said = client.get("/rate_limit").json()["resources"]["core"]
        assert (said["limit"], said["remaining"]) == (3, 0)
        assert int(refused.headers["x-ratelimit-reset"]) == said["reset"]

    @pytest.mark.parametrize(
        ("body", "status"),
        [(b"{", 400), (b"[]", 400), (b"\xff", 400), (b"[" * 100_000, 400), (b"", 422), (b'{"body": 1}', 422)],
    )
    def test_broken_bodies(self, forge, client, body, status):
        """Nonsense is answered, never a crash."""
        number = pull(forge)
        answer = client.post(f"/repos/{SHOP}/issues/{number}/comments", content=body)
        assert answer.status_code == status
        assert answer.json()["message"]

    def test_a_client_that_leaves_has_no_effect(self, forge):
        """Half a request is none."""
        sha = forge.head(SHOP)
        host, port = forge.url.removeprefix("http://").split(":")
        head = f"POST /repos/{SHOP}/statuses/{sha} HTTP/1.1\r\nHost: x\r\nUser-Agent: x\r\nContent-Length: 99\r\n"
        with socket.create_connection((host, int(port))) as wire:
            wire.sendall(f"{head}Authorization: Bearer {forge.token('ada')}\r\n\r\n".encode() + b'{"state": "success"}')
            wire.shutdown(socket.SHUT_WR)
            wire.recv(1024)
        assert forge.statuses(SHOP, sha) == []

    @pytest.mark.parametrize("path", ["/nope", "/repos/a", f"/repos/{SHOP}/pulls/x", f"/repos/{SHOP}/pulls/{10**30}"])
    def test_unknown_paths(self, client, path):
        """404 in GitHub's shape."""
        answer = client.get(path)
        assert (answer.status_code, answer.json()["message"]) == (404, "Not Found")

    def test_requests_are_counted(self, forge, client):
        """Tests can see who asked what."""
        client.get("/user")
        seen = forge.requests[-1]
        assert (seen.method, seen.path, seen.login, seen.status) == ("GET", "/user", "sluice", 200)


def test_flux_needs_a_token_for_private_repositories(forge):
    """Git over HTTP follows the same permissions as the API."""
    forge.create_repository("acme", "vault", {"a": b"1"}, private=True)
    url = f"{forge.url}/acme/vault.git"
    forge.set_permission("acme/vault", "ada", "read")

    assert forge.store.fetch(url, ("git", forge.token("ada")), "main", None).files == {"a": b"1"}
    for credentials in (None, ("git", "wrong"), ("git", forge.token("eve"))):
        with pytest.raises(FetchError, match="authentication required"):
            forge.store.fetch(url, credentials, "main", None)


def test_many_people_at_once(forge, client, receiver):
    """Threads that push and comment lose nothing, and the webhooks keep the order of each."""
    hooked(client, receiver, events=["push", "issue_comment"])
    number = pull(forge)
    forge.set_permission(SHOP, "ben", "write")

    def work(login):
        for count in range(10):
            forge.push(SHOP, login, {f"{login}-{count}": b""}, by=login)
            forge.comment(SHOP, number, f"{login} {count}", by=login)

    threads = [threading.Thread(target=work, args=(login,)) for login in ("ada", "ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    forge.settle()
    assert len(receiver.said("issue_comment")) == 20
    for login in ("ada", "ben"):
        pushes = [said for said in receiver.said("push") if said["ref"] == f"refs/heads/{login}"]
        assert [said["before"] for said in pushes[1:]] == [said["after"] for said in pushes[:-1]]
        assert len(pushes) == 10


async def test_settled_leaves_the_loop_free(forge, receiver):
    """On an event loop the waiting happens elsewhere."""
    await forge.settled()
