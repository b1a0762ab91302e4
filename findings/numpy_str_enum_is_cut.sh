#!/usr/bin/env bash
# numpy 2.4.6 and scikit-learn 1.9.1: members of `class Kind(str, Enum)` in an array become their str(), "Kind.SPAM", cut
# to the length of the longest value. Two labels fall together without a word, and what is left equals neither a member
# nor a value; LabelEncoder and every classifier that makes an array of its labels then see one class.
#
# Seen:
#   array ['Kind', 'Kind'] of <U4
#   encoded [0, 0], classes ['Kind']
#   of dtype object ['spam', 'ham']
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet numpy==2.4.6 scikit-learn==1.9.1
"$place/venv/bin/python" - <<'PYTHON' | tee "$place/seen"
from enum import Enum

import numpy as np
from sklearn.preprocessing import LabelEncoder


class Kind(str, Enum):
    SPAM = "spam"
    HAM = "ham"


labels = [Kind.SPAM, Kind.HAM]
array, encoder = np.array(labels), LabelEncoder()
print("array", array.tolist(), "of", array.dtype.str)
print(f"encoded {encoder.fit_transform(labels).tolist()}, classes {encoder.classes_.tolist()}")
print("of dtype object", [member.value for member in np.array(labels, dtype=object).tolist()])
PYTHON
diff "$place/seen" - <<'SEEN'
array ['Kind', 'Kind'] of <U4
encoded [0, 0], classes ['Kind']
of dtype object ['spam', 'ham']
SEEN
