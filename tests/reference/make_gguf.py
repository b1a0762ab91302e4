"""Write `gguf/`: tiny GGUF files and what the packages gguf, transformers, tokenizers and sentencepiece read in them.

Run by hand, in an environment with gguf, numpy, safetensors, sentencepiece, tokenizers, torch and transformers:

    python tests/reference/make_gguf.py
"""

import io
import json
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

import gguf
from gguf import GGMLQuantizationType as Kind

HERE = Path(__file__).parent
OUT = HERE / "gguf"
KINDS = [
    Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K,
]  # fmt: skip
CORPUS = [
    "the cat sat on the mat, and the dog sat on the cat",
    "In 1987 they'll say: it's 12,345.67 degrees; we've seen THE END",
    "naïve café, straße, 東京は日本の首都, мир и война",
    "def f(x):\n    return x * 2  # twice\n\n\tend",
] * 4
TEXTS = [
    "", " ", "the cat", " the cat", "  two  spaces ", "don't they'll IT'S", "In 1987, 3.14159 and 12345678",
    "½ ² ③ ١٢٣", "naïve café e\u0301 Å", "👩‍👩‍👧‍👦 🙂🏽", "東京は日本の首都", "שלום עולם",
    "line\n\n\nbreaks\r\n\ttabs \t ", "\x00\x01\x7f",
    "\u200b\u200d\ufeff", "a▁b ▁ c", "x=1;y[2]={3:'4'}", "<s>the</s> cat", "the<|end|> cat <|end|><|user|>x",
    "catcatcat" * 40, "x" * 300,
]  # fmt: skip


def random(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def write(name: str, architecture: str, settings, tensors=(), vocabulary=lambda writer: None) -> None:
    """Tensors are (name, bytes or values as stored, type)."""
    writer = gguf.GGUFWriter(OUT / name, architecture)
    settings(writer)
    vocabulary(writer)
    for tensor, data, kind in tensors:
        writer.add_tensor(tensor, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_settings(config: LlamaConfig):
    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_block_count(config.num_hidden_layers)
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_vocab_size(config.vocab_size)

    return add


def kinds() -> None:
    """One matrix of each type. Blocks of the K types, which the package cannot write, are random bytes."""
    tensors = [("token_embd.weight", random(5, 256, seed=0), Kind.F32)]
    expected = {"model.embed_tokens.weight": tensors[0][1]}
    for i, kind in enumerate(KINDS):
        if kind in (Kind.Q4_K, Kind.Q5_K, Kind.Q6_K):
            data = np.random.default_rng(i).integers(0, 256, (3, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
            scale = np.array([0.01, -0.002, 0.5], np.float16).view(np.uint8).reshape(3, 2)
            if kind == Kind.Q6_K:
                data[:, -2:] = scale
            else:
                data[:, 0:2], data[:, 2:4] = scale, scale[::-1]
        else:
            data = gguf.quantize(random(3, 256, seed=i + 1), kind)
        expected[f"model.layers.{i}.mlp.down_proj.weight"] = gguf.dequantize(data, kind).astype(np.float32)
        tensors.append((f"blk.{i}.ffn_down.weight", data, kind))
    config = LlamaConfig(vocab_size=5, hidden_size=256, num_hidden_layers=9, num_attention_heads=4)
    write("kinds.gguf", "llama", llama_settings(config), tensors)
    save_file(expected, OUT / "kinds.safetensors")


def permute(weights: np.ndarray, heads: int) -> np.ndarray:
    """What convert_hf_to_gguf.py does to the queries and keys of Llama."""
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weights.shape))


def stored(values: np.ndarray, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """As stored, and as read again."""
    data = gguf.quantize(values, kind)
    return data, gguf.dequantize(data, kind).astype(np.float32)


LLAMA_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def llama() -> None:
    """Grouped queries, heads of 6 where hidden / heads is 8, biases; untied and, without its output layer, tied."""
    vocabulary, pieces = sentence_pieces()
    config = LlamaConfig(
        vocab_size=len(pieces), hidden_size=32, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=6, max_position_embeddings=37, rms_norm_eps=1e-5, rope_theta=5e5,
        attention_bias=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    tensors, expected = [], {}
    for i, (name, tensor) in enumerate(model.state_dict().items()):
        values = random(*tensor.shape, seed=100 + i)
        stem, suffix = name.rsplit(".", 1)
        layer = ""
        if stem.startswith("model.layers."):
            _, _, layer, stem = stem.split(".", 3)
        heads = {"self_attn.q_proj": 4, "self_attn.k_proj": 2}.get(stem)
        is_wide = values.ndim == 2 and stem != "mlp.down_proj" and values.shape[1] % 32 == 0
        kind = Kind.Q8_0 if is_wide else Kind.F32
        _, expected[name] = stored(values, kind)
        data, _ = stored(permute(values, heads) if heads else values, kind)
        ours = LLAMA_NAMES[stem]
        tensors.append((f"blk.{layer}.{ours}.{suffix}" if layer else f"{ours}.{suffix}", data, kind))
    write("llama.gguf", "llama", llama_settings(config), tensors, vocabulary)
    save_file(expected, OUT / "llama.safetensors")
    ids = [[pieces.bos_id(), *pieces.encode(text)] for text in TEXTS]
    # sentencepiece takes control tokens in a text for plain text, and drops null characters.
    record("llama.json", [(t, i) for t, i in zip(TEXTS, ids, strict=True) if "<" not in t and "\x00" not in t])


def sentence_pieces():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, model_type="bpe", vocab_size=330, byte_fallback=True,
        character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False, pad_id=-1,
        minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    kinds = [
        2 if pieces.is_unknown(i) else 3 if pieces.is_control(i) else 6 if pieces.is_byte(i) else 1
        for i in range(len(pieces))
    ]

    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_token_list([pieces.id_to_piece(i) for i in range(len(pieces))])
        writer.add_token_scores([pieces.get_score(i) for i in range(len(pieces))])
        writer.add_token_types(kinds)
        writer.add_bos_token_id(pieces.bos_id())
        writer.add_eos_token_id(pieces.eos_id())
        writer.add_unk_token_id(pieces.unk_id())

    return add, pieces


def record(name: str, cases) -> None:
    text = json.dumps([{"text": text, "ids": ids} for text, ids in cases], ensure_ascii=True, indent=0)
    (OUT / name).write_text(text + "\n")


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|end|>", "<|user|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return tokenizer, model["vocab"], [tuple(merge) for merge in model["merges"]]


def byte_vocabulary(pre: str, vocab: dict[str, int], merges, **flags: bool):
    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(sorted(vocab, key=vocab.get))
        # <|user|> is user-defined: kept whole, but not special.
        writer.add_token_types([{0: 3, 1: 4}.get(i, 1) for i in range(len(vocab))])
        writer.add_token_merges([" ".join(merge) for merge in merges])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(0)
        for key, value in flags.items():
            getattr(writer, key)(value)

    return add


def gpt2() -> None:
    config = GPT2Config(vocab_size=340, n_positions=19, n_embd=12, n_layer=2, n_head=3, n_inner=20)
    torch.manual_seed(0)
    names = {
        "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm",
        "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm",
        "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
    }  # fmt: skip
    tokenizer, vocab, merges = byte_level()
    tensors, expected = [], {}
    for i, (name, tensor) in enumerate(GPT2LMHeadModel(config).state_dict().items()):
        if name == "lm_head.weight":
            continue
        values = random(*tensor.shape, seed=300 + i)
        expected[name] = values
        stem, suffix = name.rsplit(".", 1)
        layer = ""
        if stem.startswith("transformer.h."):
            _, _, layer, stem = stem.split(".", 3)
        if ".c_" in stem and suffix == "weight":
            values = np.ascontiguousarray(values.T)
        tensors.append(
            (f"blk.{layer}.{names[stem]}.{suffix}" if layer else f"{names[stem]}.{suffix}", values, Kind.F32)
        )

    def settings(writer: gguf.GGUFWriter) -> None:
        writer.add_block_count(2)
        writer.add_context_length(19)
        writer.add_embedding_length(12)
        writer.add_feed_forward_length(20)
        writer.add_head_count(3)
        writer.add_layer_norm_eps(1e-5)

    write("gpt2.gguf", "gpt2", settings, tensors, byte_vocabulary("gpt-2", vocab, merges, add_add_eos_token=True))
    save_file(expected, OUT / "gpt2.safetensors")
    tokenizer.add_tokens(["<|user|>"])
    record("gpt2.json", [(text, [*tokenizer.encode(text).ids, 0]) for text in TEXTS])

    # The same vocabulary, its text split as other models do.
    config = LlamaConfig(vocab_size=len(vocab), hidden_size=2, num_hidden_layers=1, num_attention_heads=1)
    embedding = [("token_embd.weight", random(len(vocab), 2, seed=9), Kind.F32)]
    for pre in ("smollm", "llama-bpe", "qwen2"):
        name = f"{pre}.gguf"
        write(name, "llama", llama_settings(config), embedding, byte_vocabulary(pre, vocab, merges))
        if pre == "smollm":
            # transformers forgets this one: llama.cpp and the model's own tokenizer split off every numeral.
            backend = tokenizer
            backend.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
            )
        elif pre == "qwen2":
            backend = Qwen2Tokenizer(
                vocab=vocab, merges=merges, unk_token="<|end|>", eos_token="<|end|>", pad_token="<|end|>"
            ).backend_tokenizer
            backend.add_tokens(["<|user|>"])
        else:
            backend = AutoTokenizer.from_pretrained(OUT, gguf_file=name).backend_tokenizer
        first = [0] if pre == "llama-bpe" else []
        record(f"{pre}.json", [(text, first + backend.encode(text, add_special_tokens=False).ids) for text in TEXTS])


def bert() -> None:
    """`bert_a` in half precision, with a vocabulary of its size in the spelling of llama.cpp."""
    config = json.loads((HERE / "bert_a" / "config.json").read_text())
    words = (HERE / "bert_b_legacy" / "vocab.txt").read_text().split("\n")[:53]
    words += [f"[unused{i}]" for i in range(config["vocab_size"] - len(words))]

    def phantom(token: str) -> str:
        if token.startswith("[") and token.endswith("]"):
            return token
        return token[2:] if token.startswith("##") else "\u2581" + token

    def settings(writer: gguf.GGUFWriter) -> None:
        writer.add_block_count(config["num_hidden_layers"])
        writer.add_context_length(config["max_position_embeddings"])
        writer.add_embedding_length(config["hidden_size"])
        writer.add_feed_forward_length(config["intermediate_size"])
        writer.add_head_count(config["num_attention_heads"])
        writer.add_layer_norm_eps(config["layer_norm_eps"])
        writer.add_causal_attention(False)
        writer.add_pooling_type(gguf.PoolingType.MEAN)

    def vocabulary(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("bert")
        writer.add_token_list([phantom(word) for word in words])
        writer.add_token_types([3 if word.startswith("[") else 1 for word in words])
        writer.add_token_type_count(2)
        for add, token in (
            (writer.add_unk_token_id, "[UNK]"), (writer.add_sep_token_id, "[SEP]"),
            (writer.add_pad_token_id, "[PAD]"), (writer.add_mask_token_id, "[MASK]"),
        ):  # fmt: skip
            add(words.index(token))

    names = {
        "embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
        "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm",
        "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
        "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
        "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
    }  # fmt: skip
    tensors = []
    for name, values in sorted(load_file(HERE / "bert_a" / "model.safetensors").items()):
        name = name.removeprefix("bert.")
        if name.startswith(("pooler.", "classifier.")):
            continue
        stem, suffix = name.rsplit(".", 1)
        layer = ""
        if stem.startswith("encoder.layer."):
            _, _, layer, stem = stem.split(".", 3)
        kind = Kind.F16 if values.ndim == 2 else Kind.F32
        data, _ = stored(values, kind)
        tensors.append((f"blk.{layer}.{names[stem]}.{suffix}" if layer else f"{names[stem]}.{suffix}", data, kind))
    write("bert.gguf", "bert", settings, tensors, vocabulary)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    kinds()
    llama()
    gpt2()
    bert()
