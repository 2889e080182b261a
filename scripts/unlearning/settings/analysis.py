"""Settings of the attack's statistics, the tables, the map and the verdicts."""

from pydantic import Field

from unlearning.jobs.errors import InputError, nearest
from unlearning.names import HEADLINE, METRICS
from unlearning.settings import settings_class


@settings_class
class AttackSettings:
    """How the success of attacks is told."""

    resamples: int = Field(default=1000, ge=1)
    """Bootstrap resamples per interval; members and non-members are resampled apart."""

    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Confidence of the intervals."""

    seed: int = Field(default=0, ge=0)
    """Seeds the resamples."""

    exposed: int = Field(default=5, ge=0)
    """How many of the most exposed sequences to list per run."""


@settings_class
class TableSettings:
    """How tables are made."""

    baselines: tuple[str, ...] = ("ga", "ta")
    """Labels of the methods to compare against; one that was not run is left out."""

    proposals: tuple[str, ...] = (
        "sga", "tau", "sga_kl", "npo", "twin", "sga_each", "ta_then_sga",
    )  # fmt: skip
    """Labels of the methods that are compared with each baseline."""

    accuracy_kinds: tuple[str, ...] = ("choice",)
    """Kinds of task that enter the mean accuracy. The paper's table leaves last-word prediction
    (LAMBADA) out of its mean, and so does the default."""

    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Confidence of the intervals."""

    seed: int = Field(default=0, ge=0)
    """Seeds the bootstrap of the spread of g in original.csv."""


@settings_class
class SolutionSettings:
    """The rule by which a cell of the map is won."""

    outlier_metric: str = "outliers_calibrated_rate"
    """Privacy, per sequence: a metric of per_run.csv."""

    max_outliers: float = Field(default=0.10, ge=0)
    """Its largest acceptable mean."""

    attack_metric: str = "attack_auc_strictest"
    """Privacy, under attack: a metric of per_run.csv. The default is the largest AUC of all
    attackers, as a method is safe only against the strictest one known."""

    attackers: tuple[str, ...] | None = None
    """Attacks that `attack_auc_strictest` is taken over: names of the suite, and "membership" for
    the single scores. null takes all that ran."""

    max_attack: float = Field(default=0.75, ge=0)
    """Its largest acceptable mean; of an AUC, 0.5 is chance."""

    max_drift: float | None = Field(default=0.1, ge=0)
    """Largest acceptable rise of the loss of unseen sequences (`unseen_drift`), nats per token: who
    spoils all text of a kind hides the forgotten among it. null does not ask for it."""

    utility_metric: str = "utility_accuracy"
    """Decides among the methods that keep the limits."""

    def __post_init__(self) -> None:
        """Refuse metrics that do not exist."""
        for name in ("outlier_metric", "attack_metric", "utility_metric"):
            metric = getattr(self, name)
            if metric not in METRICS:
                hint = nearest(metric, METRICS, "see per_run.csv for metrics")
                raise InputError(f"solution_space.{name}: '{metric}' is no metric; {hint}")
        if not METRICS[self.utility_metric].better:
            raise InputError(
                f"solution_space.utility_metric: '{self.utility_metric}' has no better direction;"
                " choose e.g. utility_accuracy or perplexity"
            )

    def limits(self) -> list[tuple[str, float]]:
        """The metrics that have a limit, with it."""
        limits = [(self.outlier_metric, self.max_outliers), (self.attack_metric, self.max_attack)]
        return limits if self.max_drift is None else [*limits, ("unseen_drift", self.max_drift)]

    def rule(self, repetitions: str = "draws") -> str:
        """The rule in words; what intervals are taken over is draws or replicates."""
        utility = METRICS[self.utility_metric]
        drift = (
            ""
            if self.max_drift is None
            else (
                f" and mean rise of the loss of unseen sequences (unseen_drift) at most"
                f" {self.max_drift:g} nats per token"
            )
        )
        attackers = ""
        if self.attack_metric == "attack_auc_strictest":
            among = "all that ran" if self.attackers is None else ", ".join(self.attackers)
            attackers = f", the largest of {among}"
        return (
            f"feasible: no run diverged, mean {METRICS[self.outlier_metric].label}"
            f" ({self.outlier_metric}) at most {self.max_outliers:g} and mean"
            f" {METRICS[self.attack_metric].label} ({self.attack_metric}{attackers}) at most"
            f" {self.max_attack:g}{drift}; among the feasible the"
            f" {'highest' if utility.better == 'higher' else 'lowest'} {utility.label}"
            f" ({self.utility_metric}) wins; the lead is sure if the paired intervals over"
            f" {repetitions}"
            " (Student's and the bootstrap's) exclude 0 against every other feasible method; fewer"
            f" than four {repetitions} have no bootstrap, and make nothing sure"
        )


@settings_class
class ClaimRules:
    """What the claims are judged by, beside the rule of the solution space."""

    paper_baselines: tuple[str, ...] = ("ga", "ta")
    """Labels of the average-stopped methods that the paper compares with; the first is the one
    whose outliers are counted."""

    paper_proposals: tuple[str, ...] = ("sga", "tau")
    """Labels of the paper's own methods. Others are reported, but decide no claim of the paper."""

    paper_attack: str = "attack_auc_worst"
    """The attack that C3, C4 and C7 judge by: the best single score, as the paper's attack."""

    accuracy_margin: float = Field(default=0.02, ge=0)
    """A loss of task accuracy or dialogue F1 that counts as no harm."""

    nats_margin: float = Field(default=0.10, ge=0)
    """A rise of log-perplexity, nats per token, that counts as no harm."""

    own_target: str = "twin"
    """Label of the method that gives each sequence a target of its own, for C8."""

    single_margin: float = Field(default=0.03, ge=0)
    """An AUC of the worst single score so far above the control's counts as not found."""

    learned_margin: float = Field(default=0.05, ge=0)
    """The same for the learned attacker."""

    strict_margin: float = Field(default=0.08, ge=0)
    """The same for the attackers that look at tokens, and for the strictest of all."""

    relearned_margin: float = Field(default=0.02, ge=0)
    """A rise of MA by relearning, forget less unseen sequences, so far above the control's counts
    as not come back: from so much on a sequence counts as relearned."""


@settings_class
class FigureSettings:
    """What the figures show."""

    names: dict[str, str] = Field(default_factory=dict)
    """Display names of methods by label, over the registered ones."""

    forget_size: int | None = None
    """The forget size shown where one must be chosen; null is the middle one."""

    seed: int | None = None
    """The forget-set draw whose single sequences are traced; null is the first."""

    replicate: int | None = None
    """The replicate whose single sequences are shown; null is the first."""

    gain_metrics: tuple[str, ...] = HEADLINE
    """Metrics of the forest plot of paired differences."""
