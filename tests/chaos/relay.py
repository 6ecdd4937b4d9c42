"""
A relay in front of each metadata node's raft port, in this process: what the nodes say to each other goes through it,
so that one can be cut off from another, in one direction or both, without privileges. Whom a connection comes from is
read off the kernel's tables: the process that holds its other end.
"""

import os
import socket
import threading

HOST = "127.0.0.1"
CHUNK = 1 << 18


def owner_of_port(port, pids):
    """The process among `pids` that has a TCP socket with this local port; None when none has."""
    inodes = set()
    with open("/proc/net/tcp") as f:
        for line in f.readlines()[1:]:
            fields = line.split()
            if int(fields[1].split(":")[1], 16) == port:
                inodes.add("socket:[%s]" % fields[9])
    for pid in pids:
        try:
            for fd in os.listdir("/proc/%d/fd" % pid):
                try:
                    if os.readlink("/proc/%d/fd/%s" % (pid, fd)) in inodes:
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

    def _source(self, port):
        nodes = {pid: node for node, pid in self.pids().items()}
        return nodes.get(owner_of_port(port, nodes))

    def _accept(self, target, listener):
        while True:
            try:
                near, address = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(target, near, address[1]), daemon=True).start()

    def _connect(self, target, near, port):
        source = self._source(port)
        try:
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
