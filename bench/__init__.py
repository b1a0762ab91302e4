"""Side-by-side measurements of warmstart against its peers; see README.md in this folder."""
