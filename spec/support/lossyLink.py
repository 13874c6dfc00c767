"""A lossy, slow, reordering link between two network namespaces of its own.

It needs root and TUN devices. The namespaces have no names: they are gone when this program is and nothing runs in them,
however it ended. It prints `up SERVER CLIENT`, two of its file descriptors: a program runs at an end under
`nsenter --net=/proc/PID/fd/DESCRIPTOR`. Then it carries packets until its standard input ends. Each line that it reads
there, `cut [server|client]` (packets to this end, or to both, are lost) or `join`, is answered by a line of JSON: what it
has done with packets so far.
"""
import argparse
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFMTU, SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x8922, 0x891C
IFF_UP = 1
QUEUED_PACKETS = 10_000
libc = ctypes.CDLL(None, use_errno=True)


def options():
    parser = argparse.ArgumentParser()
    for flag in ("loss", "duplicate"):
        parser.add_argument(f"--{flag}", type=float, default=0.0, help="the part of packets that meets it")
    for flag in ("delay", "jitter"):
        parser.add_argument(f"--{flag}", type=float, default=0.0, help="ms, one way; each packet has up to so much jitter")
    parser.add_argument("--mtu", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--server", default="10.98.0.1")
    parser.add_argument("--client", default="10.98.0.2")
    return parser.parse_args()


def enter(namespace):
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def here():
    return os.open("/proc/self/ns/net", os.O_RDONLY)


def end_of_link(address, mtu):
    """Makes a namespace with a TUN device of this address in it; returns the descriptors of both."""
    home = here()
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    namespace = here()
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22s", b"tun0", IFF_TUN | IFF_NO_PI, b""))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for request, value in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, "255.255.255.0")):
            place = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(asking, request, struct.pack("16s16s8x", b"tun0", place))
        fcntl.ioctl(asking, SIOCSIFMTU, struct.pack("16si20x", b"tun0", mtu))
        for name in (b"tun0", b"lo"):
            answer = fcntl.ioctl(asking, SIOCGIFFLAGS, struct.pack("16sH22x", name, 0))
            (flags,) = struct.unpack_from("H", answer, 16)
            fcntl.ioctl(asking, SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | IFF_UP))
    enter(home)
    os.close(home)
    return namespace, device


class Link:
    def __init__(self, want, server, client):
        self.want, self.server, self.client = want, server, client
        self.chance = random.Random(want.seed)
        self.cut = set()
        self.waiting = []
        self.counts = dict(carried=0, lost=0, duplicated=0, overtaken=0)
        self.order = 0
        self.latest = {server: 0, client: 0}

    def due(self, now):
        """Hands over what has been under way for long enough; returns for how long there is nothing to do, in seconds."""
        while self.waiting and self.waiting[0][0] <= now:
            _, order, end, packet = heapq.heappop(self.waiting)
            self.counts["overtaken"] += order < self.latest[end]
            self.latest[end] = max(order, self.latest[end])
            try:
                os.write(end, packet)
                self.counts["carried"] += 1
            except OSError:
                self.counts["lost"] += 1
        return max(0.0, self.waiting[0][0] - now) if self.waiting else None

    def take(self, device):
        """Takes what one end has sent, and decides what becomes of it."""
        end = self.client if device == self.server else self.server
        for packet in packets(device):
            lost = self.chance.random() < self.want.loss
            if lost or end in self.cut or len(self.waiting) >= QUEUED_PACKETS:
                self.counts["lost"] += 1
                continue
            copies = 2 if self.chance.random() < self.want.duplicate else 1
            self.counts["duplicated"] += copies - 1
            for _ in range(copies):
                late = (self.want.delay + self.chance.random() * self.want.jitter) / 1000
                self.order += 1
                heapq.heappush(self.waiting, (time.monotonic() + late, self.order, end, packet))

    def obey(self, line):
        verb, *ends = line.split()
        both = {"server": self.server, "client": self.client}
        self.cut = {both[end] for end in ends or both} if verb == "cut" else set()
        print(json.dumps(self.counts), flush=True)


def packets(device):
    while True:
        try:
            yield os.read(device, 65_535)
        except OSError:
            return


def main():
    want = options()
    (server_space, server), (client_space, client) = (end_of_link(at, want.mtu) for at in (want.server, want.client))
    link = Link(want, server, client)
    print("up", server_space, client_space, flush=True)
    told = sys.stdin.fileno()
    rest = b""
    while True:
        pause = link.due(time.monotonic())
        ready, _, _ = select.select([server, client, told], [], [], pause)
        for device in ready:
            if device != told:
                link.take(device)
                continue
            text = os.read(told, 4_096)
            if not text:
                return
            *lines, rest = (rest + text).split(b"\n")
            for line in lines:
                link.obey(line.decode())


if __name__ == "__main__":
    main()
