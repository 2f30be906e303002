"""What every table of a configuration file has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of a configuration file: typed, frozen, unknown keys and infinite numbers (JSON has none) refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
