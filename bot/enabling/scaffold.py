"""What a repository needs before an environment can be enabled: a folder for each, shown or proposed."""

from collections.abc import Sequence

from bot.committing import Change, Committer
from bot.core.manifests import slug
from bot.core.repoconfig import FILE, Environment
from bot.enabling.setup import Setup

BRANCH = "sluice/scaffold"
TITLE = "Folders for the environments that Sluice is to release"
KUSTOMIZATION = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: # put manifests beside this file, and name them here
  - about.yaml
"""
ABOUT = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: about # something to apply; take it out once there is more
data:
  environment: {name}
"""


def files_to_add(branch: str, missing: Sequence[Environment]) -> str:
    """The files that are missing on a branch, for people to add."""
    files = "\n".join(f"- `{each.path}/kustomization.yaml`" for each in missing)
    return (
        f"these folders do not exist on `{branch}`; they need at least this file each:\n\n"
        f"{files}\n\n```yaml\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n```"
    )


async def propose(setup: Setup, branch: str, missing: Sequence[Environment]) -> int | None:
    """A pull request with the folders, and a configuration where there is none; the one that is open already."""
    ctx = setup.ctx
    committer = Committer(ctx.store, ctx.forge, ctx.repository, ctx.run.id, setup.project.id)
    default = branch == ctx.repository.default_branch
    files = _folders(missing) | (_configuration(setup) if default and not setup.wanted.configured else {})
    change = Change(
        branch=_branch(setup, branch, default=default),
        start=branch,
        files={path: text.encode() for path, text in files.items()},
        message=TITLE,
        without_theirs=True,
    )
    return await committer.propose(change, TITLE, _body(missing))


def _branch(setup: Setup, branch: str, *, default: bool) -> str:
    """One for each project and branch, so that no request takes another's place."""
    parts = [setup.project.slug] if setup.wanted.configured else []
    return "-".join([BRANCH, *parts, *([] if default else [slug(branch)])])


def _folders(missing: Sequence[Environment]) -> dict[str, str]:
    found = {}
    for each in missing:
        found[f"{each.path}/kustomization.yaml"] = KUSTOMIZATION
        found[f"{each.path}/about.yaml"] = ABOUT.format(name=each.name)
    return found


def _configuration(setup: Setup) -> dict[str, str]:
    """What holds without a configuration, written down, with what people change first."""
    lines = [
        "# How Sluice releases this repository. It is read from the default branch only; `/enable` applies a change.",
        "version: 1",
        "environments:",
    ]
    for each in setup.wanted.project.environments:
        lines += [f"  {each.name}:", f"    path: {each.path}", f"    # branch: {each.branch}", "    # interval: 10m"]
    return {FILE: "\n".join([*lines, ""])}


def _body(missing: Sequence[Environment]) -> str:
    listed = "\n".join(f"- `{each.path}` for {each.name}" for each in missing)
    return (
        "`/enable --scaffold` asked for this. Flux applies one folder for each environment, and these are not there "
        f"yet:\n\n{listed}\n\nEach holds a kustomization with one small ConfigMap; put your manifests beside it. "
        "Change what you like here, merge it, and comment `/enable` again."
    )
