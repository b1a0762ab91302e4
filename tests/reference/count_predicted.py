"""Count the tokens that transformers' collator for permutation language models predicts, for tests/rust/objectives.rs.

Run by hand, in the environment of make_reference.py; prints one line for each length of sequences that end with two
special tokens: the mean number of predicted tokens, its standard error, and the share of sequences without any.
"""

import torch
import transformers
from transformers import DataCollatorForPermutationLanguageModeling

SEQUENCES = 20_000
AT_ONCE = 500


class Tokenizer:
    mask_token, mask_token_id, pad_token, pad_token_id = "<mask>", 6, "<pad>", 5

    def get_special_tokens_mask(self, ids, already_has_special_tokens):
        return [int(i < 10) for i in ids]


def main() -> None:
    torch.manual_seed(0)
    collator = DataCollatorForPermutationLanguageModeling(Tokenizer())
    print("transformers", transformers.__version__)
    for length in (12, 30, 128):
        ids = torch.randint(10, 1000, (SEQUENCES, length))
        ids[:, -2:] = 4
        labels = [collator.torch_mask_tokens(part.clone())[3] for part in ids.split(AT_ONCE)]
        counts = (torch.cat(labels) != -100).sum(1).double()
        error = counts.std() / SEQUENCES**0.5
        print(f"{length}: {counts.mean():.4f} +- {error:.4f}, none {(counts == 0).double().mean():.4f}")


main()
