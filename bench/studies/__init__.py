"""Studies of pretraining on real data, each made by one command; see :mod:`bench.studies.__main__`."""
