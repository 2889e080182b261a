"""Who is trained on what: the design of the shadows, models trained anew on halves of the pool."""

import numpy as np
import pandas as pd

from unlearning.settings.shadows import ShadowSettings

ROLES = np.array(["never", "retained", "forget"])
"""The part a sequence plays for a shadow: not trained on; trained on and kept; trained on and to be
forgotten. Of an unseen sequence the part is drawn alike and means nothing."""


def draw_shadows(sequences: pd.DataFrame, settings: ShadowSettings, seed: int) -> pd.DataFrame:
    """Draw for each shadow what it is trained on and what of that it is to forget.

    Shadows come in pairs that share the pool: each planted sequence is trained on by exactly one of
    a pair, and so by exactly half of all. Forget sets are filled with what was forgotten least so
    far, so that the numbers of models that forget a sequence differ by one at most where the pool
    divides by four.

    Args:
        sequences: a table of sequences.
        settings: how many shadows, how much each forgets.
        seed: of the draw.

    Returns:
        Columns shadow (from 0; 2j and 2j + 1 are a pair), sequence_id, split, role (one of
        `ROLES`), a row for each shadow and sequence.

    Raises:
        InputError: the pool does not allow it (`ShadowSettings.forgotten`).
    """
    pool = int((sequences["split"] == "planted").sum())
    share = settings.forgotten(pool) / pool
    parts = []
    for stream, split in enumerate(("planted", "unseen")):
        ids = sorted(sequences.loc[sequences["split"] == split, "sequence_id"])
        generator = np.random.default_rng([seed, stream])
        drawn = _roles(len(ids), settings.count, round(share * len(ids)), generator)
        shadows = np.arange(settings.count).repeat(len(ids))
        roles = ROLES[drawn.ravel()]
        parts.append(
            pd.DataFrame(
                {
                    "shadow": shadows,
                    "sequence_id": ids * settings.count,
                    "split": split,
                    "role": roles,
                }
            )
        )
    design = pd.concat(parts, ignore_index=True)
    return design.sort_values("shadow", kind="stable", ignore_index=True)


def _roles(n: int, count: int, forget: int, generator: np.random.Generator) -> np.ndarray:
    """(count, n) positions in `ROLES` of n sequences."""
    roles = np.zeros((count, n), dtype=int)
    times = np.zeros(n, dtype=int)  # that each was forgotten so far
    for pair in range(0, count, 2):
        # dealt out in turns, so that both of a pair have as many that were forgotten less
        order = np.lexsort([generator.random(n), times])
        first = generator.integers(2)
        for shadow, start in ((pair, first), (pair + 1, 1 - first)):
            members = order[start::2]
            roles[shadow, members] = 1
            roles[shadow, members[:forget]] = 2
        times += (roles[pair : pair + 2] == 2).sum(axis=0)
    return roles
