"""Check runs of a GitHub App on the sandbox forge: one is shown for each name, whatever is interrupted and repeated."""

import httpx2
import msgspec
import pytest

from bot.core.calls import Call
from bot.core.checks import Level
from bot.core.deployments import Phase
from bot.core.errors import BotError
from bot.core.events import Pressed
from bot.core.ports import Check
from bot.doctor import app_finding
from bot.forges.github import BUTTONS
from bot.forges.github_app import GitHubApp
from bot.forges.github_checks import ACTIONS, RIGHTS, CheckRuns
from bot.http import Client, Limits
from bot.registry import calls_of
from bot.sandbox.forge import CheckRun, SandboxForge
from bot.sandbox.git import GitStore
from tests.credentials.conftest import APP, PEM, PUBLIC_PEM, URL
from tests.forges.test_payloads import load, parse

NAME = "sluice/production"
LOST = (BotError, AssertionError)  # as the transport tells that an answer broke off


class Bench:
    """A repository, and an App that is installed on it."""

    def __init__(self, tmp_path, rights, *, install: bool = True, hook: str = "") -> None:
        self.sandbox = SandboxForge(GitStore(tmp_path), url=URL)
        self.repo = self.sandbox.create_repository("acme", "web", {"README.md": b"x"})
        self.sha = self.sandbox.head(self.repo) or ""
        self.sandbox.add_app(APP, PUBLIC_PEM, rights, hook)
        if install:
            self.sandbox.install_app(APP, self.repo)
        transport = httpx2.ASGITransport(self.sandbox.app, raise_app_exceptions=False)
        self.client = lambda: Client(URL, transport=transport, limits=Limits(attempts=1))
        self.now = 0.0
        self.app = GitHubApp(URL, APP, PEM, rights=RIGHTS, client=self.client())
        self.checks = CheckRuns(self.client(), self.app, clock=lambda: self.now)

    async def show(self, phase: Phase, number: int, *, asks: bool = False) -> bool:
        check = Check(context=NAME, phase=phase, text=f"said {number}", key=f"d:{number}", asks=asks, report="- …")
        return await self.checks.show(self.repo, self.sha, check)

    def runs(self) -> list[CheckRun]:
        return self.sandbox.check_runs(self.repo, self.sha)

    def calls(self, method: str, ending: str = "") -> int:
        return sum(each.method == method and each.path.endswith(ending) for each in self.sandbox.requests)


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path, {"checks": "write", "contents": "write"})
    yield made
    made.sandbox.close()


TABLE = {
    Phase.WAITING: ("queued", None),
    Phase.QUEUED: ("queued", None),
    Phase.APPLYING: ("in_progress", None),
    Phase.RECONCILING: ("in_progress", None),
    Phase.SUCCEEDED: ("completed", "success"),
    Phase.FAILED: ("completed", "failure"),
    Phase.TIMED_OUT: ("completed", "failure"),
    Phase.SUPERSEDED: ("completed", "neutral"),
    Phase.REJECTED: ("completed", "cancelled"),
    Phase.CANCELLED: ("completed", "cancelled"),
}


async def test_the_table(bench: Bench) -> None:
    """Every phase, in an order that changes the one run alone: what goes on first, then how it may end."""
    for number, phase in enumerate(TABLE):
        assert await bench.show(phase, number)
        [run] = bench.runs()
        assert (run.status, run.conclusion, run.external_id) == (*TABLE[phase], f"d:{number}")
        assert run.output == {"title": f"said {number}", "summary": "- …"}
    assert set(TABLE) == set(Phase)


async def test_somebody_has_to_act(bench: Bench) -> None:
    """It waits for a voice: completed, with buttons. What goes on then is another run, and only that is shown."""
    await bench.show(Phase.WAITING, 1, asks=True)
    [run] = bench.runs()
    assert (run.status, run.conclusion) == ("completed", "action_required")
    assert [each["identifier"] for each in run.actions] == list(BUTTONS)
    await bench.show(Phase.WAITING, 2, asks=True)
    assert [each.external_id for each in bench.runs()] == ["d:2"]

    for number, phase in enumerate((Phase.QUEUED, Phase.APPLYING, Phase.SUCCEEDED), start=3):
        await bench.show(phase, number)
    before, run = bench.runs()
    assert (before.conclusion, run.status, run.conclusion, run.actions) == (
        "action_required",
        "completed",
        "success",
        [],
    )


@pytest.mark.parametrize("asks", [True, False])
async def test_an_answer_that_was_lost(bench: Bench, asks: bool) -> None:
    """Whoever comes after the crash finds what was made; nothing is written twice."""
    bench.sandbox.drop_next("POST", "*/check-runs")
    with pytest.raises(LOST):
        await bench.show(Phase.WAITING, 1, asks=asks)
    for _ in range(3):
        assert await bench.show(Phase.WAITING, 1, asks=asks)
    assert len(bench.runs()) == 1
    assert (bench.calls("POST", "/check-runs"), bench.calls("PATCH")) == (1, 0)


async def test_a_hundred_crashes(bench: Bench) -> None:
    """A deployment's whole life with every answer lost once: two runs, of which one is shown."""
    life = (Phase.WAITING, *[Phase.WAITING] * 46, Phase.QUEUED, Phase.APPLYING, Phase.RECONCILING, Phase.SUCCEEDED)
    for number, phase in enumerate(life):
        for method in ("POST", "PATCH"):
            bench.sandbox.clear_faults()
            bench.sandbox.drop_next(method, "*/check-runs*")
            try:
                await bench.show(phase, number, asks=phase is Phase.WAITING)
            except LOST:
                continue
        bench.sandbox.clear_faults()
        await bench.show(phase, number, asks=phase is Phase.WAITING)
    assert [run.conclusion for run in bench.runs()] == ["action_required", "success"]


async def test_another_apps_run_of_that_name_is_left_alone(bench: Bench) -> None:
    bench.sandbox.add_user("other")
    bench.sandbox.set_permission(bench.repo, "other", "write")
    theirs = bench.sandbox.add_check_run(bench.repo, bench.sha, NAME, "other", conclusion="failure")
    await bench.show(Phase.SUCCEEDED, 1)
    assert [(run.id == theirs, run.conclusion) for run in bench.runs()] == [(True, "failure"), (False, "success")]


@pytest.mark.parametrize(("rights", "install"), [({"contents": "write"}, True), ({"checks": "write"}, False)])
async def test_an_app_that_may_not(tmp_path, rights, install) -> None:
    """Then a status has to say it; the App is asked again only after a while."""
    bench = Bench(tmp_path, rights, install=install)
    assert [await bench.show(Phase.QUEUED, n) for n in range(3)] == [False] * 3
    asked = len(bench.sandbox.requests)
    bench.now += 601
    assert not await bench.show(Phase.QUEUED, 3)
    assert len(bench.sandbox.requests) == 2 * asked
    assert bench.runs() == []
    bench.sandbox.close()


async def test_a_token_that_ended(bench: Bench) -> None:
    """Another one is asked for."""
    await bench.show(Phase.QUEUED, 1)
    bench.sandbox.expire_token(bench.sandbox.access.issued[-1].token, 0)
    with pytest.raises(BotError):
        await bench.show(Phase.APPLYING, 2)
    assert await bench.show(Phase.APPLYING, 2)
    assert [run.status for run in bench.runs()] == ["in_progress"]


async def test_only_an_app_makes_check_runs(bench: Bench) -> None:
    """A person's token is refused, as on GitHub."""
    token = bench.sandbox.add_user("alice")
    bench.sandbox.set_permission(bench.repo, "alice", "admin")
    http: Client = bench.checks._http
    answer = await http.request(
        "POST",
        f"/repos/{bench.repo}/check-runs",
        body={"name": NAME, "head_sha": bench.sha},
        authorization=f"Bearer {token}",
    )
    assert (answer.status, answer.words) == (403, "You must authenticate via a GitHub App.")


def test_the_limits_of_buttons() -> None:
    """As GitHub publishes them."""
    assert len(ACTIONS) <= 3
    for action in ACTIONS:
        assert len(action["label"]) <= 20
        assert len(action["identifier"]) <= 20
        assert len(action["description"]) <= 40
    assert tuple(action["identifier"] for action in ACTIONS) == BUTTONS


# What people press.


def pressed(button: str = "approve", name: str = NAME, **sender: object) -> Pressed | None:
    payload = load("github/check_run.requested_action")
    payload["check_run"] |= {"name": name, "external_id": "d:1"}
    payload["requested_action"]["identifier"] = button
    payload["sender"] |= sender
    event = parse("github/check_run", payload)
    assert event is None or isinstance(event, Pressed)
    return event


def called(event: Pressed | None) -> list[Call]:
    return calls_of(event) if event is not None else []


def test_a_button_is_the_command_at_that_commit() -> None:
    """The same keys for the same click, others for another person, state or button."""
    [approve], [reject] = called(pressed()), called(pressed("reject"))
    sha = approve.commit or ""
    assert (approve.kind, approve.name, approve.words, len(sha)) == ("command", "approve", ("production", sha), 40)
    assert (reject.name, reject.words, reject.commit) == ("reject", ("production",), sha)
    assert [call.actor_id for call in called(pressed(id=7))] == ["7"]
    event = pressed()
    assert event is not None
    others = [pressed("reject"), pressed(id=7), msgspec.structs.replace(event, key="d:2"), event]
    assert len({call.run_id for each in others for call in called(each)} | {approve.run_id}) == 4


@pytest.mark.parametrize(
    "event",
    [pressed("merge"), pressed(""), pressed(name="ci/test"), pressed(type="Bot"), pressed(login="x[bot]")],
    ids=range(5),
)
def test_what_is_no_button_of_ours(event: Pressed | None) -> None:
    assert called(event) == []


def test_run_again() -> None:
    """GitHub's own button has the check made anew."""
    payload = load("github/check_run.rerequested")
    payload["check_run"]["name"] = "sluice/shop/production"
    [call] = calls_of(parse("github/check_run", payload))
    assert (call.kind, call.name, call.arguments["environment"]) == ("work", "again", "shop/production")


@pytest.mark.parametrize(
    ("rights", "hook", "level", "found"),
    [
        ({"checks": "write"}, "", Level.FAILED, "may not read contents"),
        ({"contents": "read"}, "", Level.WARNING, "deployments are shown as statuses"),
        ({"contents": "read", "checks": "read"}, "", Level.WARNING, "deployments are shown as statuses"),
        ({"contents": "read", "checks": "write"}, "", Level.WARNING, "not told when a button is pressed"),
        ({"contents": "read", "checks": "write"}, "http://sluice.example", Level.OK, "check runs with buttons"),
    ],
)
async def test_what_doctor_says_of_the_app(tmp_path, rights, hook, level, found) -> None:
    """By what GitHub says that it was registered with."""
    bench = Bench(tmp_path, rights, hook=hook)
    told = await app_finding("github", bench.app)
    assert told.level is level
    assert found in told.found
    assert bool(told.advice) is (level is not Level.OK)
    bench.sandbox.close()


async def test_what_doctor_says_of_another_key(tmp_path) -> None:
    """GitHub does not know it: both settings are named, the key is not."""
    bench = Bench(tmp_path, {"contents": "read"})
    app = GitHubApp(URL, "4711", PEM, client=bench.client())
    told = await app_finding("github", app)
    assert told.level is Level.FAILED
    assert told.advice == "check SLUICE_GITHUB_APP_ID and _APP_PRIVATE_KEY"
    bench.sandbox.close()
