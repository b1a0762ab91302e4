"""The tasks that a model can be trained for, and what their outputs stand for."""

from warmstart.classification import Classification
from warmstart.labels import Classes

Task = Classification
Target = Classes
