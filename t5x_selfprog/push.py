"""`--push=ORG/NAME`: uploads an exported folder as a repository on the Hugging Face Hub.

Everything that can be checked is checked before the export begins: the name, the login, the right to write there, the
network. A repository made for it is private; its owner decides whether to make it public.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal

from verifier.errors import UserError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Kind = Literal["model", "dataset"]
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def require_allowed(target: str) -> None:
    """Raises UserError if nothing could be pushed to `target`, written ORG/NAME."""
    if not _NAME.fullmatch(target) or "--" in target or ".." in target:
        raise UserError(f"--push={target}: write ORG/NAME, the owner and the name of a repository on the Hub")
    from huggingface_hub import get_token

    if not get_token():
        raise UserError(
            f"--push={target}: nobody is logged in to the Hub here; `hf auth login` does that, or HF_TOKEN=... in the "
            "environment"
        )
    who = _asked(target, lambda api: api.whoami())
    owner = target.partition("/")[0]
    known = [str(who["name"]), *(str(org["name"]) for org in who.get("orgs", ()))]
    if owner.lower() not in {name.lower() for name in known}:
        raise UserError(
            f"--push={target}: you are logged in as {known[0]}, and {owner} is none of {', '.join(known)}, who you may "
            "push as"
        )


def push(folder: str, target: str, kind: Kind, message: str) -> str:
    """Uploads a folder as one commit; returns the address. A repeated push is one more commit, of what has changed."""

    def upload(api: HfApi) -> str:
        made = api.create_repo(target, repo_type=kind, private=True, exist_ok=True)
        api.upload_folder(repo_id=target, repo_type=kind, folder_path=folder, commit_message=message)
        return str(made)

    return str(_asked(target, upload, kept=folder))


def _asked(target: str, what: Any, kept: str = "") -> Any:
    """The Hub's answer; its refusals and network failures become errors that say what to do."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    later = f"; {kept} is complete: `hf upload {target} {kept} .` sends it later" if kept else ""
    try:
        return what(HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None))
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no status"
        remedy = {401: "the token is not valid (any more): `hf auth login`", 403: "the token may not write there"}.get(
            status, str(error).strip().partition("\n")[0]
        )  # fmt: skip
        raise UserError(f"--push={target}: the Hub answered {status}: {remedy}{later}") from error
    except Exception as error:
        if not _of_network(error):
            raise
        raise UserError(
            f"--push={target}: the Hub could not be reached ({type(error).__name__}); push where there is a network"
            + later
        ) from error


def _of_network(error: Exception) -> bool:
    """Whether the network failed; releases of huggingface_hub differ in the library they use for it."""
    names = {base.__name__ for base in type(error).__mro__}
    return isinstance(error, OSError) or bool(names & {"TransportError", "RequestException"})
