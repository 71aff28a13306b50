"""What made a file, and whether work already done can stand."""

import logging
import os
from pathlib import Path

from slidenet.core.errors import IdentityMismatchError
from slidenet.core.provenance import Identity, JsonValue, describe_difference, identity_hash
from slidenet.core.window_rule import RULE, without_idle_rule
from slidenet.stores.atomic import output_errors
from slidenet.stores.features.spool import remove_spools
from slidenet.stores.h5 import schema
from slidenet.stores.h5.ancestors import made_from
from slidenet.stores.h5.attributes import read_attribute, read_identity
from slidenet.stores.h5.file import open_h5
from slidenet.stores.h5.validate import check_format, check_name

_log = logging.getLogger(__name__)


def identity_of(path: str | os.PathLike[str]) -> dict[str, JsonValue]:
    """The identity a file of ours carries: every setting that made it.

    Raises:
        StoreError: The file is missing, broken or not ours.
    """
    path = Path(path)
    with open_h5(path) as h5:
        check_format(h5, path)
        return read_identity(h5[schema.GROUP], path)


def existing_output(
    path: str | os.PathLike[str],
    identity: Identity,
    fingerprint: str,
    *,
    input_digest: str | None = None,
) -> bool:
    """Whether the finished file at `path` is the one these settings and this slide would make.

    A kill may strike between the finished file and the removal of its partial rows; such left
    overs are removed here.

    Args:
        path: Where the output would be written.
        identity: The settings asked for now.
        fingerprint: Content fingerprint of the slide asked for now.
        input_digest: Digest of the file it would be made from now; None where that is not known.

    Returns:
        True where it can be kept as it is; False where there is none, or where it was made with
        these settings from an input that has been replaced since.

    Raises:
        IdentityMismatchError: It was made with other settings or from another slide.
        StoreError: It is broken or not ours.
    """
    path = Path(path)
    if not os.path.lexists(path):
        return False
    with open_h5(path) as h5:
        check_format(h5, path)
        group = h5[schema.GROUP]
        found = read_identity(group, path)
        found_hash = read_attribute(group, "recipe_hash", str, path)
        found_fingerprint = read_attribute(group, "slide_fingerprint", str, path)
        slide_id = read_attribute(group, "slide_id", str, path)
        check_name(path, slide_id)
        known = None if input_digest is None else made_from(h5, path)
    remedy = "choose another output folder, or pass --overwrite to replace it"
    if found_fingerprint != fingerprint:
        raise IdentityMismatchError(
            f"{path} was made from another slide file ({found_fingerprint} -> {fingerprint})",
            remedy=remedy,
            slide=slide_id,
        )
    # Files of older versions lack a mark that changes no number.
    bare = without_idle_rule(found), without_idle_rule(identity)
    alike = identity_hash(bare[0]) == identity_hash(bare[1])
    if found_hash != identity_hash(found if alike else identity):
        difference = describe_difference(*bare)
        if RULE in difference:
            remedy += f", or give the attention {RULE}='half', the meaning of older files"
        raise IdentityMismatchError(
            f"{path} was made with other settings ({difference})",
            remedy=remedy,
            slide=slide_id,
        )
    if input_digest != known:
        _log.warning("%s is made again: what it was made from has been replaced since", path)
        return False
    with output_errors(path):
        remove_spools(path)
    return True
