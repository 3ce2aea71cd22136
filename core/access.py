"""Who may publish and read which topic: the rules that every broker is configured from and tested against.

Default deny. A device publishes below its own prefix and reads its own downlinks; our own processes use the
whole tree. `$SYS`, foreign wildcards and anything not named here are refused.
"""

from core.topics import ROOT, Uplink, is_slug

SERVICE = "_service"  # ingest, api, jobs
CONTROL = "_control"  # provisioning of devices on the running broker

# Below a device's own prefix `v1/{org}/{device}/`; `+` stands for one level, as in MQTT.
DEVICE_PUBLISHES = tuple(Uplink)
DEVICE_READS = ("cmd/+", "desired", "receipt", "error")


def may_publish(username: str, topic: str) -> bool:
    """True where `username` may publish to the concrete `topic`, as a message or as a will."""
    if username == SERVICE:
        return topic.startswith(f"{ROOT}/")
    return _is_device(username) and any(
        _covers(f"{ROOT}/{username}/{tail}", topic) for tail in DEVICE_PUBLISHES
    )


def may_subscribe(username: str, topic_filter: str) -> bool:
    """True where every topic that `topic_filter` matches is one that `username` may read."""
    if username == SERVICE:
        shared = topic_filter.split("/", 2)
        plain = shared[2] if shared[0] == "$share" and len(shared) == 3 else topic_filter
        return plain.startswith(f"{ROOT}/")
    return _is_device(username) and any(
        _covers(f"{ROOT}/{username}/{tail}", topic_filter) for tail in DEVICE_READS
    )


def may_receive(username: str, topic: str) -> bool:
    """True where a message on the concrete `topic` may be handed to `username`."""
    if username == SERVICE:
        return topic.startswith(f"{ROOT}/")
    return _is_device(username) and any(_covers(f"{ROOT}/{username}/{tail}", topic) for tail in DEVICE_READS)


def _is_device(username: str) -> bool:
    """Two slugs: a wildcard in a user name would stand for the devices of others."""
    org, _, device = username.partition("/")
    return is_slug(org) and is_slug(device)


def _covers(allowed: str, asked: str) -> bool:
    """`allowed` (levels, `+`) matches everything that `asked` (a topic, or a filter with `+`) can match."""
    if "#" in asked:
        return False
    levels, wanted = allowed.split("/"), asked.split("/")
    return len(levels) == len(wanted) and all(a in ("+", w) for a, w in zip(levels, wanted, strict=True))
