"""The tasks that a model can be trained for, the targets that their outputs stand for, and the reports on them."""

from typing import Any

from warmstart.classification import Classification
from warmstart.labels import Classes
from warmstart.numbers import Numbers
from warmstart.regression import Regression
from warmstart.regression_report import RegressionReport
from warmstart.report import Report
from warmstart.run_report import RunReport

Task = Classification | Regression
Target = Classes | Numbers


def target_from_metadata(metadata: dict[str, Any]) -> Target:
    """Read the targets from the metadata of a saved estimator."""
    return Numbers.from_metadata(metadata) if "targets" in metadata else Classes.from_metadata(metadata)


def blank_report(target: Target, training: dict[str, Any] | None = None) -> RunReport:
    """Return the kind of report that targets have, without evaluation texts."""
    return RegressionReport.blank(target, training) if isinstance(target, Numbers) else Report.blank(target, training)


def report_from_dict(target: Target, data: dict[str, Any]) -> RunReport:
    """Undo `to_dict` of the kind of report that targets have."""
    return RegressionReport.from_dict(data) if isinstance(target, Numbers) else Report.from_dict(data)
