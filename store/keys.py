"""Keys of the clustered collections: 12 bytes of device, 8 bytes of time in ms, big endian, unsigned.

Big-endian bytes sort as the numbers do, so a device's readings lie together in the order of time and a range
of time is a range of keys. Events add 8 bytes of hash, since two of them may share a millisecond; BSON orders
binary values by length first, so bounds of a range over events need that length too.
"""

import hashlib
import struct

from bson import ObjectId

_pack = struct.Struct(">Q").pack
END_OF_TIME = 2**64 - 1


def key(device: ObjectId, ts_ms: int) -> bytes:
    """The `_id` of a reading or a heartbeat."""
    return below(device.binary, ts_ms)


def below(device: bytes, ts_ms: int) -> bytes:
    """The same of the device's 12 bytes, which ingest keeps ready."""
    return device + _pack(ts_ms)


def event_key(device: ObjectId, ts_ms: int, payload: bytes) -> bytes:
    return device.binary + _pack(ts_ms) + hashlib.blake2b(payload, digest_size=8).digest()


def ts_of(raw: bytes) -> int:
    """Milliseconds since 1970 of a key."""
    return int.from_bytes(raw[12:20], "big")


def device_range(device: ObjectId, from_ms: int = 0, to_ms: int = END_OF_TIME) -> dict[str, bytes]:
    """A filter on `_id`: the device's documents with `from_ms` <= ts < `to_ms`."""
    return {"$gte": key(device, from_ms), "$lt": key(device, to_ms)}
