"""Is Flux there, with all that Sluice needs, in every cluster that the project goes to?"""

from collections.abc import Sequence
from typing import Any

from bot.core import helm
from bot.core.checks import Check, Level, Wanted
from bot.core.conversation import code, plain
from bot.core.errors import TemporaryError, UserError
from bot.core.repoconfig import Environment
from bot.enabling.setup import Setup
from bot.flux.checking import check


async def check_cluster(setup: Setup) -> dict[str, Any]:
    """Every cluster that is named has Flux, in a version that Sluice knows, the policies, and Sluice its rights."""
    warnings: list[Check] = []
    if not isinstance(setup.found, UserError):
        setup.ctx.check_policy(list(setup.wanted.asked.values()))  # before a cluster is asked, or said to exist
    for name in _names(setup):
        found = await check(setup.ctx.cluster(name), _wanted(setup, name))
        _refuse(found)
        warnings += [each for each in found if each.level is Level.WARNING]
    if warnings:
        return {"said": "; ".join(each.text for each in warnings), "warnings": [each.code for each in warnings]}
    return {"said": "Flux is there, and the gate is closed"}


def _names(setup: Setup) -> Sequence[str]:
    """While the configuration cannot be read, all that are configured: the step after this one says what is wrong."""
    return list(setup.ctx.clusters) if isinstance(setup.found, UserError) else setup.found.clusters


def _wanted(setup: Setup, cluster: str) -> Wanted:
    if isinstance(setup.found, UserError):
        return Wanted()
    here = [each for each in setup.found.asked.values() if each.cluster == cluster]
    namespace = setup.project.namespace
    return Wanted(
        kinds=_kinds(here),
        fields={"Kustomization": frozenset(name for each in here for name in each.kustomization)},
        namespaces=(namespace,),
        targets=tuple(each.target_namespace(namespace) for each in here if each.adopt is None),
    )


def _kinds(here: Sequence[Environment]) -> tuple[str, ...]:
    """The kinds of Flux's that these environments are made of: nobody needs Helm who has no chart."""
    found = ["GitRepository", "Kustomization"] if any(each.helm is None for each in here) else []
    for each in here:
        if each.helm is None:
            continue
        chart = each.helm.chart
        found.append("HelmRelease")
        if isinstance(chart, str):
            found += ["GitRepository", "HelmChart"]
        else:
            found += [helm.kind_at(chart.repository)]
    return tuple(dict.fromkeys(found))


def _refuse(found: Sequence[Check]) -> None:
    """What is missing, each with the command that mends it; a cluster that does not answer is waited for."""
    failed = [each for each in found if not each.good]
    if not failed:
        return
    if failed[0].code == "cluster_unreachable":
        raise TemporaryError(failed[0].text)
    raise UserError(failed[0].code, "\n".join(_line(each) for each in failed))


def _line(failed: Check) -> str:
    return f"- {plain(failed.text)}" + (f": {code(failed.remedy)}" if failed.remedy else "")
