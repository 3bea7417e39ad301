"""Start all servers, print what to export for Sluice and kubectl, and keep them up until Ctrl-C."""

from __future__ import annotations

import secrets
import shlex
import signal
import sys
import time
from types import FrameType

from tests.servers.build import BuildError, ToolMissing
from tests.servers.control_plane import ControlPlane
from tests.servers.gitea import Gitea
from tests.servers.processes import StartError


def environment(plane: ControlPlane, gitea: Gitea, webhook_secret: str) -> dict[str, str]:
    """What Sluice (SLUICE_…) and kubectl (KUBECONFIG, as administrator) need to find the servers."""
    return {
        "KUBECONFIG": str(plane.admin_kubeconfig),
        "SLUICE_KUBECONFIG": str(plane.sluice_kubeconfig),
        "SLUICE_GITEA_URL": gitea.url,
        "SLUICE_GITEA_TOKEN": gitea.bot.token,
        "SLUICE_GITEA_GIT_TOKEN": gitea.git_token,
        "SLUICE_GITEA_WEBHOOK_SECRET": webhook_secret,
    }


def _people(gitea: Gitea) -> list[str]:
    lines = [f"# people on {gitea.url} (role, name, password, token):"]
    return lines + [f"#   {role:10} {who.name:10} {who.password} {who.token}" for role, who in gitea.accounts.items()]


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run() -> None:
    started = time.monotonic()
    with ControlPlane() as plane, Gitea() as gitea:
        for name, value in environment(plane, gitea, secrets.token_urlsafe(24)).items():
            print(f"export {name}={shlex.quote(value)}")
        print("\n".join(_people(gitea)))
        took = time.monotonic() - started
        print(f"# all up after {took:.1f} s; logs in {plane.folder} and {gitea.folder}; Ctrl-C stops", flush=True)
        signal.pause()


def main() -> int:
    """Run until Ctrl-C (or SIGTERM): 0 after that, 1 when a server did not start, 2 when a tool is missing."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        _run()
    except KeyboardInterrupt:
        return 0
    except ToolMissing as error:
        print(error, file=sys.stderr)
        return 2
    except (BuildError, StartError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
