"""The tasks that a model can be trained for, and the targets that their outputs stand for."""

from warmstart.classification import Classification
from warmstart.labels import Classes
from warmstart.numbers import Numbers
from warmstart.regression import Regression

Task = Classification | Regression
Target = Classes | Numbers
