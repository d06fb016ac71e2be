"""The paper's numbers are those of the experiments that bear its name."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from minimagen.experiments import experiment_names, load_experiment
from minimagen.training.memory import count_parameters

NAMES = experiment_names(Path(__file__).parents[1])
SMALLEST, MAIN, LARGEST = 264_310, 396_565_638, 2_334_226_054


@dataclass(frozen=True, slots=True)
class PaperRun:
    """What the paper says of one of its trainings; batches of 2 are for its 16 pictures and its largest network."""

    num_parameters: int
    batch_size: int
    num_epochs: int
    snapshot_epochs: tuple[int, ...]
    source_names: tuple[str, ...] = ("conceptual_captions",)


PAPERS = {
    "paper-8": PaperRun(SMALLEST, 8, 200, (100, 200)),
    "paper-8-epochs-100": PaperRun(SMALLEST, 8, 100, (100,)),
    "paper-256": PaperRun(MAIN, 8, 200, (100, 200)),
    "paper-256-epochs-100": PaperRun(MAIN, 8, 100, (100,)),
    "paper-256-captions-1000": PaperRun(MAIN, 8, 200, (100, 200)),
    "paper-256-anime": PaperRun(MAIN, 2, 800, (200, 800), ("anime",)),
    "paper-256-anime-2000": PaperRun(MAIN, 2, 2000, (800, 1500, 1800, 2000), ("anime",)),
    "paper-256-movies": PaperRun(MAIN, 2, 200, (100, 200), ("tmdb",)),
    "paper-512": PaperRun(LARGEST, 2, 200, (100, 200)),
}
THE_PAPERS_WAY = [*PAPERS, "paper-scaled-original"]


def test_every_experiment_of_the_paper_has_its_numbers_here() -> None:
    named = {name for name in NAMES if name.startswith("paper-")}

    assert named == {*THE_PAPERS_WAY, "paper-scaled"}


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_experiments_have_the_papers_settings(name: str, checkout: Path) -> None:
    params, paper = load_experiment(checkout, name).params, PAPERS[name]

    assert (params.curate.val_fraction, params.text_encoder.name, params.text_encoder.max_length) == (
        0.1,
        "t5-base",
        64,
    )
    assert params.ingest.source_names() == paper.source_names
    assert [(section.low_res_size, section.image_size) for section in params.unets.values()] == [(None, 64), (64, 128)]
    for section in params.unets.values():
        training = section.training
        assert (training.batch_size, training.num_steps, training.num_epochs) == (
            paper.batch_size,
            None,
            paper.num_epochs,
        )
        assert training.snapshot_epochs == paper.snapshot_epochs


@pytest.mark.parametrize("name", THE_PAPERS_WAY)
def test_what_is_trained_the_papers_way_has_its_recipe(name: str, checkout: Path) -> None:
    params = load_experiment(checkout, name).params

    for section in params.unets.values():
        training, diffusion = section.training, section.diffusion
        assert (diffusion.target, diffusion.schedule, diffusion.weighting) == ("eps", "linear", "uniform")
        assert (diffusion.log_snr_shift, diffusion.cond_drop_prob) == (0.0, 0.15)
        assert (training.learning_rate, training.decay, training.warmup_steps) == (1e-4, "constant", 0)
        assert (training.adam_beta2, training.weight_decay, training.max_grad_norm) == (0.999, 0.0, 1e6)
        assert (training.ema_decay, training.precision) == (0.0, "fp32")
        assert (training.crop, training.crop_size, training.warp_prob) == ("squash", None, 0.0)
    assert [section.diffusion.max_aug_level for section in params.unets.values()] == [0.0, 1.0]


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_experiments_draw_the_papers_way(name: str, checkout: Path) -> None:
    params = load_experiment(checkout, name).params

    for sampling in params.sampling.values():
        assert (sampling.sampler, sampling.num_steps, sampling.guidance_scale) == ("ddpm", 1000, 3.0)
        assert (sampling.threshold_percentile, sampling.threshold_cap) == (0.9, 1e6)
    assert [sampling.aug_level for sampling in params.sampling.values()] == [None, 0.2]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in THE_PAPERS_WAY])
def test_other_experiments_forget_squared_gradients_sooner(name: str, checkout: Path) -> None:
    params = load_experiment(checkout, name).params

    assert {section.training.adam_beta2 for section in params.unets.values()} == {0.99}


def test_the_papers_variants_are_trained_on_data_of_their_own(checkout: Path) -> None:
    data = {name: load_experiment(checkout, name).params.ingest.model_dump_json() for name in PAPERS}

    assert len(set(data.values())) == 4
    assert data["paper-8"] == data["paper-256"] == data["paper-512"]


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_experiments_have_exactly_its_parameters(name: str, checkout: Path) -> None:
    params = load_experiment(checkout, name).params

    counts = [count_parameters(section, text_dim=768) for section in params.unets.values()]  # t5-base
    assert sum(counts) == PAPERS[name].num_parameters
