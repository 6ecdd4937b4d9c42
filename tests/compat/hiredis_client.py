"""Compiles hiredis_client.c with the compiler and the hiredis of this machine and runs it; its last line counts."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def build(folder):
    """The path of the program, or None after the compiler has said why not."""
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "hiredis", "libuv"], capture_output=True, text=True)
    program = os.path.join(folder, "hiredis_client")
    argv = [os.environ.get("CC", "cc"), "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-o", program]
    done = subprocess.run(argv + [os.path.join(HERE, "hiredis_client.c")] + flags.stdout.split())
    return program if flags.returncode == 0 and done.returncode == 0 else None


def main():
    with tempfile.TemporaryDirectory(prefix="keyway-hiredis-") as folder:
        program = build(folder)
        if program is None:
            print("0 passed, 1 failed, 0 skipped")
            return 1
        return subprocess.run([program]).returncode


if __name__ == "__main__":
    sys.exit(main())
