"""GradDiff: gradient ascent on the forget set, with descent on text to keep.

Liu, Liu and Stone 2022 (arXiv 2203.12817, Continual Learning and Private Unlearning); Maini et al.
2024 (arXiv 2401.06121, TOFU, "gradient difference"; with `retain: {kind: kl}` its "KL
minimization"). The loss is -L(forget) + weight * R(retain), L the mean token cross-entropy: the
steps are those of gradient ascent, to which the learner adds the term to keep.
"""

from unlearning.settings.unlearning import RetainSettings
from unlearning.unlearners.gradient_ascent import Settings, unlearn

__all__ = ["RETAIN", "Settings", "unlearn"]

RETAIN = RetainSettings(kind="nll")
