"""Fetches a published model by its name on the Hugging Face Hub, once, into the Hub's own cache."""

import os
import re

from verifier.errors import UserError

# Other frameworks' weights, and training leftovers, would double the download.
WANTED = ("*.json", "*.txt", "*.model", "*.jinja")
SAFETENSORS, TORCH = ("*.safetensors",), ("pytorch_model*.bin",)


def local_folder(model: str) -> str:
    """The folder of a published model; downloads it if `model` is a name rather than a folder.

    A name is `owner/name` or `owner/name@revision` (a branch, a tag or a commit).

    Raises:
      UserError: `model` is neither, or the Hub does not have it or cannot be reached.
    """
    if os.path.isdir(model):
        return model
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", model)
    if match is None:
        raise UserError(f"--model={model}: no such folder, nor a name of the form owner/model[@revision]")
    name, revision = match.groups()
    # Imported here: huggingface_hub takes half a second, and folders do not need it.
    import huggingface_hub
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        folder = huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=[*WANTED, *SAFETENSORS]
        )
        if not any(name.endswith(".safetensors") for name in os.listdir(folder)):
            folder = huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=[*WANTED, *TORCH]
            )
        return folder
    except HFValidationError as error:
        raise UserError(f"--model={model}: no such folder here, nor a name on the Hub: {error}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        if isinstance(error, HfHubHTTPError) and error.response is not None:
            reason = f"the Hub answered: {error}"
        else:
            reason = f"the Hub could not be reached ({type(error).__name__})"
        raise UserError(
            f"--model={model}: no such folder here, and {reason}. Fetch the model's files where there is a "
            "network (`hf download OWNER/MODEL --local-dir DIR`) and give that folder."
        ) from error
