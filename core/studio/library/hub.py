"""The Hugging Face Hub: models fetched with progress and pinned by commit, presets pushed and pulled.

Only safetensors, configurations, tokenizers and texts are ever fetched; code of a repository is never run. A token, where
the person has one, is read by the library itself and never shown, logged or kept here.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from core.errors import StudioError
from core.files import cannot_write
from core.offsets.header import file_hash
from core.studio.workspace import Workspace

ALLOWED = (".safetensors", ".json", ".txt", ".model")
_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


@dataclass(frozen=True)
class Progress:
    """Bytes fetched of all bytes; `folder` is set when all is there."""

    done: int
    total: int
    file: str
    folder: Path | None = None


def check_repo_id(repo_id: str) -> str:
    """The id itself.

    Raises:
        StudioError: it is not `owner/name`.
    """
    if not _REPO.fullmatch(repo_id) or ".." in repo_id:
        raise StudioError("“{repo_id}” is not the name of a Hub repository.", "Write owner/name.", repo_id=repo_id[:80])
    return repo_id


def _api() -> Any:
    from huggingface_hub import HfApi, constants, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    home = urlsplit(endpoint).hostname

    def stay_public(request: Any) -> None:
        if request.url.host != home and _is_private(request.url.host):
            raise StudioError(
                "The Hub redirected to “{host}”, an address of this machine or its own network.",
                "Nothing was fetched; check HF_ENDPOINT.",
                host=request.url.host,
            )

    def client() -> Any:
        made = default_client_factory()
        made.event_hooks["request"].append(stay_public)  # called again at every redirect
        return made

    set_client_factory(client)
    return HfApi(endpoint=endpoint)


def _is_private(host: str) -> bool:
    """Whether a name or address leads to anything but the public internet. A name that cannot be resolved here does not:
    a proxy may know it."""
    try:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return any(not ipaddress.ip_address(str(address).partition("%")[0]).is_global for address in addresses)


def _fault_of(error: Exception, repo_id: str) -> StudioError:
    """What a person should know of a fault of the Hub."""
    from huggingface_hub import errors

    if isinstance(error, StudioError):
        return error

    if isinstance(error, errors.GatedRepoError):
        return StudioError(
            "{repo_id} requires you to accept its terms before it can be downloaded.",
            "Visit huggingface.co/{repo_id}, agree, and sign in with `hf auth login`.",
            repo_id=repo_id,
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return StudioError(
            "{repo_id} is not on the Hub, or is private.",
            "Check the name; sign in with `hf auth login` if it is yours.",
            repo_id=repo_id,
        )
    if isinstance(error, errors.RevisionNotFoundError | errors.EntryNotFoundError):
        return StudioError("{repo_id} has no such revision or file.", "Choose another.", repo_id=repo_id)
    if isinstance(error, errors.HfHubHTTPError) and getattr(error, "response", None) is not None:
        code = error.response.status_code
        return StudioError(
            "The Hub answered {code} for {repo_id}.",
            "Try again later." if code in (429, 500, 502, 503) else "Check your token.",
            code=code,
            repo_id=repo_id,
        )
    return StudioError(
        "The Hub cannot be reached for {repo_id}.",
        "Models on this machine still work; try again when online.",
        repo_id=repo_id,
    )


def fetch_model(workspace: Workspace, repo_id: str, revision: str | None = None) -> Iterator[Progress]:
    """Fetches a model into the workspace, file by file; an interrupted download continues.

    Until the last file has arrived and its sha256 is what the Hub says, all of it lies in a hidden folder, so that no list
    shows half a model.

    Args:
        revision: branch, tag or commit; it is pinned to the commit it names now, which is kept beside the model.

    Raises:
        StudioError: no such repository, no safetensors in it, no room, no network, a redirect into a private network, or
            a file that arrived damaged.
    """
    from huggingface_hub import hf_hub_download

    check_repo_id(repo_id)
    try:
        info = _api().repo_info(repo_id, revision=revision, files_metadata=True, timeout=20)
    except Exception as error:
        raise _fault_of(error, repo_id) from error
    files = [(sibling.rfilename, sibling.size or 0) for sibling in info.siblings or []]
    for name, _ in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise StudioError(
                "{repo_id} lists a file outside its folder.", "Do not use this repository.", repo_id=repo_id
            )
    names = {name for name, _ in files}
    wanted = [
        (name, size)
        for name, size in files
        if name.endswith(ALLOWED) and not re.search(r"\.(fp16|non_ema|onnx)\.", name) and name.count("/") <= 2
    ]
    if "model_index.json" in names:  # a pipeline: what its folders hold, not single files beside them
        wanted = [(name, size) for name, size in wanted if "/" in name or not name.endswith(".safetensors")]
    if not any(name.endswith(".safetensors") for name, _ in wanted):
        raise StudioError(
            "{repo_id} has no safetensors weights.",
            "Choose a repository that has them; pickles are not downloaded.",
            repo_id=repo_id,
        )
    total = sum(size for _, size in wanted)
    if total > workspace.free_bytes() - 2**28:
        raise StudioError(
            "{repo_id} needs {total:.1f} GB.",
            "Free {free:.1f} GB.",
            repo_id=repo_id,
            total=total / 1e9,
            free=total / 1e9 + 0.3,
        )
    home = workspace.models if "model_index.json" in names else workspace.offsets
    folder = home / f"{repo_id.replace('/', '--')}@{info.sha[:12]}"
    if folder.exists():
        yield Progress(total, total, "", folder)
        return
    arriving = folder.with_name(f".{folder.name}")
    hashes = {sibling.rfilename: sibling.lfs.sha256 for sibling in info.siblings or [] if sibling.lfs}
    done = 0
    for name, size in wanted:
        yield Progress(done, total, name)
        try:
            hf_hub_download(
                repo_id, name, revision=info.sha, local_dir=arriving, endpoint=os.environ.get("HF_ENDPOINT")
            )
        except Exception as error:
            raise _fault_of(error, repo_id) from error
        if name in hashes and file_hash(arriving / name) != hashes[name]:
            (arriving / name).unlink()
            raise StudioError(
                "“{name}” of {repo_id} did not arrive as the Hub describes it (its sha256 differs).",
                "It was deleted. Fetch it again.",
                name=name,
                repo_id=repo_id,
            )
        done += size
    shutil.rmtree(arriving / ".cache", ignore_errors=True)  # the library's notes on what was interrupted
    try:
        arriving.replace(folder)
    except OSError as error:
        raise cannot_write(folder.name, error) from error
    yield Progress(total, total, "", folder)


def push_preset(repo_id: str, text: str, card: str, *, private: bool = False) -> str:
    """Puts a preset and its card into a repository of the person's; its commit is returned.

    Raises:
        StudioError: no right to write, or no network.
    """
    check_repo_id(repo_id)
    api = _api()
    try:
        api.create_repo(repo_id, repo_type="model", exist_ok=True, private=private)
        from huggingface_hub import CommitOperationAdd

        operations = [
            CommitOperationAdd("preset.json", text.encode("utf-8")),
            CommitOperationAdd("README.md", card.encode("utf-8")),
        ]
        made = api.create_commit(repo_id, operations, commit_message="Preset of Self-NPO Studio")
    except Exception as error:
        raise _fault_of(error, repo_id) from error
    return str(made.oid)


def pull_preset(repo_id: str, revision: str | None = None) -> tuple[str, str]:
    """(text of preset.json, the commit it was read at). Nothing else is fetched.

    Raises:
        StudioError: no such repository or file, a file over 1 MiB, or no network.
    """
    from huggingface_hub import hf_hub_download

    check_repo_id(repo_id)
    try:
        info = _api().repo_info(repo_id, revision=revision, files_metadata=True, timeout=20)
        size = next((s.size or 0 for s in info.siblings or [] if s.rfilename == "preset.json"), None)
        if size is None or size > 2**20:
            raise StudioError(
                "{repo_id} has no preset.json of a valid size.", "Choose another repository.", repo_id=repo_id
            )
        path = hf_hub_download(repo_id, "preset.json", revision=info.sha, endpoint=os.environ.get("HF_ENDPOINT"))
        return Path(path).read_text(encoding="utf-8"), str(info.sha)
    except StudioError:
        raise
    except Exception as error:
        raise _fault_of(error, repo_id) from error
