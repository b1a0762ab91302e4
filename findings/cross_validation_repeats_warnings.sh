#!/usr/bin/env bash
# scikit-learn 1.9.1 shows the same warning of the same line once for every fit of a cross-validation or a search, where
# Python's own filters show it once: each fit runs in a warnings.catch_warnings of its own, which forgets what was shown.
# A search of 5 folds and 20 settings says a thing 100 times. Our warnings are told once for a search: see
# python/warmstart/warn.py and test_a_search_tells_once_each_time_and_in_every_fit_where_warnings_are_errors.
#
# Output seen:
#   scikit-learn 1.9.1: three fits in a loop: 1 warning; cross_val_score of 4 folds: 4 warnings
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > check.py <<'PYTHON'
import io
import sys
import warnings
from contextlib import redirect_stderr

import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import cross_val_score


class Warns(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        warnings.warn("the same words", UserWarning, stacklevel=1)
        self.classes_ = [0, 1]
        return self

    def predict(self, X):
        return [0] * len(X)


def shown(work):
    told = io.StringIO()
    with redirect_stderr(told):
        work()
    return told.getvalue().count("UserWarning:")


X, y = [[0], [1]] * 4, [0, 1] * 4
loop = shown(lambda: [Warns().fit(X, y) for _ in range(3)])
folds = shown(lambda: cross_val_score(Warns(), X, y, cv=4))
print(
    f"scikit-learn {sklearn.__version__}: three fits in a loop: {loop} warning; "
    f"cross_val_score of 4 folds: {folds} warnings"
)
sys.exit((loop, folds) != (1, 4))
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check scikit-learn==1.9.1
venv/bin/python check.py
