"""The outs of stage evaluate, from what was measured; no clock, speed or path of this machine is in them.

    data/eval/metrics.json    the numbers
    data/eval/scores.json     a record for each sample
    data/eval/pairs.safetensors  training captions, real and drawn
    data/eval/report.html     both for eyes, with pictures
    data/cascade.json         what makes data/ a cascade that can be loaded

Measures nothing.
"""

import json
from pathlib import Path

from minimagen.cascade_file import CASCADE_FILE, write_cascade_file
from minimagen.embeddings import read_embedding_manifest
from minimagen.evaluation.data_account import DataAccount, read_account
from minimagen.evaluation.diagnosis import diagnose
from minimagen.evaluation.pairs import write_pairs
from minimagen.evaluation.report import Report, render_report
from minimagen.evaluation.results import leaves, to_metrics
from minimagen.files import write_atomic, write_json
from minimagen.stages.evaluation_inputs import CHECKPOINTS, CURATED, EMBEDDINGS, Inputs, read_sections
from minimagen.stages.illustrate import (
    caption_records,
    copying_chart,
    denoising_records,
    epoch_gallery,
    held_out_gallery,
    loss_gap,
    super_gallery,
    super_records,
    training_chart,
    training_gallery,
)
from minimagen.stages.measure import Measurements
from minimagen.training.cost import unet_cost
from minimagen.training.forecast import Forecast, forecast

RAW, OUT = Path("data/raw"), Path("data/eval")
METRICS_FILE, SCORES_FILE, REPORT_FILE = OUT / "metrics.json", OUT / "scores.json", OUT / "report.html"
PAIRS_FILE = OUT / "pairs.safetensors"
NO_GROUND_TRUTH = (
    "Alignment was not scored: no source of this data knows what its pictures truly show. Look at the pictures."
)
SOME_GROUND_TRUTH = "Alignment was scored for {known} of {all} captions: the others' source does not know its pictures."


def write_outs(inputs: Inputs, found: Measurements) -> None:
    """Writes all outs, the numbers last."""
    sampling = {name: inputs.params.sampling[name] for name in inputs.params.cascade}
    write_cascade_file(inputs.root / "data" / CASCADE_FILE, sampling, inputs.cascade.encoder)
    write_json(inputs.root / SCORES_FILE, _score_tables(inputs, found))
    write_pairs(inputs.root / PAIRS_FILE, found.pairs)
    write_atomic(inputs.root / REPORT_FILE, render_report(_report(inputs, found)).encode())
    write_json(inputs.root / METRICS_FILE, to_metrics(found.results))


def _score_tables(inputs: Inputs, found: Measurements) -> dict[str, object]:
    reproduced = caption_records(found.reproduced, {}, inputs.training, inputs.training)
    return {
        "held_out": caption_records(found.drawn, found.scores, inputs.held_out, inputs.training),
        "training": [
            record | {"is_reproduced": is_right}
            for record, is_right in zip(reproduced, found.is_reproduced, strict=True)
        ],
        "super_resolution": {name: super_records(enlarged) for name, enlarged in found.enlarged.items()},
        "denoising": denoising_records(found.denoised),
    }


def _report(inputs: Inputs, found: Measurements) -> Report:
    checkpoints = inputs.root / CHECKPOINTS
    parameters = leaves(read_sections(inputs.params))
    copying = [copying_chart(name, checkpoints / name) for name in inputs.params.cascade]
    return Report(
        results=found.results,
        held_out=held_out_gallery(inputs, found.drawn, found.scores),
        training=training_gallery(inputs, found.reproduced, found.is_reproduced),
        epochs=None if found.epochs is None else epoch_gallery(found.epochs),
        super_galleries=[super_gallery(name, enlarged) for name, enlarged in found.enlarged.items()],
        charts=[training_chart(name, checkpoints / name) for name in inputs.params.cascade],
        accounts=_accounts(inputs),
        parameters={key: value if isinstance(value, str) else json.dumps(value) for key, value in parameters},
        remarks=_remarks(inputs, found),
        reasons=_reasons(inputs, found),
        copying_charts=[chart for chart in copying if chart is not None],
    )


def _reasons(inputs: Inputs, found: Measurements) -> list[str]:
    lint = read_embedding_manifest(inputs.root / EMBEDDINGS).captions
    planned = [_forecast(inputs, name) for name in inputs.params.cascade]
    return diagnose(
        found.results,
        num_training_pictures=len(inputs.training),
        loss_gaps={name: loss_gap(inputs.root / CHECKPOINTS / name) for name in inputs.params.cascade},
        shortfalls=[str(one) for one in planned if one.is_short],
        caption_problems=[] if lint is None else lint.problems(),
    )


def _forecast(inputs: Inputs, name: str) -> Forecast:
    record, section = inputs.cascade.records[name], inputs.params.unets[name]
    return forecast(
        name,
        section,
        num_parameters=unet_cost(section, record.encoder.text_dim).num_parameters,
        num_steps=record.num_steps,
        num_pictures=len(inputs.training),
    )


def _accounts(inputs: Inputs) -> list[DataAccount]:
    sources = [read_account(f"ingest {name}", inputs.root / RAW / name) for name in inputs.params.sources]
    return [*sources, read_account("curate", inputs.root / CURATED)]


def _remarks(inputs: Inputs, found: Measurements) -> list[str]:
    lint = read_embedding_manifest(inputs.root / EMBEDDINGS).captions
    remarks = [] if lint is None else [f"Captions: {problem}." for problem in lint.problems()]
    if not found.scores:
        return [*remarks, NO_GROUND_TRUTH]
    flags = next(iter(found.scores.values())).flags
    num_known = sum(bool(row) for row in flags)
    if num_known < len(flags):
        remarks.append(SOME_GROUND_TRUTH.format(known=num_known, all=len(flags)))
    return remarks
