"""The tasks that a model can be trained for, each with its loss, its solver and its reports."""

from warmstart.classification import Classification

Task = Classification
