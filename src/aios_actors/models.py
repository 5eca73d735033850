"""Finds the GGUF of each model that a config uses: in the package, on this machine, or on the Hugging Face Hub.

Contract: `resolve_models` returns existing files or raises `ModelError`, whose message is for the user. Files of the
Hub lie in huggingface_hub's own cache (HF_HOME), so other programs share them; HF_ENDPOINT and HF_HUB_OFFLINE work,
since huggingface_hub reads them. Without a network what is cached is used. A GGUF that was split into parts counts as
one model, and all its parts are fetched.
"""

import os
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from aios_actors.config.mistakes import suggest
from aios_actors.config.model_files import file_problem, local_path
from aios_actors.config.structs import Config, ModelConfig

Report = Callable[[str], None]

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_SHOWN = 8
TIMEOUT_S = 15.0


class ModelError(Exception):
    """Raised when a model's file cannot be had; the message says why and what to do."""


def resolve_models(config: Config, folder: Path, report: Report) -> dict[str, Path]:
    """Files of all models that have a worker.

    Args:
        config: a checked config.
        folder: the config's folder, which `path` is relative to.
        report: gets a line for each thing worth telling, such as a download that begins.

    Raises:
        ModelError: for the first one that cannot be had.
    """
    names = dict.fromkeys(worker.model for worker in config.workers)
    return {name: resolve(name, config.models[name], folder, report) for name in names}


def resolve_adapters(config: Config, folder: Path) -> dict[str, dict[str, Path]]:
    """Files of the LoRA adapters of each model, by name.

    Args:
        config: a checked config.
        folder: the config's folder, which they are relative to.
    """
    return {
        name: {adapter: folder / Path(file).expanduser() for adapter, file in model.adapters.items()}
        for name, model in config.models.items()
    }


def resolve(name: str, model: ModelConfig, folder: Path, report: Report) -> Path:
    """File of one model; the first part of one that is split.

    Raises:
        ModelError: it cannot be had.
    """
    path = local_path(model, folder)
    if path is None:
        path = _from_hub(name, model, os.environ, report)
    if problem := file_problem(path):
        raise ModelError(f"model {name}: {problem}")
    return path


def choose(files: list[str], pattern: str) -> list[str]:
    """The parts, in order, of the one model among `files` that fits `pattern`.

    Raises:
        ModelError: none fits, or more than one model does, or a part is missing.
    """
    models: dict[str, list[str]] = {}
    for file in sorted(files):
        if fnmatchcase(file, pattern) or fnmatchcase(file.rpartition("/")[2], pattern):
            models.setdefault(_PART.sub("", file), []).append(file)
    if not models:
        ggufs = [file for file in files if file.endswith(".gguf")]
        raise ModelError(f'no file fits "{pattern}"{suggest(pattern, ggufs)}')
    if len(models) > 1:
        shown = ", ".join([*models][:_SHOWN]) + (", ..." if len(models) > _SHOWN else "")
        raise ModelError(f'"{pattern}" fits {len(models)} models: {shown}; make `file` fit one')
    (parts,) = models.values()
    if split := _PART.search(parts[0]):
        # A pattern may name the first part only; the others belong to it all the same.
        stem, total = parts[0][: split.start()], split[2]
        parts = [f"{stem}-{number:05}-of-{total}.gguf" for number in range(1, int(total) + 1)]
        if missing := sorted(set(parts) - set(files)):
            raise ModelError(f"{missing[0]} is missing in the repository; the model is not whole")
    return parts


def _from_hub(name: str, model: ModelConfig, environ: Mapping[str, str], report: Report) -> Path:
    """Downloads what is not cached yet. huggingface_hub is imported here: it reads its environment at import, and
    costs a start that needs no download nothing."""
    import huggingface_hub
    from huggingface_hub import constants, errors

    token: str | bool = (environ.get(model.token_env) or False) if model.token_env else False
    where = f"model {name}: {model.hf}" + (f" at {model.revision}" if model.revision != "main" else "")
    endpoint = constants.ENDPOINT
    try:
        # Of the Hub's two ways to list files this is the one that does not retry for 20 s when there is no network.
        info = huggingface_hub.HfApi().model_info(model.hf, revision=model.revision, token=token, timeout=TIMEOUT_S)
        parts = choose([each.rfilename for each in info.siblings or ()], model.file)
        missing = [
            part for part in parts if not huggingface_hub.try_to_load_from_cache(model.hf, part, revision=info.sha)
        ]
        if missing:
            report(f"{where}: downloading {', '.join(missing)}")
        paths = [
            huggingface_hub.hf_hub_download(model.hf, part, revision=model.revision, token=token) for part in parts
        ]
        return Path(paths[0])
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    except errors.GatedRepoError as error:
        raise ModelError(f"{where} asks for its licence to be accepted; do that at {endpoint}/{model.hf}, then give "
                         "token_env the name of the environment variable with your token") from error  # fmt: skip
    except errors.RepositoryNotFoundError as error:
        private = "" if model.token_env else " (a private one needs token_env)"
        raise ModelError(f"{where}: no such repository at {endpoint}{private}") from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{where}: the repository has no such revision") from error
    except Exception as error:
        if not _is_network_failure(error):
            raise ModelError(f"{where} cannot be had from {endpoint}: {error}") from error
        return _from_cache(where, model, f"{endpoint} cannot be reached ({_root(error)})", report)


def _from_cache(where: str, model: ModelConfig, why: str, report: Report) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        snapshot = Path(huggingface_hub.snapshot_download(model.hf, revision=model.revision, local_files_only=True))
        files = [str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file()]
        first = choose(files, model.file)[0]
    except (errors.LocalEntryNotFoundError, ModelError) as error:
        raise ModelError(f"{where}: {why}, and it is not in the cache; connect, or use path = ...") from error
    report(f"{where}: {why}; using the cached {first}")
    return snapshot / first


def _is_network_failure(error: BaseException) -> bool:
    """Whether no answer came at all. The HTTP client below huggingface_hub changes its module between versions, so its
    errors are told by the name of their base."""
    names = {base.__name__ for each in _chain(error) for base in type(each).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "TimeoutError"})


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in found:
        found.append(link)
        link = link.__cause__ or link.__context__
    return found


def _root(error: BaseException) -> str:
    return str(_chain(error)[-1]).splitlines()[0] or type(error).__name__
