"""Record which row of its table each distance has in transformers, for the parity tests of warmstart.

Run by hand, in the environment of make_reference.py:

    python tests/reference/make_buckets.py

Writes `buckets.safetensors` beside this file: for the distances i - j from -DISTANCES to DISTANCES, computed in float32
as the models do, `mpnet` [2 * DISTANCES + 1] of its biases, and `deberta_v2.BUCKETS.LONGEST` of its vectors, where
BUCKETS is `position_buckets` and LONGEST `max_relative_positions`.
"""

from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

DISTANCES = 700
# Among them some whose last border lies where rounding puts it.
DEBERTA_V2 = [
    *[(256, 512), (320, 512), (48, 700), (7, 12), (12, 40), (-1, 300)],
    *[(12, 12), (192, 192), (200, 512), (320, 400), (384, 200), (48, 600), (10, 400)],
]


def main():
    distances = torch.arange(-DISTANCES, DISTANCES + 1)
    tables = {"mpnet": MPNetEncoder.relative_position_bucket(-distances)}
    for buckets, longest in DEBERTA_V2:
        # Queries by keys: of the last query all distances behind it, of the first those ahead.
        states = torch.zeros(1, DISTANCES + 1, 1)
        rows = build_relative_position(states, states, bucket_size=buckets, max_position=longest)[0]
        span = buckets if buckets > 0 else longest
        rows = torch.cat([rows[0].flip(0)[:-1], rows[-1].flip(0)])
        tables[f"deberta_v2.{buckets}.{longest}"] = (rows + span).clamp(0, 2 * span - 1)
    made_with = f"torch {torch.__version__}, transformers {transformers.__version__}"
    path = Path(__file__).resolve().parent / "buckets.safetensors"
    save_file({name: rows.long() for name, rows in tables.items()}, path, {"made_with": made_with})


if __name__ == "__main__":
    main()
