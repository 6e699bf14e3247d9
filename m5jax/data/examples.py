"""tf.Examples read in place: parsing copies every byte twice, and of a record nearly all bytes are media.

The encoding is that of protocol buffers (protobuf.dev/programming-guides/encoding): an Example is one field, its
features; they are a map, entry by entry a name and a value; a value is one field, its list; a list is its items.
"""

from collections.abc import Collection

_LARGE = 1024  # bytes of a feature that is worth the walk
_MESSAGE, _VALUE = 0x0A, 0x12  # field 1, field 2; both with their size before them


def apart(data: bytes, names: Collection[str]) -> tuple[dict[str, memoryview], bytes]:
    """The large features of these names in place, and all others as a serialised `Features`, for the parser.

    A large one is a list of a single byte string; what is anything else is left to the parser.

    Raises:
      ValueError: it is no tf.Example, or a part of one.
    """
    view, large, rest = memoryview(data), {}, []
    try:
        size, position = _field(data, 0, _MESSAGE)
        if position + size != len(data):
            raise ValueError(f"no tf.Example: {len(data)} bytes, of which features are {size}")
        while position < len(data):
            start = position
            size, position = _field(data, position, _MESSAGE)  # an entry of the map
            end = position + size
            name, payload = _first(data, position, names) if size > _LARGE else ("", slice(0, 0))
            if name and payload.stop == end:
                large[name] = view[payload]
            else:
                rest.append(view[start:end])
            position = end
    except IndexError as error:
        raise ValueError("no tf.Example: it ends inside a field") from error
    return large, b"".join(rest)


def _first(data: bytes, position: int, names: Collection[str]) -> tuple[str, slice]:
    """Name and first byte string of the map's entry at a position, if it is one of these names."""
    size, position = _field(data, position, _MESSAGE)  # the key
    name, position = data[position : position + size].decode(), position + size
    if name not in names:
        return "", slice(0, 0)
    for tag in (_VALUE, _MESSAGE, _MESSAGE):  # the value, its list of bytes, the first of them
        size, position = _field(data, position, tag)
    return name, slice(position, position + size)


def _field(data: bytes, position: int, tag: int) -> tuple[int, int]:
    """Size and place of the content of a field: a tag, a varint, so many bytes."""
    if data[position] != tag:
        raise ValueError(f"no tf.Example: {data[position]} at byte {position} is not {tag}")
    position += 1
    size = shift = 0
    while (byte := data[position]) > 127:
        size |= (byte & 127) << shift
        shift += 7
        position += 1
    return size | byte << shift, position + 1
