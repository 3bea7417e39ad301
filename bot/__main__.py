"""The command line: `sluice`, also `python -m bot`."""

import asyncio
import functools
import gc
import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import App, Group, Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bot import log, registry, settings
from bot.core import fluxinstall, repoconfig, schemas
from bot.core.errors import BotError, ConfigError, UserError
from bot.core.policy import Policy
from bot.core.policy import parse as parse_policy

if TYPE_CHECKING:
    from bot.flux.cluster import KubernetesCluster  # imported where it is used: the command line starts quickly

app = App(
    name="sluice",
    help="The gate between pull requests and Flux.",
    help_epilogue="Settings come from the environment: `sluice settings` lists them.",
    version_flags=["--version"],
)
flux = App(name="flux", help="Flux itself.")
app.command(flux)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
SIGNS = {"ok": "[green]✓[/]", "unknown": "[dim]?[/]", "warning": "[yellow]![/]", "failed": "[red]✗[/]"}


def _settings(*, serving: bool = False) -> settings.Settings:
    loaded = settings.load(os.environ, serving=serving)
    log.configure(loaded.secrets())
    return loaded


def _say(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)


@app.command
def serve(*, worker: bool = True) -> None:
    """Receive webhooks; with a worker in this process unless --no-worker.

    Parameters
    ----------
    worker
        Also carry out what the webhooks ask for. Without it run `sluice work` elsewhere, on the same Redis.
    """
    gc.disable()  # nothing that is loaded at the start is ever garbage
    from bot.asgi import serve as serve_forever
    from bot.migrating import bring_up_to_date

    gc.freeze()
    gc.enable()
    loaded = _settings(serving=True)
    if not worker and loaded.redis_url is None:
        raise ConfigError("--no-worker needs SLUICE_REDIS_URL: without Redis nobody else hears of the work")
    bring_up_to_date(loaded.database_url, _say)
    serve_forever(loaded, work=worker)


@app.command
def work(*, observe: bool = True) -> None:
    """Carry out what the webhooks ask for, from the queue on Redis.

    Parameters
    ----------
    observe
        Also watch the clusters; --no-observe when `sluice observe` does that elsewhere.
    """
    from bot.store.database import refuse_newer
    from bot.worker import Worker, wait_for_the_end

    loaded = _settings()
    refuse_newer(loaded.database_url)
    worker = Worker(loaded, observe=observe)
    worker.start()
    wait_for_the_end()
    worker.stop()


@app.command
def observe() -> None:
    """Watch the clusters and sweep, without working the queue."""
    from bot.store.database import refuse_newer
    from bot.worker import observe_until_the_end

    loaded = _settings()
    refuse_newer(loaded.database_url)
    asyncio.run(observe_until_the_end(loaded))


@app.command
def migrate(*, dry_run: bool = False, backed_up: bool = False, backup: Path | None = None) -> None:
    """Bring the database to this version's tables, and back it up first.

    SQLite is copied to a file beside it. For PostgreSQL the command is shown, to be run before --backed-up.

    Parameters
    ----------
    dry_run
        Print the SQL and change nothing.
    backed_up
        Go on: the database was backed up.
    backup
        Where to back it up to; on PostgreSQL with pg_dump, which must be there.
    """
    from bot.migrating import bring_up_to_date
    from bot.store.database import sql

    url = _settings().database_url
    if dry_run:
        out.print(sql(url) or "-- There is nothing to do.", markup=False, soft_wrap=True)
        return
    bring_up_to_date(url, _say, backed_up=backed_up, backup=backup)
    out.print("The database is up to date.")


@app.command
def demo(*, stay: bool = False) -> None:
    """Play a story in a sandbox: a forge, a cluster with a small Flux, and Sluice between them.

    Parameters
    ----------
    stay
        Keep it running afterwards, with a prompt to type pushes and comments.
    """
    from bot.sandbox.demo import main as play

    sys.exit(play(stay=stay))


@app.command
def commands() -> None:
    """List the slash commands that were found."""
    table = Table("command", "what it does", "needs", "on pull requests that are", box=None, pad_edge=False)
    for found in registry.commands().values():
        states = ", ".join(state for state in ("open", "merged", "closed") if state in found.on)
        table.add_row(escape(found.usage), found.summary, found.needs.label, states)
    out.print(table)


@app.command(name="settings")
def show_settings() -> None:
    """List the settings: environment variables, each also as …_FILE."""
    table = Table("setting", "meaning", "default", box=None, pad_edge=False)
    for each in settings.describe():
        table.add_row(each.name, escape(each.meaning), each.default)
    out.print(table)


@app.command(name="check-config")
def check_config(
    file: Path = Path(repoconfig.FILE), *, branch: str = "main", schema: bool = False, policy: Path | None = None
) -> None:
    """Check a repository's .sluice.yaml, or the operator's policy.

    Parameters
    ----------
    file
        The file to check; with --schema: config or policy.
    branch
        The repository's default branch.
    schema
        Print the JSON Schema instead.
    policy
        Check this policy file, too; without FILE only that.
    """
    if schema:
        name = "config" if file == Path(repoconfig.FILE) else str(file)
        if name not in schemas.PUBLISHED:
            raise ConfigError(f"there is no schema {name}; there are {', '.join(schemas.PUBLISHED)}")
        sys.stdout.write(schemas.text(schemas.PUBLISHED[name]()))
        return
    limits = _checked_policy(policy) if policy else None
    if limits is None or file.is_file():
        _checked_config(file, branch)


def _content(file: Path) -> bytes:
    if not file.is_file():
        raise ConfigError(f"there is no file {file}")
    return file.read_bytes()


def _checked_policy(file: Path) -> Policy:
    found = parse_policy(_content(file), str(file))
    out.print(f"{file}: {len(found.rules or ())} rules")
    return found


def _checked_config(file: Path, branch: str) -> None:
    config = repoconfig.parse(_content(file), branch, file.resolve().parent.name, str(file))
    for project in config.projects:
        for each in project.environments:
            out.print(f"{project.name}/{each.name}: {each.path} of {each.branch}, cluster {each.cluster}")


@app.command
def connect(forge: str, repository: str) -> None:
    """Register Sluice's webhook for a repository, with a URL and a secret of its own.

    Parameters
    ----------
    forge
        github or gitea.
    repository
        Its full name: owner/name.
    """
    from bot.connecting import connect as register

    hook = asyncio.run(register(_settings(), forge, repository))
    out.print(f"{repository} now sends {', '.join(hook.events)} to {hook.url}")


credentials_app = App(name="credentials", help="What Flux fetches projects with (docs/credentials.md).")
app.command(credentials_app)


@credentials_app.command(name="set")
def set_credentials(
    repository: str,
    *,
    token_file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    kind: Literal["pat", "project", "group"] = "pat",
    username: str | None = None,
    project: str | None = None,
    forge: str | None = None,
) -> None:
    """Give a project a token of its own for Flux; it is tried first, then sealed, and brought into the cluster.

    Parameters
    ----------
    repository
        Its full name: owner/name.
    token_file
        The file that holds the token; - reads it from standard input. It is never an argument: others see those.
    kind
        Whose token it is: a person's, the project's or the group's.
    username
        The user name that goes with it, where the forge wants a certain one.
    project
        Which project, where the repository has several.
    forge
        github or gitea, where both are configured.
    """
    from bot import granting

    text = _text_of(Path(token_file))
    actor = getpass.getuser()
    wish = granting.Wish(repository=repository, project=project, forge=forge, kind=kind, username=username, actor=actor)
    out.print(asyncio.run(granting.set_token(_settings(), wish, text.strip())), markup=False, soft_wrap=True)


@credentials_app.command(name="show")
def show_credentials() -> None:
    """List what each project is fetched with, and how that stands."""
    from bot import granting

    table = Table("repository", "project", "kind", "stands", "ends", "said", box=None, pad_edge=False)
    for row in asyncio.run(granting.listed(_settings())):
        table.add_row(*map(escape, row))
    out.print(table)


def _text_of(file: Path) -> str:
    if file == Path("-"):
        return sys.stdin.read()
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as text") from error


@app.command(name="rotate-keys")
def rotate_keys(*, check: bool = False) -> None:
    """Seal everything in the database with the newest of SLUICE_SECRET_KEYS, and renew webhooks, online.

    Put a new key in front of the old one, restart everything, run this, and take the old key away when it ends with
    exit code 0: nothing is sealed with it then, and no webhook signs by it. It can be broken off and repeated.

    Parameters
    ----------
    check
        Only say what is sealed with which key; exit code 1 if an older one is needed.
    """
    from bot import rotating

    work = rotating.check if check else rotating.rotate
    good = asyncio.run(work(_settings(), lambda text: out.print(text, markup=False, soft_wrap=True)))
    sys.exit(0 if good else 1)


def _cluster(loaded: settings.Settings, name: str, kubeconfig: Path | None) -> "KubernetesCluster":
    """The cluster of that name, by the kubeconfig that is given or by the settings."""
    from bot.flux.cluster import KubernetesCluster
    from bot.wiring import cluster_makers

    if kubeconfig is not None:
        return KubernetesCluster.from_kubeconfig(name, kubeconfig)
    known = cluster_makers(loaded)
    if name not in known:
        raise UserError("cluster_unknown", f"there is no cluster {name}; configured: {', '.join(known)}")
    return known[name]()


@flux.command
def install(
    *,
    version: str = fluxinstall.VERSION,
    file: Annotated[Path | None, Parameter(name="--from")] = None,
    cluster: str = "default",
    kubeconfig: Path | None = None,
    gate: bool = True,
    force: bool = False,
) -> None:
    """Install or update Flux: its published manifests with the feature gate that rollbacks want, then the policies.

    Parameters
    ----------
    version
        Which release of Flux.
    file
        Its install.yaml, instead of the published one.
    cluster
        One of the clusters of the settings.
    kubeconfig
        An administrator's; Sluice's own account may not install anything.
    gate
        Also apply Sluice's own rights and admission policies (deploy/).
    force
        Take over fields that somebody else has set.
    """
    from bot.flux.installing import Installer as Flux
    from bot.flux.installing import checksum, fetch, read

    loaded = _settings()
    chosen = _cluster(loaded, cluster, kubeconfig)
    limits = fluxinstall.Limits(cpu=loaded.flux_cpu_limit, memory=loaded.flux_memory_limit)

    async def work() -> None:
        data = await fetch(version) if file is None else read(file)
        out.print(f"{file or fluxinstall.release_url(version)}: sha256 {checksum(data)}", markup=False, soft_wrap=True)
        try:
            say = functools.partial(out.print, markup=False, soft_wrap=True)
            await Flux(chosen, say).install(data, limits, with_gate=gate, force=force)
        finally:
            await chosen.close()

    asyncio.run(work())


@app.command
def doctor() -> None:
    """Check the database, every configured forge and the cluster, and say what to do."""
    from bot.doctor import examine

    findings = asyncio.run(examine(_settings()))
    for finding in findings:
        out.print(f"{SIGNS[finding.level]} {finding.what}: {escape(finding.found)}", soft_wrap=True)
        if finding.advice:
            out.print(f"  → {finding.advice}", soft_wrap=True, markup=False)
    sys.exit(0 if all(finding.good for finding in findings) else 1)


@app.command
def simulate(
    repository: str,
    login: str,
    command: str,
    target: str,
    /,
    *,
    commit: str | None = None,
    pull_request: int | None = None,
    behind: bool = False,
    prune_confirmed: bool = False,
    forge: str | None = None,
) -> None:
    """Show every gate of a command without giving it; exit code 1 if it would be refused.

    Parameters
    ----------
    repository
        Its full name: owner/name.
    login
        Who would say it, as the forge knows them.
    command
        deploy, approve and so on, without a slash; push for a push to the branch.
    target
        [project/]environment
    commit
        A commit; without it the pull request's head, or the branch's.
    pull_request
        The pull request that it would be said on.
    behind
        As if --behind were said.
    prune_confirmed
        As if --prune-confirmed were said.
    forge
        github or gitea, where both are configured.
    """
    from bot.core.gates import markdown
    from bot.simulating import Question
    from bot.simulating import simulate as ask

    question = Question(
        repository=repository,
        login=login,
        command=command.removeprefix("/"),
        target=target,
        commit=commit,
        pull_request=pull_request,
        behind=behind,
        prune_confirmed=prune_confirmed,
        forge=forge,
    )
    answers = asyncio.run(ask(_settings(), question))
    for answer in answers:
        words = {"go": "it would go on its way", "wait": "it would wait", "refuse": "it would be refused"}
        _say(f"{answer.environment}, {answer.commit[:7]}: {words[answer.verdict.outcome]}")
        _say(markdown(answer.verdict) or "- ✓ nothing is asked for")
    sys.exit(1 if any(answer.verdict.outcome == "refuse" for answer in answers) else 0)


audit = App(name="audit", help="The event log.")
app.command(audit)


@audit.command
def verify() -> None:
    """Walk the event log's chain; exit code 1 if a row was changed, removed, put in or moved."""
    from bot.auditing import verify as walk

    found = asyncio.run(walk(_settings()))
    for fault in found.faults:
        err.print(f"✗ {fault.sequence} {fault.text}", markup=False, soft_wrap=True)
    if found.faults:
        err.print("The event log is not as it was written.")
        sys.exit(1)
    since = f"{found.first} to {found.last}" if found.rows else f"none after {found.last}"
    out.print(f"The event log is as it was written: {found.rows} events ({since}), {found.unchained} not chained yet.")


@app.command
def purge(*, events_older_than: str) -> None:
    """Remove old entries of the event log; a signed checkpoint stays in their stead.

    Parameters
    ----------
    events_older_than
        Their least age: 180d, 26w or 12h.
    """
    from bot.auditing import age
    from bot.auditing import purge as take_away

    count = asyncio.run(take_away(_settings(), age(events_older_than)))
    out.print(f"{count} events were removed.")


FOR_OPERATORS = Group("The commands of comments, for operators", sort_key=10)
SHOWN_OTHERWISE = frozenset({"help"})


def _declare_commands() -> None:
    """Each slash command is a command here as well, with the words of a comment."""
    for found in registry.commands().values():
        if found.name not in app and found.name not in SHOWN_OTHERWISE:
            _declare_command(found)


def _declare_command(found: registry.Command) -> None:
    def carry_out(
        repository: str,
        /,
        *words: Annotated[str, Parameter(allow_leading_hyphen=True)],
        pull_request: int | None = None,
        forge: str | None = None,
        wait: bool = True,
    ) -> None:
        from bot import operating

        user = getpass.getuser()
        order = operating.Order(
            command=found.name,
            repository=repository,
            words=words,
            user=user,
            forge=forge,
            pull_request=pull_request,
            wait=wait,
        )
        sys.exit(0 if asyncio.run(operating.carry_out(_settings(), order, _say)) else 1)

    written = found.usage.removeprefix(f"/{found.name}").strip()
    carry_out.__doc__ = f"""{found.summary}

    Parameters
    ----------
    repository
        Its full name: owner/name.
    words
        As in a comment: {written or "none"}
    pull_request
        The pull request that it is about, where the command wants one.
    forge
        github or gitea, where both are configured.
    wait
        Until it has ended, with all that it started; --no-wait only has it queued.
    """
    app.command(carry_out, name=found.name, group=FOR_OPERATORS, help_format="plaintext")


def main(arguments: Annotated[list[str] | None, Parameter(show=False)] = None) -> None:
    """Run the command line; exit code 0 done, 1 failed, 2 misused."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] not in app or words[0].startswith("-"):
        _declare_commands()
    try:
        app(arguments, exit_on_error=False, print_error=True, error_console=err)
    except cyclopts.CycloptsError:
        sys.exit(2)
    except ConfigError as error:
        err.print(f"sluice: {error}", markup=False, soft_wrap=True)
        sys.exit(2)
    except UserError as error:
        err.print(f"sluice: {error.message} ({error.code})", markup=False, soft_wrap=True)
        sys.exit(1)
    except BotError as error:
        err.print(f"sluice: {error}", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
