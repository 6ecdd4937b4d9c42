"""
What a server says about its own commands: COMMAND DOCS and COMMAND INFO as plain Python objects, one a command or
subcommand that can be called ("get", "xgroup|create"); containers are named apart.
"""


def _maps(value):
    """Client answers RESP3 maps as lists of pairs; here they become dictionaries."""
    if isinstance(value, list):
        if value and all(isinstance(x, tuple) for x in value):
            return {k.decode(): _maps(v) for k, v in value}
        return [_maps(x) for x in value]
    return value


def _flags(key_spec):
    return dict(key_spec)[b"flags"]


class Spec:
    """One callable command: its words so far, how many words it takes, its arguments as COMMAND DOCS has them."""

    def __init__(self, info, docs):
        self.name = info[0].decode()
        self.words = [w.encode() for w in self.name.split("|")]
        self.arity = info[1]
        self.flags = {f.decode() for f in info[2]}
        self.args = docs.get("arguments", [])
        self.group = docs.get("group", b"generic").decode()
        self.keyed = any(b"not_key" not in _flags(spec) for spec in info[8])


class Specs:
    """Every command of a server. Needs a connection of its own, which it turns to RESP3."""

    def __init__(self, client):
        client.ok("HELLO", 3)
        self.docs = _maps(client.ok("COMMAND", "DOCS"))
        self.callable = {}
        self.containers = set()
        for info in client.ok("COMMAND", "INFO"):
            self._add(info, self.docs.get(info[0].decode(), {}))

    def _add(self, info, docs):
        name = info[0].decode()
        if not info[9]:
            self.callable[name] = Spec(info, docs)
            return
        self.containers.add(name)
        for sub in info[9]:
            self._add(sub, docs.get("subcommands", {}).get(sub[0].decode(), {}))


def names(client):
    """COMMAND LIST: containers and subcommands too."""
    return {n.decode() for n in client.ok("COMMAND", "LIST")}
