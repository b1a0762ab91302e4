"""Download models of the Hugging Face hub with ``huggingface_hub`` into its cache, and only the files needed."""

import fnmatch
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from warmstart._core import SIDE_FILES, WEIGHT_FILES, WarmstartError, __version__
from warmstart.warn import warn

_CONFIG = "config.json"
_MODULES = "modules.json"
_ADAPTER = "adapter_config.json"  # of an adapter beside the weights, for which opening the directory refuses it
_INDEX = ".index.json"
_TEMPLATES = "additional_chat_templates/*.jinja"
_TRY_LATER = (408, 429)
_REPOSITORY = re.compile(r"(?!.*\.(gguf|safetensors|bin)$)\w[\w.-]*(/[\w.-]+)?", re.ASCII | re.IGNORECASE)


def fetched(path: str | os.PathLike[str], revision: str | None, token: str | bool | None, verbose: bool) -> str:
    """Return `path` if it exists, else the cache directory of the repository of that name.

    Parameters
    ----------
    path : str or path
        A str that is no path here and reads ``"org/name"`` or ``"name"`` is a repository.
    revision : str, optional
        Branch, tag or commit of a repository; None is its main branch.
    token : str or bool, optional
        Access token; None takes ``HF_TOKEN`` or that of ``hf auth login``, False takes none.
    verbose : bool
        Show the progress bars of ``huggingface_hub``.

    Raises
    ------
    FileNotFoundError
        The repository or its revision is not there.
    ImportError
        ``huggingface_hub`` is not installed.
    ValueError
        `revision` is given for a path.
    WarmstartError
        The hub refuses, cannot be reached, or its switch says offline and the cache has no whole copy.
    """
    if not isinstance(path, str) or not _REPOSITORY.fullmatch(path) or os.path.exists(path):
        if revision is not None:
            raise ValueError(f"revision={revision!r} is for repositories of the Hugging Face hub; {path!r} is a path")
        return os.fspath(path)
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{path!r} is no path here, and what fetches it from the Hugging Face hub is not installed: "
            'pip install "warmstart[hub]"'
        ) from error
    with _progress_bars(verbose):
        try:
            return _fetch(path, revision, token)
        except Exception as error:
            folder = None if _is_refusal(error) else _cached(path, revision)
            if folder is None:
                raise _explained(error, path, revision) from error
            if not _is_offline(error):
                warn(
                    f"{path}: the hub could not be reached ({_cause(error)}); the copy in the cache is taken, "
                    "which may be older",
                )
            return folder


class _GgufAlone(FileNotFoundError):
    """The repository has weights only in GGUF files."""


def _fetch(repository: str, revision: str | None, token: str | bool | None) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        """A progress bar that is not shown in a pipe; by default the bar that counts files is."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{"disable": None, **options})  # type: ignore[no-untyped-call]

    api = HfApi(token=token, library_name="warmstart", library_version=__version__)
    info = api.model_info(repository, revision=revision)
    listed = {file.rfilename for file in info.siblings or ()}
    fetch = partial(api.snapshot_download, repository, tqdm_class=Bar)
    modules = _NO_MODULES
    if _MODULES in listed:
        folder = Path(fetch(revision=revision, allow_patterns=[_MODULES]))
        # Use the same commit from here on, even if the branch moves meanwhile.
        modules, revision = _modules(folder), folder.name
    weights = next((name for name in modules.of_transformer(WEIGHT_FILES) if name in listed), _CONFIG)
    gguf = sorted(name for name in listed if name.lower().endswith(".gguf"))
    if weights == _CONFIG and gguf:
        some = ", ".join(gguf[:5]) + ", ..." * (len(gguf) > 5)
        raise _GgufAlone(
            f"{repository} holds its weights in {len(gguf)} GGUF files ({some}); "
            f"open one of them: from_pretrained(huggingface_hub.hf_hub_download({repository!r}, {gguf[0]!r}))"
        )
    # Weights are fetched last, so that complete weights mean a complete copy.
    templates = sorted(fnmatch.filter(listed, *modules.of_transformer([_TEMPLATES])))
    small = [*modules.small_files(), *templates, *([weights] if weights.endswith(_INDEX) else [])]
    cached = Path(_cached(repository, revision) or "")
    if cached.name == info.sha and all((cached / name).is_file() for name in small if name in listed):
        return str(cached)
    folder = Path(fetch(revision=revision, allow_patterns=small))
    large = [name for name in _weight_files(folder, weights) if name in listed]
    large += filter(None, (modules.weights(module, listed.__contains__) for module in modules.folders))
    return fetch(revision=folder.name, allow_patterns=large)


@dataclass(frozen=True)
class _Modules:
    """Folder of the transformer in a model directory, and folders of the other sentence-transformers modules."""

    transformer: str
    folders: tuple[str, ...]

    def of_transformer(self, names: Iterable[str]) -> list[str]:
        return [f"{self.transformer}/{name}" if self.transformer else name for name in names]

    def small_files(self) -> list[str]:
        """Return the names of all files except weights; not all of them need exist."""
        of_modules = [f"{folder}/{_CONFIG}" for folder in self.folders]
        return list(dict.fromkeys([*self.of_transformer([_CONFIG, _ADAPTER, *SIDE_FILES]), *SIDE_FILES, *of_modules]))

    def weights(self, folder: str, is_there: Callable[[str], bool]) -> str | None:
        """Return the path of a module's weight file, if it has one."""
        return next(filter(is_there, (f"{folder}/{name}" for name in WEIGHT_FILES if not name.endswith(_INDEX))), None)


_NO_MODULES = _Modules("", ())


def _modules(folder: Path) -> _Modules:
    try:
        paths = [module["path"] for module in json.loads((folder / _MODULES).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError):
        return _NO_MODULES  # opening the directory says what is wrong with it
    if not paths or not all(isinstance(path, str) for path in paths):
        return _NO_MODULES
    return _Modules(paths[0], tuple(path for path in paths[1:] if path))


def _weight_files(folder: Path, weights: str) -> list[str]:
    """Return the weight files: `weights` itself, or the files that it lists if it is an index."""
    if not weights.endswith(_INDEX):
        return [weights]
    directory = weights.rpartition("/")[0]
    try:
        shards = json.loads((folder / weights).read_text(encoding="utf-8"))["weight_map"].values()
        names = {name for name in shards if isinstance(name, str) and "/" not in name}
        return sorted(f"{directory}/{name}" if directory else name for name in names)
    except (ValueError, TypeError, KeyError, AttributeError):
        return []  # opening the directory says what is wrong with it


def _cached(repository: str, revision: str | None) -> str | None:
    """Return the cache directory of a repository if its copy is complete."""
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repository, name, revision=revision) for name in (_MODULES, _CONFIG))
    known = next((path for path in found if isinstance(path, str)), None)
    if known is None:
        return None
    folder = Path(known).parent
    modules = _modules(folder)

    def is_there(name: str) -> bool:
        return (folder / name).is_file()

    weights = next(filter(is_there, modules.of_transformer(WEIGHT_FILES)), None)
    if weights is None or not all(map(is_there, [*modules.of_transformer([_CONFIG]), *_weight_files(folder, weights)])):
        return None
    dense = [module for module in modules.folders if _has_weights(folder / module / _CONFIG)]
    return str(folder) if all(modules.weights(module, is_there) for module in dense) else None


def _has_weights(config: Path) -> bool:
    """Whether a module has weights: those with a number of inputs in their configuration do."""
    try:
        return "in_features" in json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _status(error: Exception) -> int | None:
    """Return the HTTP status of the response in an error."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _is_offline(error: Exception) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled

    return isinstance(error, OfflineModeIsEnabled)


def _is_refusal(error: Exception) -> bool:
    """Tell a refusal of the hub, or an invalid repository name, from a hub that does not answer."""
    from huggingface_hub.errors import HFValidationError

    says_no = 400 <= (_status(error) or 0) < 500 and _status(error) not in _TRY_LATER
    return isinstance(error, HFValidationError | _GgufAlone) or says_no


def _explained(error: Exception, repository: str, revision: str | None) -> Exception:
    from huggingface_hub import constants, errors

    if isinstance(error, _GgufAlone):
        return FileNotFoundError(str(error))
    hub = constants.ENDPOINT
    credentials = "give token=..., set HF_TOKEN, or run: hf auth login"
    if isinstance(error, errors.GatedRepoError):
        page = f"{hub}/{repository}"
        return WarmstartError(f"{repository} is gated: ask for access at {page}, then {credentials}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return FileNotFoundError(
            f"{repository}: no such directory, and {hub} has no such model, or it is private: then {credentials}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return FileNotFoundError(f"{repository} has no revision {revision!r}: give a branch, a tag or a commit")
    if isinstance(error, errors.HFValidationError):
        return FileNotFoundError(f"{repository}: no such directory, and no name of a repository: {_cause(error)}")
    if _status(error) in (401, 403):
        return WarmstartError(f"{repository}: {hub} refuses the token ({_cause(error)}); {credentials}")
    if _is_offline(error):
        asked = f"{repository}{f' at revision {revision}' if revision else ''}"
        return WarmstartError(
            f"{asked}: no such directory here, and as a repository it is not whole in the cache "
            f"{constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE forbids to fetch it; open it once without"
        )
    return WarmstartError(
        f"{repository}: no such directory here, and as a repository it could not be fetched from {hub}, and is not "
        f"whole in the cache: {_cause(error)}"
    )


def _cause(error: Exception) -> str:
    """Return the kind of the error and the first line of its message."""
    return f"{type(error).__name__}: {next((line for line in str(error).splitlines() if line.strip()), '')}"


@contextmanager
def _progress_bars(verbose: bool) -> Iterator[Any]:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if verbose or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
