"""Options of `LanguageModel.generate`: its arguments, else the settings in the model's files."""

from collections.abc import Mapping, Sequence
from typing import Any

from warmstart.options import finite, flag, optional_positive_int
from warmstart.texts import normalise
from warmstart.warn import warn

MAX_NEW_TOKENS = 50
"""Default of `max_new_tokens`, if neither the caller nor the file gives a length."""

_SMALLEST, _LARGEST = 2.0**-149, (2 - 2.0**-23) * 2.0**127
"""Smallest and largest positive numbers in float32."""

_OBEYED = {
    *("do_sample", "temperature", "top_k", "top_p", "repetition_penalty"),
    *("max_new_tokens", "max_length", "stop_strings", "eos_token_id"),
}
_WITHOUT_EFFECT = {
    # Facts about the file, and outputs other than the text.
    *("transformers_version", "return_dict_in_generate", "return_legacy_cache", "bos_token_id", "pad_token_id"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits", "decoder_start_token_id"),
    # Settings that only affect speed.
    *("use_cache", "cache_implementation", "cache_config", "max_cache_len", "low_memory", "prefill_chunk_size"),
    *("compile_config", "disable_compile", "continuous_batching_config", "is_assistant", "num_assistant_tokens"),
    *("num_assistant_tokens_schedule", "assistant_confidence_threshold", "prompt_lookup_num_tokens"),
    *("max_matching_ngram_size", "assistant_early_exit", "assistant_lookbehind", "target_lookbehind", "use_mtp"),
    # Settings of beam search only; the warning names `num_beams` instead.
    *("early_stopping", "length_penalty", "diversity_penalty"),
    # Handling of logits that are not finite, which are an error here; normalisation, which keeps the probabilities.
    *("remove_invalid_values", "renormalize_logits"),
}
_NEUTRAL = {
    **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences"), 1),
    **dict.fromkeys(("typical_p", "encoder_repetition_penalty", "guidance_scale"), 1),
    **dict.fromkeys(("min_length", "min_new_tokens", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), 0),
    **dict.fromkeys(("epsilon_cutoff", "eta_cutoff", "min_p", "penalty_alpha", "xtc_probability", "mirostat"), 0),
}
"""Values with which a setting that is not implemented has no effect."""
_OF_A_CONFIG = {
    **dict.fromkeys(("bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id")),
    **dict.fromkeys(("forced_eos_token_id", "exponential_decay_length_penalty")),
    **{"do_sample": False, "temperature": 1, "top_k": 50, "top_p": 1, "repetition_penalty": 1, "max_length": 20},
    **_NEUTRAL,
}
"""Generation settings in a ``config.json`` if there is no other file, with the defaults that old versions wrote."""


def generation_options(
    config: Mapping[str, Any],
    file: str = "generation_config.json",
    *,
    max_new_tokens: int | None,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    repetition_penalty: float | None,
    stop: str | Sequence[str] | None,
) -> dict[str, Any]:
    """Return the generation options: the arguments, where they are None the values in `config`, else the defaults.

    Parameters
    ----------
    config : mapping
        The contents of `file`.
    file : {"generation_config.json", "config.json"}
        Name of the file for messages. From a ``config.json`` only values that differ from transformers' defaults are
        used.
    max_new_tokens, temperature, top_k, top_p, repetition_penalty, stop
        As `LanguageModel.generate` takes them.

    Raises
    ------
    TypeError, ValueError
        A value is out of range; the message says whether it is an argument's or the file's.

    Warns
    -----
    UserWarning
        The file has settings that change texts and are not implemented; the warning names them.
    """
    if file == "config.json":
        config = {
            name: config[name] for name in _OF_A_CONFIG if config.get(name, _OF_A_CONFIG[name]) != _OF_A_CONFIG[name]
        }
    _warn_of_others(config, file)

    def from_file(name: str, given: Any, default: Any) -> tuple[str, Any]:
        found = config.get(name)
        if given is not None:
            return name, given
        return (name, default) if found is None else (f"{file}: {name}", found)

    name, limit = from_file("max_new_tokens", max_new_tokens, None)
    tokens = optional_positive_int(name, limit)
    length = optional_positive_int(*from_file("max_length", None, None)) if tokens is None else None
    # In a file, 0 means all tokens for transformers.
    whole = top_k is None and config.get("top_k") == 0
    # An argument that only matters for sampling implies sampling.
    is_drawn = top_k is not None or top_p is not None
    is_greedy = not flag(*from_file("do_sample", None, True)) and not is_drawn
    heat = 0.0
    if temperature is not None or not is_greedy:
        heat = _within(*from_file("temperature", temperature, 1.0), 0.0, _LARGEST, "0 or more")
    if temperature is None and is_drawn:
        heat = heat or 1.0
    name, ends = from_file("stop_strings", stop, [])
    name = "stop" if stop is not None else name
    stops = [ends] if isinstance(ends, str) else normalise(ends, name)[0]
    if not all(stops):
        raise ValueError(f"{name} has an empty text, with which every text ends")
    return {
        "max_new_tokens": tokens if length is not None else tokens or MAX_NEW_TOKENS,
        "max_length": length,
        "sampling": {
            "temperature": heat,
            "top_k": None if whole else optional_positive_int(*from_file("top_k", top_k, None)),
            "top_p": _within(*from_file("top_p", top_p, 1.0), _SMALLEST, 1.0, "more than 0 and at most 1"),
            "repetition_penalty": _within(
                *from_file("repetition_penalty", repetition_penalty, 1.0), _SMALLEST, _LARGEST, "more than 0"
            ),
        },
        "stop": stops,
    }


def _within(name: str, value: Any, least: float, most: float, expected: str) -> float:
    """Return a number in this range; checked here, too, because the core cannot name the argument or file at fault."""
    number = finite(name, value)
    if not least <= number <= most:
        raise ValueError(f"{name}={value}: expected {expected}, as float32")
    return number


def _warn_of_others(config: Mapping[str, Any], file: str) -> None:
    """Warn of settings that change texts and that `generate` does not implement."""
    others = {
        name: value
        for name, value in config.items()
        if name not in _OBEYED | _WITHOUT_EFFECT and not name.startswith("_") and value != _NEUTRAL.get(name) and value
    }
    if others:
        listed = ", ".join(f"{name}={value!r}" for name, value in sorted(others.items()))
        warn(
            f"{file} asks for {listed:.500}, which generate does not have: the texts are made without",
        )
