"""What the command line refuses, with a message for the person who typed it.

SluiceError
├── UpError      the stack cannot start, or is running already
├── BinaryError  a program is missing, or is there and cannot run
├── InitError    the databases cannot be prepared
└── SettingError a process cannot run with the settings that it was given
"""


class SluiceError(Exception):
    """Base of this package's errors."""


class UpError(SluiceError):
    """The stack cannot start; the message names the part and what it said last."""


class BinaryError(SluiceError):
    """The message names the program, where it was found and its own words."""


class InitError(SluiceError):
    """The message names the database and what it answered."""


class SettingError(SluiceError):
    """The message names the setting and the limit."""
