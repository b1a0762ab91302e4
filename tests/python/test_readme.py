"""The Python blocks of README.md run as they stand, on a tiny model."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
MODEL = re.compile(r'"\.assets/[^"]*"')


def test_readme_examples_run(backbone, tmp_path, monkeypatch):
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    assert blocks, "README.md has no ```python block"
    assert MODEL.search(blocks[0]), "the first example opens no model below .assets/"
    backbone.save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks, start=1):
        source = MODEL.sub(lambda _: repr(str(tmp_path / "model")), block)
        exec(compile(source, f"README.md, python block {number}", "exec"), names)
