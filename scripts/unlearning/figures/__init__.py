"""The figures, one file each: every one a function from tidy tables to a matplotlib figure.

`FIGURES` names them in the order of the report. Colours, names and order of the methods are the
same in all of them (`style`).
"""

from unlearning.figures.attack_roc import attack_roc
from unlearning.figures.attack_suite import attack_suite
from unlearning.figures.forgetting_histogram import forgetting_histogram
from unlearning.figures.gains import gains
from unlearning.figures.memorization import memorization
from unlearning.figures.pareto import pareto_attack, pareto_outliers
from unlearning.figures.sensitivity import sensitivity
from unlearning.figures.solution_space import solution_space
from unlearning.figures.style import FigureJob, FigureSettings, save
from unlearning.figures.trajectories import trajectories
from unlearning.figures.trust import trust
from unlearning.figures.ulira import ulira
from unlearning.figures.utility import utility
from unlearning.figures.which_method import which_method

FIGURES = {
    "which_method": which_method,
    "solution_space": solution_space,
    "sensitivity": sensitivity,
    "memorization": memorization,
    "forgetting_histogram": forgetting_histogram,
    "trajectories": trajectories,
    "attack_roc": attack_roc,
    "attack_suite": attack_suite,
    "trust": trust,
    "pareto_outliers": pareto_outliers,
    "pareto_attack": pareto_attack,
    "gains": gains,
    "utility": utility,
}
OF_SHADOWS = {"ulira": ulira}
"""Drawn only where there are shadow models."""

__all__ = ["FIGURES", "OF_SHADOWS", "FigureJob", "FigureSettings", "save"]
