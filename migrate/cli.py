"""The command line: parse, call, print. Everything it does is done by a function elsewhere."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migrate import __version__
from migrate.errors import DiskError, UsageError, Vm2cError
from migrate.exchange.formats import GraphFormat
from migrate.sbom.standard import Standard

if TYPE_CHECKING:
    from migrate.console import Console
    from migrate.facts import Facts
    from migrate.guest.mounting.keys import Key
    from migrate.guest.protocol import Guest
    from migrate.output import Written
    from migrate.plan.model import Plan
    from migrate.plan.propose import Chosen

app = typer.Typer(
    name="vm2c",
    help="Turn a virtual machine's disk into a reviewed migration plan, container images and manifests.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(StrEnum):
    """How a result is printed on standard output."""

    text = "text"
    json = "json"


class Reader(StrEnum):
    """Which reader opens the disks."""

    auto = "auto"
    direct = "direct"
    guestfs = "guestfs"


FormatOption = Annotated[Format, typer.Option("--format", help="Print the result as text or as one JSON document.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]
DirArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that `vm2c analyze` wrote.")]
IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Components; all where none is named.")]
DiskOption = Annotated[
    list[Path] | None, typer.Option("--disk", metavar="DISK", help="Read these disks, not those the plan names.")
]
ReaderOption = Annotated[Reader, typer.Option("--reader", help="Which reader opens the disks.")]
RootOption = Annotated[str | None, typer.Option("--root", metavar="DEVICE", help="Which root, of several.")]
SnapshotOption = Annotated[
    str | None, typer.Option("--snapshot", metavar="NAME", help="Read this internal snapshot of the images (qcow2).")
]
KeyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="SELECTOR",
        help="Open encrypted volumes: DEVICE:file:FILE or DEVICE:key:KEY, where `all` is every device.",
    ),
]
SbomOption = Annotated[
    list[Standard] | None,
    typer.Option("--sbom", help="Also write a bill of materials: sbom.cdx.json (1.6) or sbom.spdx.json (2.3)."),
]
GraphOption = Annotated[
    list[GraphFormat] | None,
    typer.Option("--graph", help="Also write the graph for other programs: graph.graphml, graph.dot or graph.mmd."),
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="Do not read packaged files to compare them with their packages.")
]
NetworkOption = Annotated[
    bool,
    typer.Option(
        "--network",
        help="Get originals of changed files from the distribution's public archive, which learns the packages' names.",
    ),
]
AllowOption = Annotated[
    list[Path] | None,
    typer.Option("--allow-backing", metavar="DIR", help="Also open backing files below this folder."),
]

EXIT_BLIND = 3
_DISKS = frozenset({
    ".tar", ".raw", ".img", ".qcow2", ".qcow", ".qed", ".vmdk", ".vhd", ".vpc", ".vhdx", ".vdi", ".ova", ".iso",
})  # fmt: skip


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False) -> None:
    """Turn a virtual machine's disk into a reviewed migration plan, container images and manifests."""
    if version:
        typer.echo(f"vm2c {__version__}")
        raise typer.Exit


@app.command()
def analyze(
    disks: Annotated[list[Path], typer.Argument(metavar="DISK...", help="The disks of one machine.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Where the plan goes.")] = None,
    reader: ReaderOption = Reader.auto,
    root_device: RootOption = None,
    snapshot: SnapshotOption = None,
    key: KeyOption = None,
    allow_backing: AllowOption = None,
    sbom: SbomOption = None,
    graph: GraphOption = None,
    quick: QuickOption = False,
    network: NetworkOption = False,
    format_: FormatOption = Format.text,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Open the disks of one machine, find what runs there, and write the migration plan."""
    from migrate import analysis
    from migrate.output import write
    from migrate.plan.propose import Chosen

    console = _console(quiet, verbose)
    directory = output or default_directory(disks[0])
    if quick and network:
        raise UsageError("analyze", "--quick and --network were both given", "without comparing nothing is fetched")
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"write the plan into {directory}", "it is a file", "name a folder with --output")
    chosen = Chosen(tuple(str(disk) for disk in disks), root_device or "", snapshot or "")
    with _opened(chosen, console, reader, key, allow_backing) as guest:
        facts = _find(guest, console, quick=quick)
        if not quick:
            with console.stage("Comparing packaged files with their packages"):
                _ = facts.comparison
        with console.stage("Joining what was found"):
            fetch = console.say if network else None
            sboms, graphs = list(dict.fromkeys(sbom or ())), list(dict.fromkeys(graph or ()))
            result = analysis.analyze(facts, chosen, directory, sboms, fetch, graphs)
    _told(console, write(result.files, directory, "analyze"))
    for conflict in result.conflicts:
        console.warn(f"{conflict.where}: yours ({conflict.yours}) stays; proposed now: {conflict.proposed}")
    _print(format_, lambda: _analysis_text(console, directory, result), lambda: _analysis_json(directory, result))
    if result.unread:
        raise typer.Exit(EXIT_BLIND)


@app.command()
def explain(
    directory: DirArgument,
    component: Annotated[str, typer.Argument(metavar="ID", help="A component, by its id in the plan.")],
    format_: FormatOption = Format.text,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Tell one component's story: what it is, what becomes of it and why, each with the place that says so."""
    import msgspec

    from migrate.explain import explain as gather
    from migrate.lines import print_lines
    from migrate.story import tell

    console = _console(quiet, verbose)
    story = gather(directory, component)
    for note in story.notes:
        console.warn(note)
    if format_ is Format.text:
        print_lines(tell(story))
    else:
        _print(format_, list, lambda: msgspec.to_builtins(story))


@app.command()
def generate(
    directory: DirArgument,
    disk: DiskOption = None,
    reader: ReaderOption = Reader.auto,
    key: KeyOption = None,
    allow_backing: AllowOption = None,
    format_: FormatOption = Format.text,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Turn the plan into Dockerfiles, compose.yaml, Kubernetes and KubeVirt manifests."""
    from migrate import generate as generator
    from migrate.plan.store import read_plan

    console = _console(quiet, verbose)
    plan = read_plan(directory / "plan.yaml")
    generator.check(plan)
    with _opened(_plan_disks(plan, directory, disk), console, reader, key, allow_backing) as guest:
        facts = _same_machine(plan, _find(guest, console))
        with console.stage("Generating"):
            artifacts = generator.generate(plan, guest, facts.secrets)
            written = generator.write(artifacts, directory)
    _told(console, written)
    for notice in artifacts.notices:
        console.warn(notice)
    names = sorted({p.partition("/")[0] for p in artifacts.paths})
    _print(
        format_,
        lambda: [
            f"Wrote {', '.join(names)} in {directory}",
            f"Read {directory / 'RUNBOOK.md'}, then: vm2c build {directory}",
        ],
        lambda: {"directory": str(directory), "files": sorted(artifacts.paths), "notices": list(artifacts.notices)},
    )


@app.command()
def extract(
    directory: DirArgument,
    ids: IdsArgument = None,
    into: Annotated[
        Path | None, typer.Option("--into", metavar="FOLDER", help="Where secrets and data go; made private.")
    ] = None,
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="Print the Secret objects, to pipe into `kubectl apply -f -`.")
    ] = False,
    disk: DiskOption = None,
    reader: ReaderOption = Reader.auto,
    key: KeyOption = None,
    allow_backing: AllowOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """At cutover: take secrets and data, which are in no image, from the disk."""
    from migrate import extract as extractor
    from migrate.plan.store import read_plan

    console = _console(quiet, verbose)
    if (into is None) is not kubernetes:
        given = "neither a folder nor --kubernetes was given" if into is None else "both were given"
        raise UsageError("extract", given, "use --into FOLDER, or --kubernetes")
    plan = read_plan(directory / "plan.yaml")
    with _opened(_plan_disks(plan, directory, disk), console, reader, key, allow_backing) as guest:
        facts = _same_machine(plan, _find(guest, console))
        if into is None:
            typer.echo(extractor.kubernetes_secrets(plan, guest, facts.secrets, ids or []), nl=False)
            return
        with console.stage("Extracting secrets and data"):
            result = extractor.extract(plan, guest, facts.secrets, into, ids or [])
    for notice in result.notices:
        console.warn(notice)
    console.say(
        f"{len(result.secrets)} secret files and {len(result.data)} volumes' data are in {into} (private to you)"
    )


@app.command()
def build(
    directory: DirArgument,
    ids: IdsArgument = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Build every step anew.")] = False,
    format_: FormatOption = Format.text,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Build the images with the Docker engine."""
    import msgspec

    from migrate.build import ImagesFailedError
    from migrate.build import build as build_images
    from migrate.output import recover

    console = _console(quiet, verbose)
    recover(directory)
    failed: ImagesFailedError | None = None
    try:
        built = build_images(directory, ids or [], console, nocache=no_cache)
    except ImagesFailedError as error:
        failed, built = error, list(error.images)
    _print(
        format_,
        lambda: _table(
            console, "Images", ("component", "image", "size", "outcome"),
            [(b.id, b.tag, f"{(b.size_bytes or 0) / 1e6:.0f} MB", b.outcome) for b in built],
        ),
        lambda: {"images": msgspec.to_builtins(built)},
    )  # fmt: skip
    if failed is not None:
        raise failed


@app.command()
def doctor(format_: FormatOption = Format.text, quiet: QuietOption = False, verbose: VerboseOption = False) -> None:
    """Say what on this host works and what does not, each with the command that mends it."""
    import msgspec

    from migrate.doctor import run_doctor

    console = _console(quiet, verbose)
    checks, code = run_doctor()
    marks = {True: "ok", False: "MISSING", None: "note"}
    _print(
        format_,
        lambda: _table(console, "This host", ("check", "", "found", "mend it with"),
                       [(c.name, marks[c.ok], c.found, c.mend) for c in checks]),
        lambda: {"checks": msgspec.to_builtins(checks)},
    )  # fmt: skip
    if code:
        raise typer.Exit(code)


@app.command()
def rules(format_: FormatOption = Format.text, quiet: QuietOption = False, verbose: VerboseOption = False) -> None:
    """List the rules: what becomes of components, what a file is, why one differs; each with its source."""
    import msgspec

    from migrate.changes.explain import explaining_rules
    from migrate.places import place_rules
    from migrate.rulebook import rules as all_rules

    console = _console(quiet, verbose)
    found, places, explained = all_rules(), place_rules(), explaining_rules()
    _print(
        format_,
        lambda: [
            *_table(console, "What becomes of a component", ("rule", "verdict", "weight", "why", "source"),
                    [(r.id, r.verdict, f"{r.weight:.2f}", r.why, r.source) for r in found]),
            *_table(console, "What a file is, by its place", ("rule", "class", "paths", "says", "source"),
                    [(r.id, r.class_, " ".join(r.paths), r.says, r.source) for r in places]),
            *_table(console, "Why a packaged file differs though nobody changed it", ("rule", "says", "source"),
                    [(r.id, r.says, r.source) for r in explained]),
        ],
        lambda: {
            "rules": msgspec.to_builtins(found),
            "places": msgspec.to_builtins(places),
            "explained": msgspec.to_builtins(explained),
        },
    )  # fmt: skip


@app.command()
def analyzers(format_: FormatOption = Format.text, quiet: QuietOption = False, verbose: VerboseOption = False) -> None:
    """List the analyzers, what each finds and what it reads."""
    from migrate.discover import find_analyzers

    console = _console(quiet, verbose)
    found = find_analyzers()
    _print(
        format_,
        lambda: _table(console, "Analyzers", ("analyzer", "finds", "reads", "source"),
                       [(a.name, a.says, " ".join(a.reads), a.source) for a in found]),
        lambda: {
            "analyzers": [{"name": a.name, "says": a.says, "reads": list(a.reads), "source": a.source} for a in found]
        },
    )  # fmt: skip


@app.command()
def bases(
    references: Annotated[
        list[str] | None, typer.Argument(metavar="REF...", help="Images; all that are known where none is named.")
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Make their inventories anew from the Docker engine's images.")
    ] = False,
    pull: Annotated[bool, typer.Option("--pull", help="With --refresh: have the engine fetch them first.")] = False,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Make one of this archive or root directory.")
    ] = None,
    name: Annotated[str | None, typer.Option("--as", metavar="REF", help="With --from: the image that it is.")] = None,
    format_: FormatOption = Format.text,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """List what base images hold, which no image copies again; or make that anew from an image."""
    from migrate.bases import command
    from migrate.bases.store import Listing, inventories

    console = _console(quiet, verbose)
    if (source is None) is not (name is None) or (source is not None and (references or refresh)):
        raise UsageError("make an inventory", "--from and --as go together, and alone", "use --from FILE --as REF")
    if (refresh and not references) or (pull and not refresh):
        raise UsageError("make inventories anew", "no image was named", "use --refresh REF...")
    wanted = [name] if name else list(references or [])
    if name or refresh:
        with console.stage(f"Reading {', '.join(wanted)}") as stage:
            made = command.refresh(wanted, source, pull, console.say, stage.update)
        listing = Listing(known=tuple(made), problems=())
    else:
        listing = inventories(wanted)
    for problem in listing.problems:
        console.warn(str(problem))
    _print(
        format_,
        lambda: _table(console, "Base images", command.COLUMNS, [command.row(k) for k in listing.known]),
        lambda: command.document(listing),
    )


# ---------------------------------------------------------------- helpers


def default_directory(disk: Path) -> Path:
    """Return the output folder of a disk: its name without its suffix, in the current folder."""
    name = disk.resolve().name if disk.name in {"", ".", ".."} else disk.name
    inner, packed = Path(name).stem, Path(name).suffix in {".gz", ".xz", ".bz2", ".zst"}
    if packed and Path(inner).suffix in _DISKS:
        return Path(Path(inner).stem)
    stem = Path(name).stem
    return Path(stem if stem != name and stem else f"{name}-plan")


def _console(quiet: bool, verbose: bool) -> Console:
    from migrate.console import Console

    return Console(quiet=quiet, verbose=verbose)


def _opened(
    chosen: Chosen, console: Console, reader: Reader, keys: list[str] | None, allow_backing: list[Path] | None
) -> Guest:
    from migrate.guest.open import open_guest

    disks = [Path(disk) for disk in chosen.disks]
    parsed = _parsed(keys) if keys else ()
    with console.stage(f"Opening {', '.join(d.name or str(d) for d in disks)}") as stage:
        return open_guest(
            disks,
            reader=reader.value,
            root=chosen.root or None,
            snapshot=chosen.snapshot or None,
            keys=parsed,
            allow_backing=tuple(allow_backing or ()),
            notify=console.say,
            progress=stage.update,
        )


def _parsed(keys: list[str]) -> tuple[Key, ...]:
    from migrate.guest.mounting.keys import parse_key

    return tuple(parse_key(key) for key in keys)


def _told(console: Console, written: Written) -> None:
    """Say what became of files that a person changed since they were written."""
    for name in written.saved:
        console.warn(f"{name.removesuffix('.yours')} was changed by hand: your version is now {name}")
    for name in written.kept:
        console.warn(f"{name} is no longer made, and was changed by hand: it stays")


def _find(guest: Guest, console: Console, *, quick: bool = True) -> Facts:
    from migrate.analysis import find

    with console.stage("Finding what is there") as stage:
        return find(guest, stage.update, quick=quick)


def _plan_disks(plan: Plan, directory: Path, given: list[Path] | None) -> Chosen:
    """Return what to read: the disks given, or those the plan names, from here or from beside the folder."""
    from migrate.plan.propose import Chosen

    source, found = plan.source, [str(disk) for disk in given or ()]
    for name in source.disks if not found else ():
        places = [Path(name), directory / name, directory.resolve().parent / name]
        there = next((p for p in places if p.exists()), None)
        if there is None:
            raise DiskError(f"open {name}, which the plan names", "it is not there", "say where it is with --disk")
        found.append(str(there))
    return Chosen(tuple(found), source.root, source.snapshot)


def _same_machine(plan: Plan, facts: Facts) -> Facts:
    name = facts.trait("hostname") or "machine"
    if name != plan.machine:
        found = f"these disks are {name}'s, and the plan is {plan.machine}'s"
        raise DiskError("take files from the disks", found, "name the machine's own disks with --disk")
    return facts


def _print(format_: Format, text: Callable[[], list[str]], document: Callable[[], dict[str, Any]]) -> None:
    if format_ is Format.json:
        from migrate.inventory import encode

        typer.echo(encode(document()).decode(), nl=False)
    else:
        for line in text():
            typer.echo(line)


def _table(console: Console, title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    console.print_table(title, columns, rows)
    return []


def _analysis_text(console: Console, directory: Path, result: Any) -> list[str]:
    from migrate.analysis import counts, coverage
    from migrate.text import show

    plan: Plan = result.plan
    rows = [
        (c.id, c.kind, c.decision, f"{c.confidence:.2f}", ", ".join(map(str, sorted({p.port for p in c.ports}))),
         c.because[0].says if c.because else "")
        for c in plan.components
        if c.kind != "host"
    ]  # fmt: skip
    console.print_table(f"{plan.machine}: {plan.source.os}",
                        ("component", "kind", "decision", "sure", "ports", "because"), rows)  # fmt: skip
    found = counts(plan)
    lines = [
        f"{found.pop('host', 0)} more are the machine's own upkeep, which the platform does.",
        coverage(result.account),
    ]
    blocked = [f"{c.id}: {b.says}" for c in plan.components for b in c.blockers if not b.waived]
    lines += [show(f"blocked: {line}") for line in blocked]
    lines += [show(f"not read: {path}: {why}") for path, why in result.unread]
    return [*lines, f"Read {directory / 'plan.yaml'} and {directory / 'report.html'}, then: vm2c generate {directory}"]


def _analysis_json(directory: Path, result: Any) -> dict[str, Any]:
    import msgspec

    return {
        "directory": str(directory),
        "plan": msgspec.to_builtins(result.plan),
        "account": result.account,
        "unread": [{"path": path, "why": why} for path, why in result.unread],
    }


def main() -> None:
    """Run the command line. Errors become one message and an exit code; nothing ends in a traceback."""
    gc.set_threshold(400_000, 20, 20)  # half a million entries are no garbage: 9.5 s of the analysis became 8.2
    try:
        app()
    except Vm2cError as error:
        _console(quiet=False, verbose=False).error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("stopped; nothing half-written is left", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  # a mistake of ours: said in one line, without what a disk may have put in it
        _console(quiet=False, verbose=False).error(_own_fault(error))
        sys.exit(1)


def _own_fault(error: Exception) -> Vm2cError:
    """Return what to say of a mistake in vm2c itself. The exception's text may hold what stands on a disk: not that."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    place = next((f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames) if "migrate" in f.filename), "?")
    found = f"vm2c itself made a mistake, {type(error).__name__} at {place}"
    return Vm2cError("go on", found, "report it with what `vm2c doctor` says; nothing half-written is left")
