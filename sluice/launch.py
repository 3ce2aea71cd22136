"""Run as a script before each child: `launch.py PARENT PROGRAM [ARGUMENT…]` becomes PROGRAM.

It asks the kernel (prctl(2), PR_SET_PDEATHSIG) for SIGTERM when the supervisor is gone, so that nothing
outlives a kill -9 of it. A step of its own, since Python cannot safely run code between fork and exec.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:  # else it is gone already, and the kernel's promise came too late
        os.execv(program[0], program)  # noqa: S606 - the supervisor's own command line


if __name__ == "__main__":
    main()
