"""The command line: one command for each stage, and a few around them. The working directory is the project.

Parameters are checked before a stage is imported, so a wrong one is told before torch is loaded.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from minimagen.errors import UserError
from minimagen.exit_codes import tell_errors

if TYPE_CHECKING:
    from minimagen.config import Params

ROOT = Path()
os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # before torch reads it
"""Looks of a thread of OpenMP before it sleeps: one that spins burns the core of another process that it waits for.
Measured in docs/experiments.md; results do not depend on it."""
_SHARED = ("train", "evaluate")
"""Stages whose runs/ is the project's even where DVC works in a copy of it."""

app = typer.Typer(
    help="Captioned images in, a trained text-to-image cascade out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
experiment = typer.Typer(help="Named parameter files in experiments/.", no_args_is_help=True)
app.add_typer(experiment, name="experiment")


@app.command()
def ingest(source: Annotated[str, typer.Argument(help="a name in `sources`")]) -> None:
    """Read one source into data/raw/<source>/, every row kept or rejected with a reason."""
    _begin("ingest", source)
    params = _params()
    _known("sources", source, params.sources)
    from minimagen.sources.secrets import RedactingFilter
    from minimagen.stages.ingest import run_ingest

    for handler in logging.getLogger().handlers:
        handler.addFilter(RedactingFilter())
    run_ingest(params, source, ROOT)


@app.command()
def curate() -> None:
    """Group what is alike and split it into training and validation data: data/curated/."""
    _begin("curate")
    params = _params()
    from minimagen.stages.curate import run_curate

    run_curate(params, ROOT)


@app.command(name="text-encoder")
def text_encoder() -> None:
    """Fix the text encoder, down to the hash of every file: data/text_encoder/."""
    _begin("text_encoder")
    params = _params()
    from minimagen.stages.text_encoder import run_text_encoder

    run_text_encoder(params, ROOT)


@app.command()
def embed() -> None:
    """Encode every caption once: data/embeddings/."""
    _begin("embed")
    params = _params()
    from minimagen.stages.embed import run_embed

    run_embed(params, ROOT)


@app.command()
def train(unet: Annotated[str, typer.Argument(help="a name in `cascade`")]) -> None:
    """Train one U-Net of the cascade: data/models/<unet>/; run it again to go on after an interruption."""
    _begin("train", unet)
    params = _params()
    _known("cascade", unet, params.cascade)
    from minimagen.stages.train import run_train

    run_train(params, unet, ROOT)


@app.command()
def evaluate() -> None:
    """Measure the cascade on held-out data: data/eval/."""
    _begin("evaluate")
    params = _params()
    from minimagen.stages.evaluate import run_evaluate

    run_evaluate(params, ROOT)


@app.command()
def sample(
    captions: Annotated[list[str], typer.Argument(help="what to draw, each in quotes")],
    num: Annotated[int, typer.Option("--num", "-n", min=1, help="pictures per caption")] = 4,
    seed: Annotated[int, typer.Option(help="the same seed draws the same pictures")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="steps of every stage, instead of the trained ones")] = None,
    guidance: Annotated[float | None, typer.Option(min=1.0, help="guidance scale of every stage; 1 is none")] = None,
    negative: Annotated[str | None, typer.Option(help="what to draw away from; needs guidance above 1")] = None,
    out: Annotated[Path, typer.Option(help="folder for the pictures")] = Path("samples"),
    cascade: Annotated[Path, typer.Option(help="folder of a trained cascade")] = Path("data"),
) -> None:
    """Draw pictures for captions with a trained cascade."""
    from minimagen.pipeline import StageOverrides
    from minimagen.stages.sample import run_sample

    overrides = StageOverrides(num_steps=steps, guidance_scale=guidance)
    run_sample(
        captions,
        cascade_folder=cascade,
        out=out,
        num_per_caption=num,
        seed=seed,
        overrides=overrides,
        negative=negative,
    )


@app.command()
def export(
    format: Annotated[Literal["imagefolder", "cascade"], typer.Option(help="what goes there")] = "imagefolder",
    out: Annotated[Path, typer.Option(help="absent, empty, or an earlier export")] = Path("exported"),
    split: Annotated[Literal["train", "validation", "all"], typer.Option(help="which rows of an imagefolder")] = "all",
) -> None:
    """Write the curated data as picture files, or the trained cascade with a model card, for other tools."""
    if format == "cascade":
        from minimagen.stages.export_cascade import run_export_cascade

        run_export_cascade(out, ROOT)
        return
    from minimagen.stages.export import run_export

    run_export(out, split=split, root=ROOT)


@app.command()
def serve(
    model: Annotated[str, typer.Option(help="a folder, or NAME@alias or NAME/version of the registry")] = "data",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free one")] = 5001,
    deadline: Annotated[float, typer.Option(min=1.0, help="seconds for a request, waiting included")] = 60.0,
) -> None:
    """Answer MLflow's scoring protocol with a trained cascade, to this machine alone, until Ctrl-C."""
    from minimagen.stages.serve import run_serve

    run_serve(model, port=port, deadline_s=deadline, tell=typer.echo, root=ROOT)


@app.command()
def studio(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free one")] = 7860,
    deadline: Annotated[float, typer.Option(min=1.0, help="seconds for a request, waiting included")] = 120.0,
) -> None:
    """Show a page of this machine on which prompts are tried with the trained cascades, until Ctrl-C."""
    _params()
    from minimagen.stages.serve import run_studio

    run_studio(port=port, deadline_s=deadline, tell=typer.echo, root=ROOT)


@app.command()
def purge(
    source: Annotated[str, typer.Option(help="a folder in data/raw")],
    older_than: Annotated[str, typer.Option(help="180d, 26w, or a date like 2026-05-31")],
) -> None:
    """Delete what a source asked for too long ago, and keep it from coming back."""
    _begin("ingest", source)
    from minimagen.stages.purge import run_purge

    run_purge(source, older_than, today=datetime.now(UTC).date(), root=ROOT)
    if (ROOT / "dvc.lock").exists():
        command = [sys.executable, "-m", "dvc", "commit", "--force", "--quiet", f"ingest@{source}"]
        if subprocess.run(command, check=False).returncode:
            raise UserError(f"purge: DVC did not record it, for the reason above: dvc commit --force ingest@{source}")


@app.command()
def verify(json: Annotated[bool, typer.Option("--json", help="for programs")] = False) -> None:
    """Hash everything again and name what is damaged and what mends it; the exit code is 1 if anything is."""
    from minimagen.stages.verify import run_verify

    if run_verify(ROOT.resolve(), as_json=json).damaged:
        raise typer.Exit(1)


@app.command()
def repair() -> None:
    """Heal DVC's own files after a power cut or a kill, where `dvc repro` refuses to start."""
    from minimagen.stages.repair import run_repair

    run_repair(ROOT)


@app.command()
def inspect(
    name: Annotated[str | None, typer.Argument(metavar="[EXPERIMENT]", help="instead of params.yaml")] = None,
    pictures: Annotated[int | None, typer.Option(min=1, help="training pictures that there will be")] = None,
    json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Count parameters, operations and memory of a cascade before anything starts."""
    from minimagen.experiments import load_experiment

    params = _params() if name is None else load_experiment(ROOT, name).params
    from minimagen.stages.inspect import run_inspect

    run_inspect(params, as_json=json, num_pictures=pictures)


@experiment.command(name="list")
def list_experiments() -> None:
    """Show each experiment in a line; a star marks the one that params.yaml is."""
    from minimagen.experiments import active_experiment, experiment_names, load_experiment

    active = active_experiment(ROOT)
    for name in experiment_names(ROOT):
        typer.echo(f"{'*' if name == active else ' '} {name:<23} {load_experiment(ROOT, name).description}")


@experiment.command(name="apply")
def apply_experiment(
    name: str,
    force: Annotated[bool, typer.Option("--force", help="overwrite a params.yaml that has edits")] = False,
) -> None:
    """Write the whole params.yaml, and set aside in runs/parked/ what it no longer lists."""
    from minimagen import experiments

    applied = experiments.apply_experiment(ROOT, name, is_forced=force)
    typer.echo(f"params.yaml is experiment {name}")
    for path in applied.parked:
        typer.echo(f"set aside  {path} -> {experiments.PARKED}/")
    for path in applied.restored:
        typer.echo(f"back again {path}")


@app.command()
def cascade(watch: Annotated[bool, typer.Option("--watch", help="follow the run to its end")] = False) -> None:
    """Let the worker of `make orchestrate` bring every stage up to date."""
    command = [sys.executable, "-m", "flows.run_deployment", "train-cascade", *(["--watch"] if watch else [])]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@app.command()
def compare(
    grid: Annotated[list[str], typer.Argument(metavar="KEY=VALUES...", help="dim=16,32 'dim_mults=[1,2],[1,2,4]'")],
    experiment: Annotated[str | None, typer.Option(help="instead of params.yaml")] = None,
) -> None:
    """Train every combination of some parameters' values and write a table and a figure: runs/compare/."""
    options = [] if experiment is None else ["--experiment", experiment]
    command = [sys.executable, "-m", "flows.run_compare", *options, "--", *grid]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@app.command()
def tune(
    grid: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUES...]", help="base.guidance_scale=1,1.5,2"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="leave params.yaml as it is")] = False,
) -> None:
    """Try ways to draw with the trained cascade on held-out data and keep the best in params.yaml."""
    _params()
    from minimagen.grid_words import read_grid
    from minimagen.stages.tune import run_tune

    run_tune(read_grid(grid or []), ROOT, is_kept=not dry_run)


@app.command()
def promote(
    version: Annotated[int | None, typer.Argument(help="of the registry, without asking the gate")] = None,
) -> None:
    """Register the cascade in data/ and make it the champion, if the gate finds it better than the one before."""
    _params()
    from minimagen.stages.promote import judge, promote_by_hand

    if version is not None:
        typer.echo(f"version {promote_by_hand(ROOT, version).number} is the champion")
        return
    verdict = judge(ROOT)
    typer.echo(f"version {verdict.version} is {verdict.word}")
    for reason in verdict.decision.reasons:
        typer.echo(f"  {reason}")


@app.command()
def rollback() -> None:
    """Make the champion before this one champion again."""
    _params()
    from minimagen.stages.promote import registry_of

    typer.echo(f"version {registry_of(ROOT).rollback().number} is the champion")


@app.command()
def ship() -> None:
    """Send to MLflow whatever the journals in runs/ hold that it does not have yet."""
    from minimagen.tracking.ship import ship_pending

    reports = ship_pending(ROOT)
    for report in reports:
        typer.echo(f"{report.folder}: {report.problem or f'{report.num_points} points'}")
    if any(report.problem for report in reports):
        raise typer.Exit(1)


@app.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535)] = 5000) -> None:
    """Show runs, curves and pictures in a browser of this machine, until Ctrl-C."""
    from minimagen.tracking.server import Page, ServerError, serve
    from minimagen.tracking.ship import ship_pending

    def show(pages: list[Page]) -> None:
        for page in pages:
            typer.echo(f"{page.title}  {page.url}")

    ship_pending(ROOT)
    try:
        serve(ROOT, port=port, on_ready=show)
    except ServerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def main() -> None:
    """Runs the command line: what the user has to change is told in a line per problem, a defect with its traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("minimagen").setLevel(logging.INFO)
    tell_errors(app)


def _begin(stage: str, name: str | None = None) -> None:
    """Refuses a second process at once, and ties this one to its DVC; the stage itself takes seconds to load."""
    from minimagen.stages.dvc_parent import end_with_dvc
    from minimagen.stages.run_lock import lock_early, stage_lock
    from minimagen.tracking.location import project_root

    end_with_dvc(ROOT)
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts
    if is_first and (ROOT / "params.yaml").exists() and Path(name or stage).name == (name or stage):
        lock_early(stage_lock(project_root(ROOT) if stage in _SHARED else ROOT, stage, name))


def _params() -> "Params":
    from minimagen.config import load_params

    return load_params(ROOT / "params.yaml")


def _known(key: str, name: str, names: Collection[str]) -> None:
    if name not in names:
        raise UserError(f"params.yaml: {key}: {name!r} is not listed; known: {', '.join(names)}")


if __name__ == "__main__":
    main()
