"""The files that make a cascade folder an MLflow model: what it takes, an example, and the code that loads it.

They lie beside the cascade's own files, so nothing is stored twice. Knows no registry.
"""

from pathlib import Path

MLMODEL = "MLmodel"


def write_model_files(folder: Path) -> list[Path]:
    """Writes the files of a model whose cascade lies in the same folder, which may hold nothing else yet."""
    import mlflow.pyfunc
    from mlflow.models import Model

    from minimagen.tracking import served_model

    mlflow.pyfunc.save_model(
        folder,
        python_model=served_model.__file__,
        signature=served_model.signature(),
        input_example=served_model.EXAMPLE,
        # This package is on no index: under its name another one could be installed.
        pip_requirements=[],
    )
    model = Model.load(folder)
    flavor = model.flavors[mlflow.pyfunc.FLAVOR_NAME]
    flavor["artifacts"] = {served_model.ARTIFACT: {"path": ".", "uri": "."}}
    flavor["model_code_path"] = Path(served_model.__file__).name  # without a folder of this machine
    del flavor["cloudpickle_version"]
    model.save(folder / MLMODEL)
    return sorted(path for path in folder.iterdir() if path.is_file())
