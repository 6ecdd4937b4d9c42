"""
A relay in front of each metadata node's raft port, in this process: what the nodes say to each other goes through it,
so that one can be cut off from another, in one direction or both, without privileges. Whom a connection comes from is
read off the kernel's tables: the process that holds its other end.
"""

import os
import socket
import struct
import threading

HOST = "127.0.0.1"
CHUNK = 1 << 18


NETLINK_SOCK_DIAG, DIAG_BY_FAMILY, REQUEST = 4, 20, 1  # linux/netlink.h, linux/sock_diag.h


def inode_of(port, peer_port):
    """
    The inode of the socket on `port` that is connected to `peer_port`, both on HOST; 0 when there is none. Asked for by
    name: a table of all sockets has tens of thousands of lines beside other tests, and takes longer than an election.
    """
    address = socket.inet_aton(HOST) + bytes(12)
    what = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF)
    what += struct.pack("!HH", port, peer_port) + address + address + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as s:
        s.send(struct.pack("=IHHII", 16 + len(what), DIAG_BY_FAMILY, REQUEST, 1, 0) + what)
        answer = s.recv(4096)
    _, kind = struct.unpack_from("=IH", answer)
    return struct.unpack_from("=I", answer, 16 + 68)[0] if kind == DIAG_BY_FAMILY else 0


def owner_of(port, peer_port, pids):
    """The process among `pids` that holds that socket; None when none does."""
    name = "socket:[%d]" % inode_of(port, peer_port)
    for pid in pids:
        try:
            for fd in os.listdir("/proc/%d/fd" % pid):
                try:
                    if os.readlink("/proc/%d/fd/%s" % (pid, fd)) == name:
                        return pid
                except OSError:
                    continue
        except OSError:
            continue
    return None


def shut(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class Relay:
    """
    `ports`: node id -> the raft port on which it really listens; `pids()`: node id -> process id, as they are now.
    `doors`: node id -> the port here, for `peers`. A cut loses bytes silently, as a pulled cable does; connections that lost
    some end when the cut is mended.
    """

    def __init__(self, ports, pids):
        self.ports, self.pids = ports, pids
        self.cuts = frozenset()  # of (from, to)
        self.pairs = {}  # (near, far) -> (from, to)
        self.lock = threading.Lock()
        self.lost_bytes = 0
        self.listeners = {node: socket.create_server((HOST, 0), backlog=64) for node in ports}
        self.doors = {node: listener.getsockname()[1] for node, listener in self.listeners.items()}
        for node, listener in self.listeners.items():
            threading.Thread(target=self._accept, args=(node, listener), daemon=True).start()

    def cut(self, *ways):
        """Only these (from, to) are cut from now on."""
        with self.lock:
            mended = self.cuts - frozenset(ways)
            self.cuts = frozenset(ways)
            broken = [pair for pair, (a, b) in self.pairs.items() if (a, b) in mended or (b, a) in mended]
        for pair in broken:
            for sock in pair:
                shut(sock)

    def isolate(self, node):
        self.cut(*[way for other in self.ports if other != node for way in ((node, other), (other, node))])

    def close(self):
        for listener in self.listeners.values():
            shut(listener)
            listener.close()
        with self.lock:
            pairs = list(self.pairs)
        for pair in pairs:
            for sock in pair:
                shut(sock)

    def _source(self, near):
        nodes = {pid: node for node, pid in self.pids().items()}
        return nodes.get(owner_of(near.getpeername()[1], near.getsockname()[1], nodes))

    def _accept(self, target, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(target, near), daemon=True).start()

    def _connect(self, target, near):
        try:
            source = self._source(near)
            far = socket.create_connection((HOST, self.ports[target]), 2)
        except OSError:
            near.close()
            return
        for sock in (near, far):
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (near, far)
        with self.lock:
            self.pairs[pair] = (source, target)
        back = threading.Thread(target=self._forward, args=(pair, far, near, (target, source)), daemon=True)
        back.start()
        self._forward(pair, near, far, (source, target))
        back.join()
        with self.lock:
            del self.pairs[pair]
        near.close()
        far.close()

    def _forward(self, pair, sock, to, way):
        try:
            while True:
                data = sock.recv(CHUNK)
                if not data:
                    break
                if way in self.cuts:
                    self.lost_bytes += len(data)
                else:
                    to.sendall(data)
        except OSError:
            pass
        for each in pair:
            shut(each)
