"""Runs llama.cpp's own server on one model, for judging a GGUF by a program that is not ours. Loopback only."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import bootstrap

START_SECONDS = 60


def _command():
    """(command, working folder) of llama-server: from a prefix, under that prefix's own loader, or from the system.

    Under a foreign loader ggml looks for its CPU backends in the working folder, since /proc/self/exe is the loader."""
    prefixes = [Path(os.environ["SHOAL_LLAMA_PREFIX"])] if os.environ.get("SHOAL_LLAMA_PREFIX") else []
    private = bootstrap.ROOT / "build" / "llama"
    for prefix in [*prefixes, private]:
        program = prefix / "usr/bin/llama-server"
        for libraries in (prefix / "usr/lib").glob("*-linux-gnu"):
            loader = next(libraries.glob("ld-linux*.so.*"), None)
            if program.exists() and loader:
                path = f"{libraries}:{libraries / 'llama'}"
                return [str(loader), "--library-path", path, str(program)], libraries / "ggml" / "backends0"
        if program.exists():
            return [str(program)], None
    found = shutil.which("llama-server")
    return ([found], None) if found else None


class Server:
    """A context manager; `post` sends a request and returns the decoded reply."""

    def __init__(self, gguf, threads=1, context=2048):
        self.gguf, self.threads, self.context = Path(gguf).resolve(), threads, context

    def __enter__(self):
        found = _command()
        if found is None:
            subprocess.run([bootstrap.ROOT / "tools/setup/llama.sh", "--with-tools"], check=True, cwd=bootstrap.ROOT)
            found = _command()
        if found is None:
            raise SystemExit("llama-server is not here: install llama.cpp's tools or set SHOAL_LLAMA_PREFIX")
        command, folder = found
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        log = bootstrap.BUILD / "server.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [*command, "-m", str(self.gguf), "--host", "127.0.0.1", "--port", str(self.port), "-c",
                 str(self.context), "-np", "1", "-t", str(self.threads)], stdout=out,
                stderr=subprocess.STDOUT, cwd=folder)
        self._wait(log)
        return self

    def _wait(self, log):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self._request("GET", "/health")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        self.__exit__()
        raise SystemExit(f"llama-server does not start on {self.gguf}; its log is {log}")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def _request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def post(self, path, body):
        status, reply = self._request("POST", path, body)
        if status != 200:
            raise SystemExit(f"llama-server answered {status} to {path}: {reply}")
        return reply

    def chat(self, messages, **options):
        """The text of the reply to a list of (role, content)."""
        body = {"messages": [{"role": r, "content": c} for r, c in messages], "max_tokens": 300, **options}
        return self.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
