"""The commands `serve` and `studio`: which cascades a project has, and one of them, or all with a page, answering.

Not a stage of the graph: it reads data/ and the registry and writes nothing but what the registry fetches.
"""

import re
from collections.abc import Callable
from pathlib import Path

from minimagen.cascade_file import CASCADE_FILE
from minimagen.config import Params, load_params
from minimagen.errors import UserError
from minimagen.pipeline import Cascade
from minimagen.serving.app import Shelf, serving_app
from minimagen.serving.doors import HOST
from minimagen.serving.drawing_queue import DrawingQueue
from minimagen.serving.neighbours import TrainingPictures
from minimagen.serving.server import listen, serve_until_signal
from minimagen.serving.studio import Choice, Studio, studio_routes
from minimagen.stages.device import device_from_environment
from minimagen.stages.evaluation_inputs import CURATED, open_split
from minimagen.tracking.flat import experiment_name
from minimagen.tracking.location import has_mlflow, is_anything_tracked
from minimagen.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry

_REGISTERED = re.compile(r"minimagen-(?P<dataset>[^@/]+)[@/](?P<which>[^@/]+)")


def run_serve(model: str, *, port: int, deadline_s: float, tell: Callable[[str], None], root: Path = Path()) -> None:
    """Answers MLflow's scoring protocol on 127.0.0.1 until a signal says stop.

    Args:
        model: a folder, or NAME@alias or NAME/version of the project's registry.
        port: 0 is any free one.
        deadline_s: how long a request may take, waiting included.
        tell: is given a line to show, once requests are answered.

    Raises:
        UserError: there is no such cascade, it is damaged, or the port is taken.
    """
    shelf = Shelf(lambda key: load_served(key, root))
    shelf.take(model).encode([""])  # what is missing or damaged is told before anybody asks
    listener, line = listen(port), DrawingQueue(deadline_s)
    bound = listener.getsockname()[1]
    app = serving_app(line, shelf, model, bound)
    serve_until_signal(app, listener, line, lambda: tell(f"{model} answers at http://{HOST}:{bound}/invocations"))


def run_studio(*, port: int, deadline_s: float, tell: Callable[[str], None], root: Path = Path()) -> None:
    """Serves a page to try the project's cascades on, and the scoring protocol for the first of them, as ``run_serve``.

    Raises:
        UserError: there is no cascade, the first one is damaged, params.yaml is wrong, or the port is taken.
    """
    params = load_params(root / "params.yaml")
    choices = _choices(params, root)
    if not choices:
        raise UserError("no cascade to show: `dvc repro` trains one into data/, `minimagen promote` registers it")
    shelf = Shelf(lambda key: load_served(key, root))
    shelf.take(choices[0].key).encode([""])
    listener, line = listen(port), DrawingQueue(deadline_s)
    bound = listener.getsockname()[1]
    studio = Studio(lambda: _choices(params, root), lambda: _training_pictures(params, root))
    app = serving_app(line, shelf, choices[0].key, bound, studio_routes(studio, line, shelf))
    serve_until_signal(app, listener, line, lambda: tell(f"studio: http://{HOST}:{bound}/"))


def _choices(params: Params, root: Path) -> list[Choice]:
    """Returns the cascade in data/ and those that the registry has names for."""
    found = [Choice("data", "data/: the newest of this project")] if (root / "data" / CASCADE_FILE).is_file() else []
    if not (has_mlflow() and is_anything_tracked(root)):
        return found
    registry = Registry(root.resolve(), experiment_name(params))
    named = [(alias, registry.find(alias)) for alias in (CHAMPION, CHALLENGER, PREVIOUS)]
    return found + [
        Choice(f"{registry.name}/{version.number}", f"{alias}: version {version.number} of {registry.name}")
        for alias, version in named
        if version is not None
    ]


def _training_pictures(params: Params, root: Path) -> TrainingPictures | None:
    if not (root / CURATED / "manifest.json").is_file():
        return None
    last = params.unets[params.cascade[-1]]
    training = open_split(root, "train", last.image_size, last.training.crop)
    return TrainingPictures(training.pictures, training.captions)


def load_served(model: str, root: Path) -> Cascade:
    """Loads a cascade from a folder, or from the registry if the name is that of a registered one.

    Raises:
        UserError: there is no such cascade, or it is damaged.
    """
    found = _REGISTERED.fullmatch(model)
    if found is None or (root / model).is_dir():
        return Cascade.load(root / model, device=device_from_environment())
    if not has_mlflow():
        raise UserError(f"{model}: mlflow is not installed: pip install 'minimagen-pipeline[pipeline]'")
    registry = Registry(root.resolve(), found["dataset"])
    return Cascade.load(registry.locate(found["which"]), device=device_from_environment())
