"""What every section of params.yaml is, and the error for what breaks its rules."""

from pydantic import BaseModel, ConfigDict

from minimagen.errors import UserError


class ConfigError(UserError):
    """Parameters a user has to change; the message has one line per problem."""


class Section(BaseModel):
    """A part of params.yaml: frozen, strict, without unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
