"""Everything that the databases can refuse.

StoreError
├── StoreAway      the database cannot be reached, or cannot promise a majority: try again later
├── Conflict       a unique key is taken; carries the key
└── VersionMismatch the document changed since it was read
"""


class StoreError(Exception):
    """Base of this package's errors."""


class StoreAway(StoreError):
    """The database cannot be reached or cannot commit now; nothing may be assumed of the last write."""


class Conflict(StoreError):
    """An object with this key exists."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!r} exists")
        self.key = key


class VersionMismatch(StoreError):
    """The object is at another version than the one that the caller read."""

    def __init__(self, found: int) -> None:
        super().__init__(f"the object is at version {found}")
        self.found = found
