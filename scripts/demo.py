#!/usr/bin/env python3
"""The demo: about 200 MB of mixed data from a real Redis to a real Valkey, copied and verified.

Both servers are started on free loopback ports, without persistence, and are gone afterwards. Run it
by `make demo`, which builds keyferry and installs the servers first.
"""

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEYFERRY = ROOT / "target" / "release" / "keyferry"
SOURCE = ROOT / "target" / "servers" / "redis62" / "redis-server"
TARGET = ROOT / "target" / "servers" / "valkey91" / "valkey-server"
SEED = 20260101
PIPELINE = 200


class Server:
    """A server on a free port; its files live in a directory that is removed with it."""

    def __init__(self, binary):
        self.directory = tempfile.TemporaryDirectory(prefix="keyferry-demo-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [str(binary), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", "--dir", self.directory.name],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait()

    def wait(self):
        for _ in range(200):
            try:
                client = Client(self.port)
                client.commands([(b"PING",)])
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"the server on port {self.port} does not answer")

    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()


class Client:
    """Just enough of the protocol to load data: commands go out, replies are one line each."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.replies = self.socket.makefile("rb")

    def commands(self, commands):
        out = bytearray()
        for command in commands:
            out += b"*%d\r\n" % len(command)
            for argument in command:
                argument = argument if isinstance(argument, bytes) else str(argument).encode()
                out += b"$%d\r\n%s\r\n" % (len(argument), argument)
        self.socket.sendall(out)
        for command in commands:
            line = self.replies.readline()
            if line.startswith(b"-") or not line:
                raise SystemExit(f"loading failed: {command[0]!r} answered {line!r}")
            if line.startswith(b"$"):
                self.replies.read(int(line[1:]) + 2)


def mixed_data(rng):
    """Commands that fill three databases: strings, hashes, lists, sets, sorted sets and streams."""
    pool = rng.randbytes(1 << 20)

    def text(size):
        start = rng.randrange(len(pool) - size)
        return pool[start:start + size]

    yield 0, [("SET", f"page:{n}", text(2000), *(("EX", rng.randrange(600, 86400)) if n % 3 == 0 else ()))
              for n in range(72_000)]
    yield 0, [("HSET", f"user:{n}", "name", text(20).hex(), "mail", text(24).hex(), "seen", n,
               "about", text(300)) for n in range(40_000)]
    yield 1, [("RPUSH", f"queue:{n}", *(text(80) for _ in range(40))) for n in range(5_000)]
    yield 1, [("SADD", f"tags:{n}", *(rng.randrange(10**6) for _ in range(30))) for n in range(15_000)]
    yield 1, [("ZADD", f"ranking:{n}", *(part for i in range(50) for part in (rng.random(), f"player:{i}")))
              for n in range(6_000)]
    yield 7, [("XADD", f"events:{n % 500}", "*", "kind", n % 9, "body", text(120)) for n in range(40_000)]
    yield 7, [("XGROUP", "CREATE", f"events:{n}", "workers", 0) for n in range(500)]
    yield 7, [("SET", b"bin\x00\xff\n", bytes(range(256))), ("SET", "", "a key without a name"),
              ("SET", "large", text(1 << 19) * 18)]


def load(server):
    rng = random.Random(SEED)
    client = Client(server.port)
    for database, commands in mixed_data(rng):
        client.commands([("SELECT", database)])
        for start in range(0, len(commands), PIPELINE):
            client.commands(commands[start:start + PIPELINE])


def main():
    for needed in (KEYFERRY, SOURCE, TARGET):
        if not needed.exists():
            raise SystemExit(f"{needed.relative_to(ROOT)} is missing; run `make demo`")
    source, target = Server(SOURCE), Server(TARGET)
    try:
        print("Loading about 200 MB of mixed data into a Redis 6.2 ...", flush=True)
        load(source)
        command = [str(KEYFERRY), source.url(), target.url()]
        print("$ keyferry", *command[1:], flush=True)
        done = subprocess.run(command)
        if done.returncode != 0:
            return done.returncode
        print("\nThe same again: the target holds keys now, so keyferry refuses to guess.")
        print("$ keyferry", *command[1:], flush=True)
        refused = subprocess.run(command)
        print(f"(exit code {refused.returncode})")
        return 0 if refused.returncode == 4 else 1
    finally:
        source.stop()
        target.stop()


if __name__ == "__main__":
    sys.exit(main())
