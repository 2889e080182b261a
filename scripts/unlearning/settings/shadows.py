"""Settings of the shadows: models trained anew, for an attacker of each sequence by itself."""

from typing import Annotated

from pydantic import Field

from unlearning.jobs.errors import InputError
from unlearning.settings import Name, settings_class


@settings_class
class ShadowSettings:
    """How many models are trained anew, and how much each of them is to forget."""

    models: Annotated[tuple[Name, ...], Field(min_length=1)]
    """The models that shadows are made of; they must be trained here."""

    count: int = Field(default=16, ge=6, le=500, multiple_of=2)
    """Shadows of each model, in pairs: what one of a pair is trained on, the other never sees. With
    fewer than six, two of them left out, no two models tell how a sequence's score spreads."""

    forget: int | None = Field(default=None, ge=1)
    """Sequences that each shadow is to forget, of those it was trained on; null is half of them."""

    def forgotten(self, pool: int) -> int:
        """How many each shadow forgets, of a pool of which it is trained on one half.

        Raises:
            InputError: a shadow has not so many, or some sequence would be forgotten by one shadow
                alone, so that none is left to judge it by.
        """
        forget = pool // 4 if self.forget is None else self.forget
        if forget > pool // 2:
            raise InputError(
                f"shadows.forget: {forget} is more than the {pool // 2} sequences that a shadow is"
                " trained on, half of the pool; lower it"
            )
        if self.count * forget < 2 * pool:
            raise InputError(
                f"shadows: {self.count} models that forget {forget} each, of a pool of {pool}, are"
                " fewer than two a sequence, and one is judged by the other; raise count or forget"
            )
        return forget
