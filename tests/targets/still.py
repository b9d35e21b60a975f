"""A Python program that holds still, for comparing cores. Prints "ready"; ends when killed."""

import signal
import threading

NUMBERS = {n: str(n) * 10 for n in range(20_000)}
never = threading.Event()
all_there = threading.Barrier(3)


def descend(depth):
    here = [depth] * 100
    if depth:
        descend(depth - 1)
    all_there.wait()
    never.wait()
    return here


for depth in (1, 4):
    threading.Thread(target=descend, args=(depth,), daemon=True).start()
all_there.wait()
print("ready", flush=True)
signal.pause()
