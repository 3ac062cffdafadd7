"""Network namespaces: a middle with a bridge, and hosts whose links can be cut."""

import os
import signal
import subprocess
import time

NETWORK = "10.77.0"


def run(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done


class Namespace:
    """A machine, as far as the network goes. Ending it ends what runs in it."""

    def __init__(self, name, address):
        self.name, self.address = name, address
        run("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *words):
        run("ip", "-n", self.name, *words)

    def command(self, *words):
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def processes(self):
        """The numbers of the processes in it."""
        listed = run("ip", "netns", "pids", self.name, check=False).stdout
        return [int(number) for number in listed.split()]

    def close(self):
        deadline = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < deadline:
            for number in left:
                try:
                    os.kill(number, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.1)
        run("ip", "netns", "del", self.name)


class Network:
    """A middle at .1 and hosts from .2 on, joined by a bridge in the middle."""

    def __init__(self):
        prefix = f"fuse-test-{os.getpid()}"
        self.namespaces = []
        try:
            self.middle = self._add(f"{prefix}-middle", 1)
            self.middle.ip("link", "add", "bridge", "type", "bridge")
            self.middle.ip("addr", "add", f"{self.middle.address}/24", "dev", "bridge")
            self.middle.ip("link", "set", "bridge", "up")
            self.hosts = [self._host(f"{prefix}-{place}", place) for place in (2, 3)]
        except BaseException:
            self.close()
            raise

    def _add(self, name, place):
        namespace = Namespace(name, f"{NETWORK}.{place}")
        self.namespaces.append(namespace)
        return namespace

    def _host(self, name, place):
        host = self._add(name, place)
        cable = f"host{place}"
        self.middle.ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        self.middle.ip("link", "set", cable, "master", "bridge", "up")
        host.ip("addr", "add", f"{host.address}/24", "dev", "eth0")
        host.ip("link", "set", "eth0", "up")
        host.cable = cable
        return host

    def cut(self, host):
        self.middle.ip("link", "set", host.cable, "down")

    def mend(self, host):
        self.middle.ip("link", "set", host.cable, "up")

    def close(self):
        for namespace in reversed(self.namespaces):
            namespace.close()
