"""What the audit has to know of the config."""

from typing import Literal

from pydantic import Field

from unlearning.settings import settings_class
from unlearning.settings.analysis import SolutionSettings


@settings_class
class AuditJob:
    """What the audit has to know of the config."""

    run: str
    """Name of the run."""

    rule: SolutionSettings = SolutionSettings()
    """The limits."""

    origins: dict[str, str]
    """Model -> where it comes from."""

    controls: dict[str, str] = Field(default_factory=dict)
    """Model -> where its control comes from."""

    attacks: tuple[str, ...] = ()
    """Names of the attacks that were run."""

    limit: int | None = None
    """`measurement.limit`."""

    bos: Literal["auto"] | bool | None = None
    """`own.bos`; None where the sequences are no files of the user's."""

    kept: bool = False
    """Whether the unlearned models are kept."""
