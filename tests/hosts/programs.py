"""What runs on the machines: a host agent on each, `fuse serve` in the middle, and `fuse` as people use it."""

import hashlib
import json
import os
import re
import secrets
import signal
import ssl
import subprocess
import time

# Interpreted guests on a busy machine are slow; what takes longer than this hangs.
PATIENCE = 120


def until(what, look, patience=PATIENCE):
    """Looks until there is something true to see, and returns it."""
    deadline, seen = time.monotonic() + patience, None
    while time.monotonic() < deadline:
        seen = look()
        if seen:
            return seen
        time.sleep(0.2)
    raise AssertionError(f"not within {patience} s: {what}; seen last: {seen!r}")


class Daemon:
    """A program that runs until it is told to end."""

    def __init__(self, namespace, words, variables, log):
        self.namespace, self.words, self.log = namespace, words, log
        self.variables = {"PATH": os.environ["PATH"], **variables}
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.namespace.command(*self.words),
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def await_text(self, pattern):
        def look():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.words[0]} ended:\n{self.text()}")
            return re.search(pattern, self.text())

        return until(f"{self.words[0]} writes {pattern}", look)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        assert code == 0, f"{self.words[0]} ends with {code}:\n{self.text()}"


class Agent(Daemon):
    """A host agent with QEMU. With TLS it has a certificate that nobody vouches for, and `pin` is what it is known by."""

    def __init__(self, program, namespace, data, tls):
        self.data, self.token, self.pin = data, secrets.token_hex(32), None
        self.url = f"{'https' if tls else 'http'}://{namespace.address}:8090"
        config = data / "agent.toml"
        config.write_text(
            f'data = "{data}"\ndefault_memory_mib = 128\nboot_seconds = {PATIENCE}\n'
            '[driver]\nkind = "qemu"\nprogram = "qemu-system-x86_64"\n[network]\nmode = "user"\n'
        )
        words = [program, "--config", config, "--listen", f"{namespace.address}:8090"]
        words += ["--public-host", namespace.address, *(self.certify() if tls else ["--insecure-listen"])]
        super().__init__(namespace, words, {"FC_AGENT_TOKEN": self.token}, data / "log")
        self.await_text("listening")

    def certify(self):
        certificate, key = self.data / "cert.pem", self.data / "key.pem"
        words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=a-host".split()
        subprocess.run([*words, "-out", certificate, "-keyout", key], check=True, capture_output=True)
        self.pin = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()
        return ["--tls-cert", certificate, "--tls-key", key]

    def kept(self, kind):
        """What it keeps of VMs or snapshots."""
        return sorted(entry.name for entry in (self.data / kind).iterdir()) if (self.data / kind).exists() else []

    def vmms(self):
        """The VMMs that run on its machine, by number."""
        found = []
        for number in self.namespace.processes():
            try:
                with open(f"/proc/{number}/cmdline", "rb") as line:
                    found += [number] if b"qemu-system" in line.read().split(b"\0")[0] else []
            except (FileNotFoundError, ProcessLookupError):
                pass
        return sorted(found)


class Site:
    """`fuse serve`, and `fuse` that asks it."""

    def __init__(self, program, namespace, data, default):
        self.program, self.namespace = program, namespace
        self.token = secrets.token_hex(32)
        self.url = f"http://{namespace.address}:8080"
        settings = {
            "ORCH_LISTEN": f"{namespace.address}:8080",
            "ORCH_AUTH_TOKEN": self.token,
            "FUSE_DATA_DIR": str(data / "state"),
            "FIRECRACKER_BASE_URL": default.url,
            "FIRECRACKER_TOKEN": default.token,
            "FUSE_RECONCILE_PERIOD": "1s",
            "ORCH_SHUTDOWN_TIMEOUT_SECONDS": "5s",
        }
        self.home = data / "home"
        self.home.mkdir()
        self.server = Daemon(namespace, [program, "serve"], settings, data / "serve.log")
        self.server.await_text("listening on")

    def ask(self, *words, variables=None):
        """Runs `fuse` and returns its exit code, what it printed, and what it complained of."""
        known = {"PATH": os.environ["PATH"], "HOME": str(self.home), "FUSE_URL": self.url, "FUSE_TOKEN": self.token}
        done = subprocess.run(
            self.namespace.command(self.program, *words),
            env={**known, **(variables or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
        return done.returncode, done.stdout, done.stderr

    def fuse(self, *words, variables=None):
        """Runs `fuse`, which must succeed, and returns what it printed as JSON."""
        code, out, err = self.ask(*words, "-o", "json", variables=variables)
        assert code == 0, f"fuse {' '.join(map(str, words))}: exit code {code}: {out}{err}\n{self.server.text()[-4000:]}"
        return json.loads(out) if out.strip() else None

    def sh(self, environment, line):
        """Runs a line in a guest and returns what it printed."""
        code, out, err = self.ask("environment", "exec", environment, "--shell", line)
        assert code == 0, f"{environment}: {line}: exit code {code}: {out}{err}"
        return out.strip()

    def create(self, task, *words):
        """A running environment of the size of the tests. It asks for no processors: the machines have few."""
        return self.fuse("environment", "create", "--task-id", task, "--ram-mb", "128", *words)
