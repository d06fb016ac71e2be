"""The code of a registered cascade, which MLflow runs when it loads one: ``mlflow models serve``, ``mlflow.pyfunc``.

MLflow keeps a copy of this file beside the cascade's own and runs it with the package that is installed: nothing is
pickled. It draws one request after another; limits on bodies, queue and time are those of ``minimagen serve``.
"""

import os
import threading
from collections.abc import Mapping
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from minimagen.pipeline import Cascade
from minimagen.serving.drawing import draw, predictions_of
from minimagen.serving.request import COLUMN, PictureRequest, RequestError, request_of

ARTIFACT = "cascade"
EXAMPLE = (pd.DataFrame({COLUMN: ["a large red apple on a blue background"]}), {"seed": 0, "num_images": 1})
"""A table of prompts and the parameters, as one gives them to ``predict``."""
_TYPES = {str: DataType.string, int: DataType.long, float: DataType.double}


def signature() -> ModelSignature:
    """Returns what the model takes, parameters with their defaults included, and what it answers."""
    answer = {"prompt": str, "number": int, "seed": int, "stage": str, "size_px": int, "png_base64": str}
    fields = {name: field for name, field in PictureRequest.model_fields.items() if name != "prompts"}
    return ModelSignature(
        Schema([ColSpec(DataType.string, COLUMN)]),
        Schema([ColSpec(_TYPES[kind], name) for name, kind in answer.items()]),
        ParamSchema([ParamSpec(name, _TYPES[type(field.default)], field.default) for name, field in fields.items()]),
    )


class ServedCascade(PythonModel):
    """A cascade as MLflow asks it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads and verifies the cascade; MINIMAGEN_DEVICE says where it draws, the CPU by default."""
        self._cascade = Cascade.load(context.artifacts[ARTIFACT], device=os.environ.get("MINIMAGEN_DEVICE") or "cpu")
        self._lock = threading.Lock()

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  # MLflow's own examples take these
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> list[dict[str, object]]:
        """Draws the prompts of a table; returns an object per picture and stage, in cascade order.

        Raises:
            MlflowException: a prompt or a parameter is beyond its limit.
        """
        try:
            asked = request_of([str(one) for one in model_input[COLUMN]], dict(params or {}))
            with self._lock:
                return predictions_of(draw(self._cascade, asked), asked)
        except RequestError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None


set_model(ServedCascade())
