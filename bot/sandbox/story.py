"""The story that shows what Sluice does, step by step, wherever there is a stage; each step asserts what it shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from bot.core import manifests
from bot.core.deployments import TERMINAL, Phase, commit_of, short
from bot.core.fluxobjects import clean
from bot.sandbox.stage import Files, Object, Said, Stage

T = TypeVar("T")

ENVIRONMENTS = ("development", "staging", "production")
REQUESTED = "reconcile.fluxcd.io/requestedAt"
WORKLOAD = "greeting"


class StoryError(AssertionError):
    """Something is not as it should be: what was looked at, what was expected, and what was found."""

    def __init__(self, what: str, expected: object, found: object) -> None:
        super().__init__(f"{what}\n  expected: {expected}\n  found:    {found!r}")


@dataclass
class Scene:
    """The stage with what the story has made there so far."""

    stage: Stage
    name: str = "shop"
    patience: float = 20.0  # seconds for whatever is waited for
    repository: str = ""
    setup: int = 0  # the pull request with /enable
    change: int = 0  # the one whose head is deployed
    release: int = 0  # the one that is merged, and approved
    change_branch: str = "festive"
    answers: dict[tuple[str, str], list[Said]] = field(default_factory=dict)  # what a commit was told, to look again

    def until(self, look: Callable[[], T], right: Callable[[T], object], what: str, expected: object) -> T:
        """What there is to see once it is right."""
        try:
            self.stage.wait_for(lambda: bool(right(look())), what, self.patience)
        except TimeoutError:
            raise StoryError(f"{what} (waited {self.patience:g} s)", expected, look()) from None
        return look()


@dataclass(frozen=True)
class Step:
    """A part of the story; `play` acts, asserts, and says in a few words what was shown to be so."""

    title: str
    play: Callable[[Scene], str]


def expect(what: str, expected: object, found: object) -> None:
    """Both are equal, or the story ends here."""
    if expected != found:
        raise StoryError(what, expected, found)


def play(scene: Scene) -> None:
    """All of it, from the beginning."""
    for step in STEPS:
        step.play(scene)


# What the repository holds.


def files(environment: str, text: str) -> dict[str, str | None]:
    """One environment: a ConfigMap with a greeting."""
    return {
        f"deploy/{environment}/kustomization.yaml": (
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [greeting.yaml]\n"
        ),
        **greeting(environment, text),
    }


def greeting(environment: str, text: str) -> dict[str, str | None]:
    """The one file that changes from step to step."""
    manifest = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {WORKLOAD}}}\ndata:\n  text: {text}\n"
    return {f"deploy/{environment}/greeting.yaml": manifest}


def start() -> Files:
    """What there is before Sluice comes."""
    found: dict[str, str | None] = {"README.md": "# Shop\n"}
    for environment in ENVIRONMENTS:
        found |= files(environment, "hello")
    return found


CONFIG: Files = {
    ".sluice.yaml": """\
version: 1
environments:
  development: {}
  staging: {}
  production: { approvals: 1 }
"""
}


# The steps.


def enable(scene: Scene) -> str:
    stage = scene.stage
    scene.repository = stage.create_repository(scene.name, start())
    readme: Files = {"README.md": "# Shop\n\nReleased by pull requests.\n"}
    stage.push(scene.repository, "setup", readme, by="owner", message="Say how we release")
    scene.setup = stage.open_pull_request(scene.repository, "setup", "Release by pull requests", by="owner")
    stage.comment(scene.repository, scene.setup, "/enable", by="owner")
    head = _head(scene)
    for environment in ENVIRONMENTS:
        _answered(scene, head, environment, Phase.SUCCEEDED)
        _applied(scene, environment, head)
        _shows(scene, environment, "hello")
    _objects_are_made(scene)
    _commented(scene, scene.setup, "✓ `/enable`", "live")
    return f"{len(ENVIRONMENTS)} environments live at {short(head)}, one comment on #{scene.setup}"


def roll_out(scene: Scene) -> str:
    text = greeting("development", "good morning")
    commit = scene.stage.push(scene.repository, "main", text, by="writer", message="Greet politely")
    said = _answered(scene, commit, "development", Phase.SUCCEEDED)
    expect("the first word about a push", f"Queued: {short(commit)}", said[0].text)
    if not any(each.text.startswith("Reconciling") for each in said):
        raise StoryError("the statuses of a push", "one that says Reconciling", said)
    _shows(scene, "development", "good morning")
    _shows(scene, "production", "hello")
    _silent(scene, commit, "staging", "production")
    return f"development went from pending to live at {short(commit)}; staging and production are not made of it"


def overtake(scene: Scene) -> str:
    older, newer = scene.stage.push_twice(
        scene.repository,
        "main",
        greeting("development", "good afternoon"),
        greeting("development", "good evening"),
        by="writer",
    )
    said = _answered(scene, older, "development", Phase.SUPERSEDED)
    expect("the last word about the older of two pushes", f"Superseded by {short(newer)}", said[-1].text)
    _answered(scene, newer, "development", Phase.SUCCEEDED)
    _shows(scene, "development", "good evening")
    return f"{short(newer)} is live, {short(older)} says what overtook it"


def refuse(scene: Scene) -> str:
    stage = scene.stage
    text = greeting("development", "happy holidays")
    head = stage.push(scene.repository, scene.change_branch, text, by="writer", message="Wish happy holidays")
    scene.change = stage.open_pull_request(scene.repository, scene.change_branch, "A festive greeting", by="writer")
    before = _written(scene)
    stage.comment(scene.repository, scene.change, "/deploy development", by="stranger")
    _commented(scene, scene.change, "✗ `/deploy development`", stage.login("stranger"), "not_permitted")
    expect("what a stranger changed in the cluster", before, _written(scene))
    _silent(scene, head, *ENVIRONMENTS, forever=False)
    _shows(scene, "development", "good evening")
    return "not_permitted; nothing was written in the cluster, and no status"


def deploy(scene: Scene) -> str:
    stage = scene.stage
    head = _head(scene, scene.change_branch)
    stage.comment(scene.repository, scene.change, "/deploy development", by="writer")
    _answered(scene, head, "development", Phase.SUCCEEDED)
    _shows(scene, "development", "happy holidays")
    own, namespace = manifests.own_source_name("development"), _namespace(scene)
    source = stage.object("GitRepository", namespace, own)
    if source is None:
        raise StoryError("development's own GitRepository", f"{namespace}/{own}", "nothing")
    expect("what it is pinned to", {"branch": scene.change_branch, "commit": head}, source["spec"].get("ref"))
    number = source["metadata"].get("annotations", {}).get(manifests.DEPLOYMENT_ANNOTATION, "")
    if not number.isdigit():
        raise StoryError(f"the annotation {manifests.DEPLOYMENT_ANNOTATION}", "a deployment's number", number)
    _follows(scene, "development", own)
    _commented(scene, scene.change, "✓ `/deploy development`", f"pinned to #{scene.change}")
    return f"development is pinned to {short(head)}, the head of #{scene.change}"


def hold(scene: Scene) -> str:
    text = greeting("development", "good night") | greeting("staging", "good night")
    commit = scene.stage.push(scene.repository, "main", text, by="owner", message="Greet at night")
    _answered(scene, commit, "staging", Phase.SUCCEEDED)
    _shows(scene, "staging", "good night")
    _shows(scene, "development", "happy holidays")
    _follows(scene, "development", manifests.own_source_name("development"))
    _silent(scene, commit, "development", forever=False)
    _silent(scene, commit, "production")
    return f"{short(commit)} is live in staging; development stays where the pull request put it"


def unpin(scene: Scene) -> str:
    stage, own = scene.stage, manifests.own_source_name("development")
    stage.close_pull_request(scene.repository, scene.change, by="writer")
    head = _head(scene)
    _answered(scene, head, "development", Phase.SUCCEEDED)
    _shows(scene, "development", "good night")
    _follows(scene, "development", manifests.branch_source_name("main"))
    scene.until(
        lambda: stage.object("GitRepository", _namespace(scene), own),
        lambda found: found is None,
        "development's own GitRepository",
        "none any more",
    )
    stage.delete_branch(scene.repository, scene.change_branch, by="writer")
    return f"development follows main again, at {short(head)}; its own GitRepository is gone"


def break_(scene: Scene) -> str:
    gone: Files = dict.fromkeys(files("development", ""))
    commit = scene.stage.push(scene.repository, "main", gone, by="writer", message="Tidy up, too much")
    said = _answered(scene, commit, "development", Phase.FAILED)
    ready = _ready(_kustomization(scene, "development"))
    expect("Ready of a Kustomization without its path", "False", ready.get("status"))
    words = clean(str(ready.get("message", "")))
    if not words.startswith("kustomization path not found") or words[:60] not in said[-1].text:
        raise StoryError("the status of a commit without the path", f"Flux's own words: {words}", said[-1])
    _shows(scene, "development", "good night")
    _silent(scene, commit, "staging", "production")
    return f"failed in Flux's own words: {words}"


def fix(scene: Scene) -> str:
    stage = scene.stage
    back = files("development", "welcome back")
    stage.push(scene.repository, "fix", back, by="writer", message="Put development back")
    number = stage.open_pull_request(scene.repository, "fix", "Put development back", by="writer")
    commit = stage.merge_pull_request(scene.repository, number, by="owner")
    _answered(scene, commit, "development", Phase.SUCCEEDED)
    _shows(scene, "development", "welcome back")
    _applied(scene, "development", commit)
    return f"green at {short(commit)} without another red in between"


def protect(scene: Scene) -> str:
    stage = scene.stage
    stage.push(scene.repository, "main", CONFIG, by="owner", message="Production wants an approval")
    stage.comment(scene.repository, scene.setup, "/enable", by="owner")
    own = manifests.own_source_name("production")
    scene.until(
        lambda: _kustomization(scene, "production")["spec"]["sourceRef"]["name"],
        lambda found: found == own,
        "the source of production",
        own,
    )
    _shows(scene, "production", "hello")
    _forget(scene, "production")
    return f"production follows main no more: {own} names the one commit that it has, and only Sluice moves it"


def merge(scene: Scene) -> str:
    stage = scene.stage
    text = greeting("production", "good news")
    stage.push(scene.repository, "news", text, by="writer", message="Tell the news")
    scene.release = stage.open_pull_request(scene.repository, "news", "Good news", by="writer")
    commit = stage.merge_pull_request(scene.repository, scene.release, by="writer")
    said = scene.until(
        lambda: stage.statuses(scene.repository, commit, "sluice/production"),
        lambda found: found and "approval" in found[-1].text,
        f"the statuses sluice/production of {short(commit)}",
        "one that says what is missing",
    )
    expect("the state while it waits", "pending", said[-1].state)
    _commented(scene, scene.release, "0 of 1 approvals are there")
    stage.comment(scene.repository, scene.release, "/approve", by="writer")
    _commented(scene, scene.release, "✗ `/approve`", stage.login("writer"))
    _shows(scene, "production", "hello")
    return f"{short(commit)} is not in production: 0 of 1 approvals, and {stage.login('writer')} cannot give it"


def approve(scene: Scene) -> str:
    commit = _head(scene)
    scene.stage.comment(scene.repository, scene.release, "/approve", by="owner")
    _answered(scene, commit, "production", Phase.SUCCEEDED)
    _applied(scene, "production", commit)
    _shows(scene, "production", "good news")
    return f"approved by {scene.stage.login('owner')}, {short(commit)} is live in production"


def roll_back(scene: Scene) -> str:
    scene.stage.comment(scene.repository, scene.release, "/rollback production", by="owner")
    scene.until(lambda: _text(scene, "production"), lambda text: text == "hello", "the greeting in production", "hello")
    _commented(scene, scene.release, "✓ `/rollback production`")
    _forget(scene, "production")
    return "production says hello again, and is held there until somebody resumes it"


def look_again(scene: Scene) -> str:
    for (commit, environment), said in scene.answers.items():
        found = scene.stage.statuses(scene.repository, commit, f"sluice/{environment}")
        expect(f"what {short(commit)} was told about {environment}, at the end of the story", said, found)
    for number in (scene.setup, scene.change, scene.release):
        expect(f"Sluice's comments on #{number}", 1, len(_comments(scene, number)))
    ended = sum(bool(said) for said in scene.answers.values())
    return f"{ended} deployments, each with one last word; one comment on each pull request"


STEPS: Sequence[Step] = (
    Step("Set GitOps up with one comment", enable),
    Step("A push rolls out", roll_out),
    Step("Two quick pushes: the newest wins", overtake),
    Step("A stranger is refused", refuse),
    Step("A pull request's head is deployed", deploy),
    Step("A push meanwhile does not reach it", hold),
    Step("The request is closed: development follows main again", unpin),
    Step("A broken path fails in Flux's own words", break_),
    Step("The fix is merged and ends green", fix),
    Step("Production wants an approval from now on", protect),
    Step("A merge waits for it", merge),
    Step("Somebody else approves", approve),
    Step("And rolls it back", roll_back),
    Step("Nothing was said twice", look_again),
)


# What is looked at.


def _head(scene: Scene, branch: str = "main") -> str:
    found = scene.stage.head(scene.repository, branch)
    if found is None:
        raise StoryError(f"the branch {branch}", "a commit", "no branch")
    return found


def _answered(scene: Scene, commit: str, environment: str, phase: Phase) -> list[Said]:
    """All that was said of a commit: pending, as often as it may be, and one last word, which is the phase's."""
    ends = {scene.stage.word(each) for each in TERMINAL}
    what = f"the statuses sluice/{environment} of {short(commit)}"
    expected = f"{scene.stage.word(phase)} ({phase}) as the last"
    said = scene.until(
        lambda: scene.stage.statuses(scene.repository, commit, f"sluice/{environment}"),
        lambda found: found and found[-1].state in ends,
        what,
        expected,
    )
    expect(what, [*["pending"] * (len(said) - 1), scene.stage.word(phase)], [each.state for each in said])
    scene.answers[commit, environment] = said
    return said


def _silent(scene: Scene, commit: str, *environments: str, forever: bool = True) -> None:
    """Nothing was said of a commit; looked at again at the end of the story, unless that may change."""
    for environment in environments:
        found = scene.stage.statuses(scene.repository, commit, f"sluice/{environment}")
        expect(f"the statuses sluice/{environment} of {short(commit)}", [], found)
        if forever:
            scene.answers[commit, environment] = []


def _comments(scene: Scene, number: int) -> list[str]:
    found = scene.stage.comments(scene.repository, number)
    return [each.text for each in found if each.author == scene.stage.bot]


def _commented(scene: Scene, number: int, *words: str) -> None:
    """Sluice has exactly one comment on the request, and it says so in one way or another."""
    found = scene.until(
        lambda: _comments(scene, number),
        lambda texts: texts and all(word in texts[-1] for word in words),
        f"Sluice's comment on #{number}",
        " … ".join(words),
    )
    expect(f"the number of Sluice's comments on #{number}", 1, len(found))


def _sources(scene: Scene) -> list[Object]:
    """The GitRepositories of this repository: others may live in the same cluster."""
    found = scene.stage.objects("GitRepository", labels=manifests.SELECTOR)
    return [each for each in found if each["spec"]["url"].removesuffix(".git").endswith(f"/{scene.repository}")]


def _namespace(scene: Scene) -> str:
    sources = _sources(scene)
    if not sources:
        raise StoryError(f"GitRepositories of {scene.repository}", "one at least", "none")
    return str(sources[0]["metadata"]["namespace"])


def _kustomization(scene: Scene, environment: str) -> Object:
    name = manifests.kustomization_name(environment)
    found = scene.stage.object("Kustomization", _namespace(scene), name)
    if found is None:
        raise StoryError(f"the Kustomization of {environment}", f"{_namespace(scene)}/{name}", "nothing")
    return found


def _ready(found: Object) -> Object:
    conditions = (found.get("status") or {}).get("conditions") or []
    return next((dict(each) for each in conditions if each["type"] == "Ready"), {})


def _applied(scene: Scene, environment: str, commit: str) -> None:
    """Flux says that it applied the commit, and that all is well."""
    found = _kustomization(scene, environment)
    applied = commit_of((found.get("status") or {}).get("lastAppliedRevision"))
    expect(f"what Flux applied to {environment}", ("True", commit), (_ready(found).get("status"), applied))


def _shows(scene: Scene, environment: str, text: str) -> None:
    """What runs in the environment."""
    expect(f"the greeting in {environment}", text, _text(scene, environment))


def _text(scene: Scene, environment: str) -> str | None:
    """The greeting: in the environment's target namespace, where Flux put it."""
    target = str(_kustomization(scene, environment)["spec"]["targetNamespace"])
    found = scene.stage.object("ConfigMap", target, WORKLOAD)
    text: str | None = (found or {}).get("data", {}).get("text")
    return text


def _forget(scene: Scene, environment: str) -> None:
    """Commits that are deployed there anew are told so again."""
    scene.answers = {place: said for place, said in scene.answers.items() if place[1] != environment}


def _follows(scene: Scene, environment: str, source: str) -> None:
    expect(f"the source of {environment}", source, _kustomization(scene, environment)["spec"]["sourceRef"]["name"])


def _objects_are_made(scene: Scene) -> None:
    """One shared GitRepository, and for each environment what design section 3 asks for."""
    stage, namespace = scene.stage, _namespace(scene)
    names = [each["metadata"]["name"] for each in _sources(scene)]
    expect("the GitRepositories", [manifests.branch_source_name("main")], names)
    for environment in ENVIRONMENTS:
        kustomization = _kustomization(scene, environment)
        spec, account = kustomization["spec"], manifests.account_name(environment)
        expect(f"the account of {environment}", account, spec["serviceAccountName"])
        expect(f"the deletion policy of {environment}", "Orphan", spec.get("deletionPolicy"))
        managers = {
            each["manager"] for each in kustomization["metadata"]["managedFields"] if not each.get("subresource")
        }
        if "sluice" not in managers:
            raise StoryError(f"who wrote the Kustomization of {environment}", "sluice", managers)
        made = {
            "account": stage.object("ServiceAccount", namespace, account),
            "binding": stage.object("RoleBinding", spec["targetNamespace"], account),
            "namespace": stage.object("Namespace", None, spec["targetNamespace"]),
        }
        expect(f"what is missing for {environment}", [], [what for what, found in made.items() if found is None])


def _written(scene: Scene) -> dict[str, tuple[object, ...]]:
    """The fingerprint of Flux's objects: whatever somebody writes or asks for changes it."""
    found = [*_sources(scene), *scene.stage.objects("Kustomization", _namespace(scene))]
    return {
        f"{each['kind']} {each['metadata']['name']}": (
            each["metadata"]["uid"],
            each["metadata"].get("generation"),
            (each["metadata"].get("annotations") or {}).get(REQUESTED),
        )
        for each in found
    }
