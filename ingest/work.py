"""One message on its way through ingest, from the delivery to its fate."""

import hashlib

import msgspec

from broker.connection import Connection
from core.payload import READERS, Reading, StatusReport, find_seqs, read_status
from core.refusal import Refusal
from core.topics import Address, TopicError, Uplink, parse_uplink
from store.fleet import KnownDevice
from store.writes import Entry, Fate


class Message(msgspec.Struct, gc=False):
    """What arrived, as the spool keeps it too. `received` in ms.

    `identity` is the packet id, which the broker keeps when it delivers again, above it the session's number;
    below zero at QoS 0, where it never does. `since`: 0 where nobody tried to store it before; else an
    earlier attempt may have done so, under a server time (ms) not before that.
    """

    topic: str
    payload: bytes
    received: int
    identity: int
    since: int
    retain: bool

    @property
    def maybe_seen(self) -> bool:
        return self.since > 0

    def tried(self) -> None:
        """Its fate is unknown from now on: the attempt to store it may have succeeded."""
        self.since = self.since or self.received

    @property
    def packet_id(self) -> int:
        """0 at QoS 0, which wants no ack."""
        return self.identity & 0xFFFF if self.identity > 0 else 0

    def delivery(self, index: int = 0) -> int:
        """64 bits (signed, as BSON has them) that a second delivery of the same message shares."""
        text = f"{self.identity}/{index}/{self.topic}/".encode()
        digest = hashlib.blake2b(text + self.payload, digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)


class Work(msgspec.Struct, gc=False):
    """A message and what is known of it so far; `refusal` is set where it goes to the dead letters.

    `counts`: it carries a `seq`, so the device wants a receipt.
    """

    message: Message
    origin: Connection | None = None  # None: it came from the spool, the broker has its ack
    address: Address | None = None
    readings: list[Reading] = []
    status: StatusReport | None = None
    device: KnownDevice | None = None
    entries: list[Entry] = []
    refusal: Refusal | None = None
    is_new_status: bool = False
    counts: bool = False

    def reset(self) -> None:
        """Forgets an attempt that MongoDB did not confirm."""
        self.address, self.status, self.device, self.refusal = None, None, None, None
        self.readings, self.entries, self.is_new_status, self.counts = [], [], False, False

    @property
    def kind(self) -> Uplink | None:
        return self.address.kind if self.address else None

    @property
    def is_void(self) -> bool:
        """An empty status takes a retained one back (3.3.1.3); it says nothing of the device."""
        return self.kind is Uplink.STATUS and not self.message.payload

    @property
    def fate(self) -> str:
        """stored, merged or dead: as told in receipts and counted in the ledger."""
        if self.refusal is not None:
            return "dead"
        if self.is_new_status:
            return "stored"
        for entry in self.entries:
            if entry.fate is Fate.STORED:
                return "stored"
        return "merged"

    @property
    def seqs(self) -> list[tuple[int, bool]]:
        """The counters that the message carries; False for one known to have been settled before."""
        if self.refusal is not None:
            return [(seq, True) for seq in find_seqs(self.message.payload)]
        if not self.counts:
            return []
        return [
            (reading.seq, entry.fate is Fate.STORED or self.message.maybe_seen)
            for reading, entry in zip(self.readings, self.entries, strict=True)
            if reading.seq is not None
        ]


def read(work: Work) -> None:
    """Topic and payload into address and readings, or the refusal."""
    message = work.message
    try:
        work.address = parse_uplink(message.topic)
        if work.is_void:
            return
        if work.address.kind is Uplink.STATUS:
            work.status = read_status(message.payload)
        elif reader := READERS.get(work.address.kind):
            work.readings = reader(message.payload, message.received)
        else:
            work.refusal = Refusal("not_supported", f"nothing takes {work.address.kind} yet")
    except TopicError as error:
        work.refusal = Refusal("bad_topic", str(error))
    except Refusal as refusal:
        work.refusal = refusal


def enter(work: Work, device: KnownDevice) -> None:
    """Readings into entries of the resolved device."""
    work.device = device
    for index, reading in enumerate(work.readings):
        entry = Entry(device.key, reading.ts, reading.values, reading.device_ts)
        if reading.server:
            entry.ts = device.stamp(reading.ts)
            entry.delivery = work.message.delivery(index)
        if reading.seq is not None:
            work.counts = True
        work.entries.append(entry)
