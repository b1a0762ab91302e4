"""`Backbone.summary`: every parameter once, layers that are alike folded."""

import json
import re
import struct
from math import prod

import pytest
from warmstart.summary import Summary


def made(*parameters: tuple[str, tuple[int, ...]] | tuple[str, tuple[int, ...], str]) -> Summary:
    keys = ("name", "shape", "dtype", "parameters", "bytes")
    return Summary(
        [
            dict(zip(keys, (name, list(shape), *(kind or ["f32"]), prod(shape), 4 * len(shape)), strict=True))
            for name, shape, *kind in parameters
        ]
    )


def names(summary: Summary) -> list[str]:
    return [line[0] for line in summary.lines()]


def test_rows_are_the_tensors_of_the_saved_file(backbone, tmp_path):
    backbone.save_pretrained(tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    del header["__metadata__"]
    summary = backbone.summary()
    assert {row["name"]: row["shape"] for row in summary.rows} == {n: t["shape"] for n, t in header.items()}
    assert {row["name"]: row["bytes"] for row in summary.rows} == {
        n: t["data_offsets"][1] - t["data_offsets"][0] for n, t in header.items()
    }
    assert {row["dtype"] for row in summary.rows} == {"f32"}
    assert summary.n_parameters == sum(row["parameters"] for row in summary.rows) == backbone.n_parameters
    assert summary.n_bytes == 4 * backbone.n_parameters


def test_text_when_layers_are_alike_then_is_this(backbone):
    assert repr(backbone.summary()).splitlines() == [
        "module                        shape            parameters  dtype     bytes",
        "----------------------------  ---------------  ----------  -----  --------",
        "embeddings                                          2,112  f32     8.2 KiB",
        "  word_embeddings             30 x 32                 960  f32     3.8 KiB",
        "  position_embeddings         32 x 32               1,024  f32     4.0 KiB",
        "  token_type_embeddings       2 x 32                   64  f32       256 B",
        "  LayerNorm                   32 + 32                  64  f32       256 B",
        "encoder.layer.0-1             2 alike, summed      17,088  f32    66.8 KiB",
        "  attention.self.query        32 x 32 + 32          2,112  f32     8.2 KiB",
        "  attention.self.key          32 x 32 + 32          2,112  f32     8.2 KiB",
        "  attention.self.value        32 x 32 + 32          2,112  f32     8.2 KiB",
        "  attention.output.dense      32 x 32 + 32          2,112  f32     8.2 KiB",
        "  attention.output.LayerNorm  32 + 32                 128  f32       512 B",
        "  intermediate.dense          64 x 32 + 64          4,224  f32    16.5 KiB",
        "  output.dense                32 x 64 + 32          4,160  f32    16.2 KiB",
        "  output.LayerNorm            32 + 32                 128  f32       512 B",
        "pooler.dense                  32 x 32 + 32          1,056  f32     4.1 KiB",
        "total                                              20,256  f32    79.1 KiB",
    ]


def test_html_holds_the_same_cells(backbone):
    summary = backbone.summary()
    html = summary._repr_html_()
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)[1:]]
    text = [re.split(r"\s{2,}", line.strip()) for line in repr(summary).splitlines()[2:]]
    assert [[cell.strip("\u2003") for cell in row if cell] for row in rows] == text
    assert sum(row[0].startswith("\u2003") for row in rows) == 12


def test_layers_when_shapes_or_types_differ_are_not_folded():
    summary = made(
        ("wte.weight", (7, 3)),
        ("h.0.ln.weight", (3,)),
        ("h.0.mlp.weight", (3, 3)),
        *[(f"h.{i}.mlp.weight", (3, 3)) for i in range(1, 12)],
        ("h.12.mlp.weight", (3, 3), "q8_0"),
        ("h.13.mlp.weight", (3, 5), "q8_0"),
        ("ln_f.weight", (3,)),
        ("ln_f.bias", (3,)),
    )
    assert names(summary) == ["wte", "h.0", "  ln", "  mlp", "h.1-11.mlp", "h.12.mlp", "h.13.mlp", "ln_f", "total"]
    lines = {line[0]: line[1:] for line in summary.lines()}
    assert lines["h.1-11.mlp"] == ("3 x 3", 99, "f32", "88 B")
    assert lines["ln_f"] == ("3 + 3", 6, "f32", "8 B")
    assert lines["total"][2] == "f32 / q8_0"


def test_parameters_that_are_no_weight_or_bias_have_lines_of_their_own():
    summary = made(
        ("mask_emb", (1, 1, 6)),
        *[(f"layer.{i}.rel_attn.{name}", (6, 2, 3)) for i in range(3) for name in ("q", "k")],
    )
    assert names(summary) == ["mask_emb", "layer.0-2", "  rel_attn.q", "  rel_attn.k", "total"]
    assert summary.lines()[0][:3] == ("mask_emb", "1 x 1 x 6", 6)


def test_lines_of_modules_add_up(backbone):
    lines = backbone.summary().lines()
    inside = [line for line in lines if line[0].startswith("  ")]
    top = [line for line in lines[:-1] if not line[0].startswith("  ")]
    assert sum(line[2] for line in top) == lines[-1][2]
    blocks = [line for line in top if not line[1] or "alike" in line[1]]
    assert sum(line[2] for line in inside) == sum(line[2] for line in blocks)


def test_a_data_frame_takes_the_rows(backbone):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(backbone.summary().rows)
    assert list(frame) == ["name", "shape", "parameters", "dtype", "bytes"]
    assert frame["parameters"].sum() == backbone.n_parameters
