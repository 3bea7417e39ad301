"""What an `/enable` says it did, from what its steps noted; that all of it is ready, the progress list says."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from bot.core.conversation import code
from bot.core.deployments import short
from bot.core.initialization import Difference
from bot.enabling.setup import Setup
from bot.enabling.setup_gitops import LISTS
from bot.store import initialization

_REMOVE = "somebody of `sluice-operators` deletes its Kustomization; what that applied stays"


async def told(setup: Setup) -> str:
    """What was set up and from which commit on, what is different from before, and what there is in the cluster."""
    async with setup.ctx.store.read() as session:
        noted = {row.step: row.details for row in await initialization.steps(session, setup.project.id)}
    names = ", ".join(code(each.name) for each in setup.wanted.asked.values())
    different = noted["create_environments"].get("difference")  # none at the first time: then everything is new
    parts = [
        f"GitOps is set up for {names}, from {short(setup.wanted.head)} on.",
        *([] if different is None else [_different(msgspec.convert(different, Difference))]),
        "In the cluster:\n\n" + "\n".join(_objects(noted["setup_gitops"])),
    ]
    return "\n\n".join(parts)


def _objects(noted: Mapping[str, Any]) -> Iterator[str]:
    for kind, key in LISTS.items():
        for name in noted.get(key, ()):
            yield f"- {kind} {code(name)}"
    for name in noted.get("adopted", ()):
        yield f"- {code(name)}, which others keep: it is watched, and never written"


def _different(found: Difference) -> str:
    lines = [f"- {code(name)} is new" for name in found.added]
    for name, fields in found.changed.items():
        changes = (f"{code(field)} from {code(before)} to {code(now)}" for field, (before, now) in fields.items())
        lines.append(f"- {code(name)}: {', '.join(changes)}")
    lines += [
        f"- {code(name)} is not in the configuration any more; it goes on as it was. To remove it, {_REMOVE}"
        for name in found.gone
    ]
    return "\n".join(["Different from before:", "", *lines]) if lines else "Nothing differs from before."
