"""What the header of a JPEG 2000 codestream says about its colours."""

_SIZ, _COD = b"\xff\x4f\xff\x51", 0x52


def has_colour_transform(stream: bytes) -> bool:
    """Whether a codestream says that its components are RGB, transformed within it.

    Args:
        stream: The start of a codestream, in a file of boxes or alone.
    """
    place = stream.find(_SIZ) + 2
    while place >= 2 and place + 9 <= len(stream) and stream[place] == 0xFF:
        if stream[place + 1] == _COD:
            return stream[place + 8] == 1
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return False
