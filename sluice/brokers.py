"""Which broker to run: the one that is set, else Mosquitto where it is installed, else amqtt."""

from broker import mosquitto
from broker.mosquitto import Installation, MosquittoError
from config.settings import Settings
from sluice.errors import BinaryError


def choose(settings: Settings) -> str:
    """`mosquitto` or `amqtt`; raises `BinaryError` where Mosquitto is set and not installed."""
    if "kind" not in settings.broker.model_fields_set:
        return "mosquitto" if _is_here() else "amqtt"
    if settings.broker.kind == "mosquitto":
        mosquitto_here()
    return settings.broker.kind


def mosquitto_here() -> Installation:
    """Mosquitto and its plugin; raises `BinaryError`."""
    try:
        return mosquitto.installation()
    except MosquittoError as error:
        raise BinaryError(str(error)) from error


def _is_here() -> bool:
    try:
        mosquitto_here()
    except BinaryError:
        return False
    return True
