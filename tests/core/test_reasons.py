"""Every text of the gates, as in `tests/corpus/reasons.txt`; `python -m tests.core.test_reasons` writes it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.core.gates import Before, Claim, Facts, Request, judge
from bot.core.people import Person
from bot.core.prunes import Pruned
from bot.core.quorum import Voice, barred
from bot.core.reasons import Reason, Verdict, as_json, codes, from_json, markdown, passes, refuses, summary
from bot.core.roles import Role
from bot.core.rules import Rules

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "corpus" / "reasons.txt"
NOW = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)  # a Friday
COMMIT = "c0ffee" + "0" * 34
ALICE = Person("alice", "1", Role.DEPLOYER)
BOB = Person("bob", "2", Role.APPROVER)
LISTS = (("team:acme/sre", "user:carol"),)
HOSTILE = Claim(owner="<b>@all</b>", owner_id="66", reason="see [this](https://evil) @everyone\n## #1")


def facts(command: str, **more: Any) -> Facts:
    given = {"environment": "production", "commit": COMMIT, "now": NOW, "person": ALICE, "chain": "x"}
    return Facts(command=command, **{**given, **more})


def voice(person: Person, chain: str = "x") -> Voice:
    return Voice(person, COMMIT, chain, NOW)


CASES: dict[str, Facts] = {
    "nothing is asked for": facts("push", person=None),
    "the role is too low": facts("deploy", person=Person("vera", "3", Role.VIEWER)),
    "not on the list": facts("deploy", rules=Rules(deployers=LISTS)),
    "on the list": facts("deploy", person=Person("carol", "4", Role.DEPLOYER), rules=Rules(deployers=LISTS)),
    "not an approver": facts("approve"),
    "not the owner": facts("cancel", asked_by="9", opened_by="dave"),
    "not the owner of a lock": facts("unlock", lock=Claim(owner="dave", owner_id="9")),
    "an admin for the owner": facts("cancel", person=Person("adam", "5", Role.ADMIN), asked_by="9", opened_by="dave"),
    "nobody's": facts("cancel"),
    "a fork": facts("deploy", request=Request(number=7, fork=True), on_branch=False),
    "a fork that may": facts("deploy", request=Request(number=7, fork=True), on_branch=False, rules=Rules(forks=True)),
    "a draft": facts("deploy", request=Request(number=7, draft=True)),
    "closed": facts("deploy", request=Request(number=7, state="closed")),
    "merged": facts("deploy", request=Request(number=7, state="merged")),
    "merged, with the commit": facts("deploy", request=Request(number=7, state="merged"), named=True),
    "no commit is named": facts("deploy", rules=Rules(name_commit=True)),
    "the commit is named": facts("deploy", rules=Rules(name_commit=True), named=True),
    "not merged": facts("deploy", rules=Rules(deploy_from="merged"), on_branch=False),
    "no folder": facts("deploy", path_missing=True),
    "behind": facts("deploy", on_branch=False, behind=True),
    "behind, and said so": facts("deploy", on_branch=False, behind=True, behind_said=True),
    "not up to date": facts("deploy", on_branch=False, behind=True, behind_said=True, rules=Rules(up_to_date=True)),
    "up to date": facts("deploy", on_branch=False),
    "nothing that matters goes": facts("deploy", pruned=Pruned()),
    "a volume goes": facts("deploy", pruned=Pruned(names=("PersistentVolumeClaim shop/data",))),
    "a volume goes, for a push": facts(
        "push", person=None, pruned=Pruned(names=("Namespace shop", "PersistentVolumeClaim shop/data"))
    ),
    "a volume goes, and it was said": facts(
        "deploy",
        pruned=Pruned(names=("PersistentVolumeClaim shop/data",)),
        prunes_confirmed=("PersistentVolumeClaim shop/data",),
    ),
    "more goes than was said": facts(
        "deploy",
        waiting=True,
        person=None,
        pruned=Pruned(names=("Namespace shop", "PersistentVolumeClaim shop/data")),
        prunes_confirmed=("PersistentVolumeClaim shop/data",),
    ),
    "much goes, and by hostile names": facts(
        "rollback", pruned=Pruned(names=("Namespace `@all`", *(f"Namespace {each:02}" for each in range(14))))
    ),
    "nobody can tell what goes": facts("deploy", pruned=Pruned(unseen=("a/kustomization.yaml uses Helm charts",))),
    "never deployed here": facts("rollback", deployed_here=False),
    "deployed here": facts("rollback"),
    "locked": facts("deploy", lock=Claim(owner="dave", owner_id="9")),
    "locked for a while": facts(
        "deploy", lock=Claim(owner="dave", owner_id="9", reason="load test", until=NOW + timedelta(hours=2))
    ),
    "locked by oneself": facts("deploy", lock=Claim(owner="alice", owner_id="1")),
    "locked, and an admin rolls back": facts(
        "rollback", person=Person("adam", "5", Role.ADMIN), lock=Claim(owner="dave", owner_id="9")
    ),
    "held": facts("deploy", hold=Claim(owner="dave", reason="500s")),
    "held, for a push": facts("push", person=None, hold=Claim(owner="dave")),
    "frozen": facts("deploy", rules=Rules(freeze=("Fri 16:00 - Mon 08:00 UTC",))),
    "frozen, for a push": facts("push", person=None, rules=Rules(freeze=("Fri 16:00 - Mon 08:00 UTC",))),
    "not frozen": facts("deploy", rules=Rules(freeze=("Sat 16:00 - Mon 08:00 UTC",))),
    "order": facts(
        "deploy",
        before=(
            Before(name="staging", wanted="a", live="b", commit="b" * 40),
            Before(name="testing", wanted="a"),
            Before(name="development", wanted="a", live="a", commit="a" * 40),
        ),
    ),
    "in order": facts("deploy", before=(Before(name="staging", wanted="a", live="a", commit="a" * 40),)),
    "checks": facts(
        "deploy",
        rules=Rules(checks=("ci/a", "ci/b", "ci/c", "ci/d")),
        checks={"ci/a": "success", "ci/b": "failure", "ci/c": "pending"},
    ),
    "checks, for a push": facts("push", person=None, rules=Rules(checks=("ci/test",))),
    "green": facts("deploy", rules=Rules(checks=("ci/test",)), checks={"ci/test": "success"}),
    "no approval yet": facts("deploy", rules=Rules(approvals=2)),
    "approvers by name": facts("deploy", rules=Rules(approvals=1, approvers=LISTS)),
    "every kind of voice": facts(
        "deploy",
        rules=Rules(approvals=2),
        voices=(
            voice(BOB),
            voice(ALICE),
            voice(Person("carol", "4", Role.APPROVER), chain="y"),
            voice(Person("dora", "5", Role.DEPLOYER)),
            *(voice(Person(name, name, Role.APPROVER)) for name in ("erin", "fred", "gina")),
        ),
        barred=barred(author="1", asked_by="erin", pushed=["fred"], wrote=["gina"]),
        unknown_authors=1,
    ),
    "many unknown authors": facts("deploy", rules=Rules(approvals=1), unknown_authors=3),
    "approved": facts("deploy", rules=Rules(approvals=1), voices=(voice(BOB),)),
    "several at once": facts(
        "deploy",
        rules=Rules(approvals=1, freeze=("Fri 16:00 - Mon 08:00 UTC",)),
        lock=Claim(owner="dave", owner_id="9"),
    ),
    "from outside": facts("deploy", lock=HOSTILE, hold=HOSTILE),
}


def told() -> str:
    """All cases with what is said of them."""
    blocks = []
    for name, given in CASES.items():
        verdict = judge(given)
        shown = markdown(verdict) or "(no gate)"
        blocks.append(f"== {name}: /{given.command} → {verdict.outcome}\n{shown}\nstatus: {summary(verdict)}\n")
    return "\n".join(blocks)


def test_what_the_gates_say() -> None:
    """A text is changed on purpose, and its new words are read once more in the file."""
    assert told() == CORPUS.read_text()


def reasons(verdict: Verdict) -> Iterator[Reason]:
    stack = [*verdict.reasons]
    while stack:
        reason = stack.pop()
        yield reason
        stack += reason.reasons


def test_every_code_has_its_case() -> None:
    """Whatever the gates can refuse with is in the corpus."""
    sources = "".join((ROOT / f"bot/core/{name}.py").read_text() for name in ("gates", "quorum", "people"))
    written = set(re.findall(r"refuses\(\s*\"([a-z_]+)\"", sources))
    failed = {reason.code for given in CASES.values() for reason in reasons(judge(given)) if not reason.passed}
    assert written == failed


@pytest.mark.parametrize("name", CASES)
def test_who_is_kept_out_is_told_what_to_do(name: str) -> None:
    """The first thing that failed, or something below it, says a next step after its cause."""
    for reason in judge(CASES[name]).missing():
        texts = [reason.text, *(each.text for each in reason.reasons)]
        assert any(";" in text or "to approve" in text or "first" in text for text in texts), texts


@pytest.mark.parametrize("name", CASES)
def test_statuses_are_short(name: str) -> None:
    """One line that fits, whatever it is made of."""
    line = summary(judge(CASES[name]))
    assert len(line) <= 100
    assert "\n" not in line


@pytest.mark.parametrize("name", CASES)
def test_the_tree_is_kept(name: str) -> None:
    """As JSON, and back."""
    verdict = judge(CASES[name])
    kept = msgspec.json.decode(msgspec.json.encode(as_json(verdict)))
    assert from_json(kept) == verdict
    assert kept == as_json(verdict)  # else it would be told anew each time that it is looked at


def test_what_is_missing() -> None:
    """What refuses comes before what waits, and the codes of all that failed are told, leaves as well."""
    leaf = refuses("check_failed", "it failed; mend it")
    verdict = Verdict(
        (
            passes("held", "not held"),
            refuses("approvals_missing", "0 of 1", waits=True),
            refuses("checks_missing", "not green", [leaf]),
        )
    )
    assert verdict.outcome == "refuse"
    assert verdict.first == verdict.reasons[2]
    assert codes(verdict) == ("approvals_missing", "checks_missing", "check_failed")
    assert from_json(None) == Verdict()
    assert (Verdict().outcome, Verdict().first) == ("go", None)


if __name__ == "__main__":
    CORPUS.write_text(told())
