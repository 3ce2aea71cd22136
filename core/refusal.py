"""Why a message was refused: the reason kept in the dead-letter inbox and told to the device."""


class Refusal(Exception):
    """`code` is for programs; `detail` names the value and the limit; `hint` says what to change."""

    def __init__(self, code: str, detail: str, hint: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.hint = hint
