"""How well known targets are found: metrics, rivals, suites and the runner that compares them."""

from cdn_sc.metrics import published_suites as published_suites  # registers its suites
from cdn_sc.metrics.baselines import RIVALS, rivals
from cdn_sc.metrics.ranking import METRICS, target_metrics
from cdn_sc.metrics.runner import EvaluationResult, evaluate
from cdn_sc.metrics.suites import available_suites, register_suite, suite
from cdn_sc.metrics.summary import summarise

__all__ = [
    "METRICS",
    "RIVALS",
    "EvaluationResult",
    "available_suites",
    "evaluate",
    "register_suite",
    "rivals",
    "suite",
    "summarise",
    "target_metrics",
]


def __dir__() -> list[str]:
    return sorted(__all__)
