"""Which attacker finds most in each run: a method is safe only against the strictest one known.

An attacker is one reading of one attack: a score, or a variant and measure of the suite, as in
"relearning/3_steps/loss_fall". Whoever finds a score on the wrong side of chance reads it the other
way round, so its AUC counts as the larger of a and 1 - a. A learned attacker has found its
direction on the part of the candidates that it knows, and is taken as it is.

The largest of many AUCs lies above 0.5 even when there is nothing to find. What a model that never
saw the set shows under the same attackers is the floor.

Attackers who hold the original model are left out: what differs from it was unlearned, and they
find the set even where training was done again without it, so nobody could be safe from them.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from unlearning.analysis.attack_effects import LEARNERS, WAY
from unlearning.attacks import BASIC
from unlearning.attacks.membership import BLACK_BOX, KEYS

HOLDS_THE_ORIGINAL = {("reference_calibrated", "original"), ("learned_attacker", "with_original")}
"""Attack and variant that no unlearner can answer."""
PERMUTED = "_permuted"
"""End of a variant that learned from permuted labels: what an attacker finds in nothing."""


def strictest(
    attack_runs: pd.DataFrame, effects: pd.DataFrame, attacks: Sequence[str] | None = None
) -> pd.DataFrame:
    """The strictest attacker of every run.

    Args:
        attack_runs: success of the single scores, as `membership.attack_all` returns it.
        effects: of the suite, as `attack_effects.effects` returns it.
        attacks: which may take part, the single scores as `BASIC`; None: all that ran.

    Returns:
        Columns KEYS, attacker and value, its AUC; NaN for a diverged run. Of equal ones the first:
        single scores, then the suite by name.
    """
    scores = attack_runs[attack_runs["score"].isin(BLACK_BOX) & (attack_runs["metric"] == "auc")]
    suite = effects[effects["metric"] == "auc"].sort_values(WAY, kind="stable")
    ways = zip(suite["attack"], suite["variant"], strict=True)
    counts = [way not in HOLDS_THE_ORIGINAL and not way[1].endswith(PERMUTED) for way in ways]
    suite = suite[np.array(counts, dtype=bool)]
    learned = suite["attack"].isin(LEARNERS) & (suite["measure"] == "log_odds")
    found = pd.concat(
        [
            scores[KEYS].assign(
                attack=BASIC,
                attacker=BASIC + "/" + scores["score"] + "/" + scores["side"],
                value=either_way(scores["value"]),
            ),
            suite[[*KEYS, "attack"]].assign(
                attacker=suite["attack"] + "/" + suite["variant"] + "/" + suite["measure"],
                value=suite["value"].where(learned, either_way(suite["value"])),
            ),
        ],
        ignore_index=True,
    )
    if attacks is not None:
        found = found[found["attack"].isin(attacks)]
    first = found.sort_values("value", ascending=False, kind="stable").drop_duplicates(KEYS)
    # of a diverged run there is no strictest
    first.loc[first["value"].isna(), "attacker"] = ""
    return first.sort_values(KEYS, ignore_index=True)[[*KEYS, "attacker", "value"]]


def either_way(area: pd.Series) -> pd.Series:
    """The AUC of who may read a score the other way round."""
    return np.maximum(area, 1 - area)


def commonest(attackers: pd.Series) -> str:
    """The attacker that is the strictest in most runs; of equal ones the first by name."""
    counts = attackers[attackers != ""].value_counts()
    return min(counts.index[counts == counts.max()], default="")


def shown(attacker: str) -> str:
    """An attacker in words: the score, or the attack with its variant and measure."""
    return attacker.removeprefix(f"{BASIC}/").replace("/", ", ").replace("_", " ")
