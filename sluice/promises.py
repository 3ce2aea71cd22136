"""What each broker can promise of a message that it acknowledged and that ingest has not yet taken."""

MOSQUITTO = (
    "what it acknowledged to a device survives a clean stop; a kill -9 of it or a power cut loses at most "
    "about the last second of what waits inside it"
)
MOSQUITTO_SAVING = "what it acknowledged to a device survives a kill -9 of it; about 75 times slower"
AMQTT = (
    "what it acknowledged to a device waits in memory only: the end of its process loses what ingest has not "
    "taken yet. MQTT 3.1.1 only. Install Mosquitto for more"
)


def of(kind: str, autosave_on_changes: bool) -> str:
    """`kind`: mosquitto or amqtt."""
    if kind == "amqtt":
        return AMQTT
    return MOSQUITTO_SAVING if autosave_on_changes else MOSQUITTO
