"""Weights in repositories of the Hugging Face hub, its cache, and its errors in plain words."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from slidenet.core.errors import MissingWeightsError

CHECK_TIMEOUT_S = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HubWeights:
    """Weights in a Hugging Face model repository.

    Attributes:
        repo_id: `owner/name`.
        revision: Commit or branch; a commit where one is known to be right.
        filenames: Names tried in order; the first that the repository holds is taken.
        gated: Whether access must be requested on the model's page.
    """

    repo_id: str
    revision: str = "main"
    filenames: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")
    gated: bool = False

    @property
    def page(self) -> str:
        """Where a person reads the terms and requests access."""
        return f"https://huggingface.co/{self.repo_id}"


def cached_file(source: HubWeights) -> Path | None:
    """The file in the hub cache of this machine, where it is there."""
    import huggingface_hub

    for filename in source.filenames:
        found = huggingface_hub.try_to_load_from_cache(
            source.repo_id, filename, revision=source.revision
        )
        if isinstance(found, str):
            return Path(found)
    return None


def download(source: HubWeights, *, name: str, flag: str = "--weights", also: str = "") -> Path:
    """The file in the hub cache, brought there first if it is not there yet.

    Args:
        source: Where it is published.
        name: The encoder it belongs to, for messages.
        flag: The option that takes a local file instead, for messages.
        also: One more remedy for messages, if there is one.

    Raises:
        MissingWeightsError: It is neither cached nor reachable, or access is not granted.
    """
    import huggingface_hub

    def fetch(filename: str) -> Path:
        return Path(
            huggingface_hub.hf_hub_download(source.repo_id, filename, revision=source.revision)
        )

    return cached_file(source) or _first_file(source, fetch, name=name, flag=flag, also=also)


def size_on_hub(source: HubWeights, *, name: str, flag: str = "--weights") -> int:
    """Size of the file in bytes (0 where the hub does not say); nothing is downloaded.

    Gives up after `CHECK_TIMEOUT_S` seconds.

    Args:
        source: Where it is published.
        name: The encoder it belongs to, for messages.
        flag: The option that takes a local file instead, for messages.

    Raises:
        MissingWeightsError: It is not reachable, or access is not granted.
    """
    import huggingface_hub

    def ask(filename: str) -> int:
        url = huggingface_hub.hf_hub_url(source.repo_id, filename, revision=source.revision)
        metadata = huggingface_hub.get_hf_file_metadata(
            url, token=huggingface_hub.get_token(), timeout=CHECK_TIMEOUT_S
        )
        return metadata.size or 0

    return _first_file(source, ask, name=name, flag=flag)


def _first_file(
    source: HubWeights, use: Callable[[str], T], *, name: str, flag: str, also: str = ""
) -> T:
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with hub_errors(source, name=name, flag=flag, also=also):
        for filename in source.filenames:
            try:
                return use(filename)
            except LocalEntryNotFoundError:  # out of reach; the next name would be, too
                raise
            except EntryNotFoundError:
                continue
    raise MissingWeightsError(
        f"{source.repo_id} holds no file {' or '.join(source.filenames)} for {name!r}",
        remedy=f"look at {source.page} for the weights and pass them as {flag}",
    )


@contextmanager
def hub_errors(
    source: HubWeights, *, name: str, flag: str = "--weights", also: str = ""
) -> Iterator[None]:
    """Turns what the hub client raises into `MissingWeightsError` with the remedy that fits.

    Args:
        source: What is being asked for.
        name: The encoder it belongs to.
        flag: The option that takes a local file instead.
        also: One more remedy, if there is one.
    """
    from huggingface_hub import errors

    # Base of the errors of a connection, too: httpx's in version 1 of the client, httpx2's in 2.
    http_error: type[Exception] = errors.HfHubHTTPError.__bases__[0]
    revision = "" if source.revision == "main" else f" --revision {source.revision}"
    elsewhere = (
        f"or, on a machine with access, run `hf download {source.repo_id} {source.filenames[0]}"
        f"{revision}` and pass the file as {flag}{f'; {also}' if also else ''}"
    )
    request = f"request access at {source.page}, then run `hf auth login` or set HF_TOKEN"
    try:
        yield
    except errors.RepositoryNotFoundError as error:  # also the parent of GatedRepoError
        raise MissingWeightsError(
            f"the hub does not give access to {source.repo_id}, the weights of {name!r}",
            remedy=f"{request} to a token of that account, {elsewhere}",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise MissingWeightsError(
            f"the hub has no revision {source.revision} of {source.repo_id}",
            remedy=f"update slidenet, or pass the weights of that revision as {flag}",
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        first = f"go online ({request}), " if source.gated else "go online, "
        raise MissingWeightsError(
            f"the weights of {name!r} are not in the hub cache and the hub is out of reach "
            f"({_reason(error)})",
            remedy=f"{first}{elsewhere}",
        ) from error
    except (OSError, http_error) as error:
        raise MissingWeightsError(
            f"the weights of {name!r} could not be fetched from {source.repo_id} "
            f"({_reason(error)})",
            remedy=f"check connection and free disk and try again, {elsewhere}",
        ) from error


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
