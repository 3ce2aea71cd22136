"""The one-member replica set of an embedded mongod: made at its first start, moved when its port changed.

Commands: replSetInitiate, replSetGetConfig, replSetReconfig (MongoDB manual, "Replication Commands").
"""

from store.mongo import Database, Document, away_as_store_error

NAME = "sluice"


async def settle(database: Database, member: str) -> None:
    """`member` is `host:port` of the mongod that `database` is connected to directly.

    A member that finds its own address nowhere in the configuration takes no part in the set and elects
    nobody: the address is forced into it, which is safe where there is no second member. Raises `StoreAway`.
    """
    admin = database.client.admin
    with away_as_store_error():
        answer: Document = await admin.command("replSetGetConfig", check=False)
        if not answer.get("ok"):
            config = {"_id": NAME, "members": [{"_id": 0, "host": member}]}
            await admin.command("replSetInitiate", config)
        elif (moved := _moved(answer["config"], member)) is not None:
            await admin.command("replSetReconfig", moved, force=True)


def _moved(config: Document, member: str) -> Document | None:
    """None where there is nothing to change, and where others take part too: that set is not ours to bend."""
    members = config["members"]
    if len(members) != 1 or members[0]["host"] == member:
        return None
    return {**config, "version": config["version"] + 1, "members": [{**members[0], "host": member}]}
