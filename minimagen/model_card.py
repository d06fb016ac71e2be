"""The model card of a cascade: what it is, what it was trained on, how good it is, and how to load it.

Written from records alone (cascade.json, config.json, the curated data's manifest, metrics.json), so the same cascade
has the same card. Reads no weights but the shapes in their headers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from minimagen.config import SamplingConfig
from minimagen.manifest import Manifest
from minimagen.saved_model import WEIGHTS_FILE, ModelRecord

MAX_METRIC_DEPTH = 3
_LOADING = """\
## Loading

    from minimagen.pipeline import Cascade
    samples = Cascade.load("{folder}").sample(["..."], seed=0)
    samples.pixels["{last}"]     # uint8 (1, {size}, {size}, 3)

The weights are plain [safetensors](https://github.com/huggingface/safetensors), averaged, fp32; no pickle:

    from safetensors.numpy import load_file
    load_file("{folder}/models/{last}/model.safetensors")
"""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card tells."""

    records: Mapping[str, ModelRecord]
    """Record of each stage, in cascade order."""
    sampling: Mapping[str, SamplingConfig]
    data: Manifest
    """Of the curated data that it was trained on."""
    metrics: Mapping[str, object]
    """What metrics.json holds; empty if it was not evaluated."""
    num_parameters: Mapping[str, int]
    files: Mapping[str, str]
    """SHA-256 of each file by its path in the folder."""


def count_parameters(model_folder: Path) -> int:
    """Returns the number of values in a model's weights, from their shapes."""
    with safe_open(model_folder / WEIGHTS_FILE, framework="np") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118  it is no mapping
    total = 0
    for shape in shapes:
        size = 1
        for side in shape:
            size *= side
        total += size
    return total


def model_card(facts: CardFacts, folder: str = ".") -> str:
    """Returns the card as Markdown.

    Args:
        folder: what the card calls its own folder in the lines that load it.
    """
    last = list(facts.records.values())[-1]
    parts = [
        "---\nlibrary_name: minimagen\npipeline_tag: text-to-image\n---\n",
        f"# Text to image, {' -> '.join(f'{record.image_size} px' for record in facts.records.values())}\n",
        _LOADING.format(folder=folder, last=last.name, size=last.image_size),
        "## Stages\n",
        _table(_stage_rows(facts)),
        f"All read captions with {_encoder(last)}.\n",
        "## Data\n",
        _data_lines(facts.data, last.data_sha256),
        _table(_source_rows(facts.data)),
        "Pictures drawn by this model may resemble those it was trained on, whose licences stand above.\n",
        "## Metrics\n",
        _table(_metric_rows(facts.metrics)) if facts.metrics else "Not evaluated.\n",
        "## Files\n",
        _table([{"file": f"`{name}`", "SHA-256": f"`{digest}`"} for name, digest in sorted(facts.files.items())]),
    ]
    return "\n".join(parts)


def _stage_rows(facts: CardFacts) -> Iterator[dict[str, str]]:
    for name, record in facts.records.items():
        drawn = facts.sampling[name]
        yield {
            "stage": name,
            "px": str(record.image_size),
            "from px": "noise" if record.low_res_size is None else str(record.low_res_size),
            "parameters": f"{facts.num_parameters[name]:,}",
            "steps trained": f"{record.num_steps:,}",
            "predicts": record.diffusion.target,
            "noise law": f"{record.diffusion.schedule}, log-SNR {record.diffusion.log_snr_shift:+g}",
            "captions dropped": f"{record.diffusion.cond_drop_prob:g}",
            "drawn with": f"{drawn.sampler}, {drawn.num_steps} steps, guidance {drawn.guidance_scale:g}",
        }


def _encoder(record: ModelRecord) -> str:
    encoder = record.encoder
    revision = f", revision `{encoder.revision}`" if encoder.revision else ""
    meaning = " (it tells words apart but knows no meaning)" if encoder.name == "tiny" else ""
    return f"{encoder.name}{revision}{meaning}, at most {encoder.max_length} tokens"


def _data_lines(data: Manifest, trained_on: str) -> str:
    rejected = {name.partition("/")[2]: count for name, count in data.counts.items() if name.startswith("rejected/")}
    reasons = f" ({', '.join(f'{count:,} {reason}' for reason, count in sorted(rejected.items()))})" if rejected else ""
    return "\n".join(
        (
            f"{data.counts.get('train', 0):,} pictures for training, {data.counts.get('validation', 0):,} held out, "
            f"{sum(rejected.values()):,} rejected{reasons}.",
            "",
            f"- SHA-256 of the curated pictures and captions: `{data.data_sha256}`",
            f"- of the same with their embeddings, as the weights record it: `{trained_on}`",
            "",
        )
    )


def _source_rows(data: Manifest) -> Iterator[dict[str, str]]:
    for source, licence in sorted(data.licenses.items()):
        shards = [shard for shard in data.shards if shard.file.startswith(f"{source}/")]
        snapshots = {Path(shard.file).stem.rpartition("-")[0]: None for shard in shards}
        yield {
            "source": source,
            "licence": licence,
            "snapshots": ", ".join(snapshots),
            "training": f"{data.counts.get(f'{source}/train', 0):,}",
            "held out": f"{data.counts.get(f'{source}/validation', 0):,}",
        }


def _metric_rows(metrics: Mapping[str, object]) -> list[dict[str, str]]:
    return [{"metric": name, "value": f"{value:.4g}"} for name, value in sorted(_leaves(metrics, ()))]


def _leaves(value: object, path: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping) and len(path) < MAX_METRIC_DEPTH:
        for name, inner in value.items():
            yield from _leaves(inner, (*path, str(name)))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield ".".join(path), float(value)


def _table(rows: Iterator[dict[str, str]] | Sequence[dict[str, str]]) -> str:
    rows = list(rows)
    if not rows:
        return "None.\n"
    header = [*rows[0]]
    lines = [header, ["---"] * len(header), *([row[name] for name in header] for row in rows)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
