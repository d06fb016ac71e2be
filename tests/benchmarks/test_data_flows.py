from pathlib import Path

from benchmarks.data_flows import NUM_SHARDS, Contestant, download
from benchmarks.ingest import picture_server
from minimagen.manifest import read_manifest


def test_the_stage_is_timed_by_its_own_word(tmp_path: Path) -> None:
    with picture_server() as (url, _):
        work = download(tmp_path / "project", url, 2 * NUM_SHARDS)
        address, checkout = url.removeprefix("http://"), str(Path(__file__).parents[2])
        around = {"MINIMAGEN_ALLOWED_ADDRESSES": address, "PYTHONPATH": checkout}
        timing = Contestant(work, "stage", 1, around).run(2)

    manifest = read_manifest(tmp_path / "project/data/raw/manifest")
    assert len(manifest.shards) == NUM_SHARDS and manifest.counts["stored"] == 2 * NUM_SHARDS
    assert 0.0 < timing.wall_s < timing.cpu_s + 60.0
