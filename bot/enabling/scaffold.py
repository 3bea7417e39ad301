"""What a repository needs before an environment can be enabled: a folder with a kustomization for each."""

from collections.abc import Sequence

from bot.core.repoconfig import Environment


def files_to_add(branch: str, missing: Sequence[Environment]) -> str:
    """The files that are missing on a branch, for people to add."""
    files = "\n".join(f"- `{each.path}/kustomization.yaml`" for each in missing)
    return (
        f"these folders do not exist on `{branch}`; they need at least this file each:\n\n"
        f"{files}\n\n```yaml\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n```"
    )
