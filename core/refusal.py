"""Why a message was refused: the reason kept in the dead-letter inbox and told to the device."""


class Refusal(Exception):
    """`code` is for programs; `detail` names the value and the limit; `hint` says what to change."""

    def __init__(self, code: str, detail: str, hint: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.hint = hint


def shown(value: object) -> str:
    """What a device sent, in 64 characters at most; arrays and objects, which may nest deeply, by name."""
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= 64 else text[:61] + "..."
