"""A sandbox whole: a forge, a cluster with its small Flux, and the settings with which Sluice finds them."""

import secrets
from pathlib import Path
from typing import Self

import yaml

from bot.sandbox.cluster import SandboxCluster
from bot.sandbox.flux import SandboxFlux
from bot.sandbox.forge import SandboxForge
from bot.sandbox.git import GitStore
from bot.sandbox.server import Loopback

BOT = "sluice-bot"


class Town:
    """Everything that Sluice talks with, on loopback addresses, from `start` to `stop`; its files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.webhook_secret = secrets.token_hex(16)
        self.cluster_url = ""
        self.secret_key = secrets.token_hex(32)
        self.forge = SandboxForge(GitStore(folder / "git"))
        self.cluster = SandboxCluster()
        self.flux = SandboxFlux(self.cluster, self.forge.store.fetch)
        self._forge_server, self._cluster_server = Loopback(self.forge.app), Loopback(self.cluster)
        self.token = self.forge.add_user(BOT)

    def start(self) -> None:
        """Listen, and let Flux begin."""
        self.forge.url = self._forge_server.start()
        self.cluster_url = self._cluster_server.start()
        kubeconfig = self.cluster.kubeconfig(self.cluster_url)
        self.kubeconfig.write_text(yaml.safe_dump(kubeconfig))
        self.flux.start()

    def stop(self) -> None:
        """Stop in the order in which nobody misses anybody."""
        self.flux.stop()
        self.forge.close()
        self._forge_server.stop()
        self._cluster_server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def kubeconfig(self) -> Path:
        """The file by which the cluster is found."""
        return self.folder / "kubeconfig"

    def environ(self) -> dict[str, str]:
        """The settings of a Sluice that lives here."""
        return {
            "SLUICE_DATABASE_URL": f"sqlite:///{self.folder / 'sluice.db'}",
            "SLUICE_KUBECONFIG": str(self.kubeconfig),
            "SLUICE_GITHUB_URL": self.forge.url,
            "SLUICE_GITHUB_TOKEN": self.token,
            "SLUICE_GITHUB_GIT_TOKEN": self.token,
            "SLUICE_GITHUB_GIT_USERNAME": BOT,
            "SLUICE_GITHUB_WEBHOOK_SECRET": self.webhook_secret,
            "SLUICE_SECRET_KEYS": self.secret_key,
        }
