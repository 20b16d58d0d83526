"""llama.cpp's own way over several machines, to measure against: ggml-rpc-server for each part of the layers, and
llama-server in front, over the same delayed links. Its times are those that llama-server gives of itself, without HTTP.

It has no authentication and no encryption, and is for loopback only.
"""

import http.client
import json
import sys
from contextlib import contextmanager

from figures import ROOT, NotMeasured
from local_network import Process, ProcessDied, TimedOut, free_port, until

PREFIX = ROOT / "build" / "llama"


class RpcPeer:
    """One llama-server whose layers are on as many ggml-rpc-servers as there are `hops`, split as these are. `draft`: a
    model that guesses, on the front's own processor."""

    def __init__(self, folder, model, hops, delay_ms, streams=1, context=1024, draft=None):
        self.folder, self.processes = folder, []
        self.libraries = next(iter(PREFIX.glob("usr/lib/*/libllama.so"))).parent
        # Compute libraries are looked for in the working folder: the best for this processor, and rpc's.
        self.where = self.libraries / "ggml" / "backends0"
        loader = next(iter(sorted(self.libraries.glob("ld-linux-*.so.*"))))
        self.loader = [loader, "--library-path", f"{self.libraries}:{self.libraries / 'llama'}"]
        servers = [self._server(index, delay_ms) for index in range(len(hops))]
        self.port = free_port(["127.0.0.1"])
        # Its head lies with the last part and counts as a layer there.
        split = ",".join(str(end - first) for first, end in hops)
        self.front = self._start("llama-server", [
            PREFIX / "usr" / "bin" / "llama-server", "-m", model.resolve(), "-t", "1", "-ngl", "99", "--rpc",
            ",".join(servers), "-ts", split, "-c", str(context * streams), "-np", str(streams), "--offline",
            "--host", "127.0.0.1", "--port", str(self.port),
            *(["--spec-type", "draft-simple", "-md", draft, "--spec-draft-n-max", "16", "-devd", "none", "-ngld", "0",
               "-td", "1"] if draft else [])])

    def _start(self, name, words):
        process = Process(name, [*self.loader, *words], self.folder / f"{name}.log", cwd=self.where)
        self.processes.append(process)
        return process

    def _server(self, index, delay_ms):
        """Where the server is reached: the near end of its link."""
        far = f"127.0.0.1:{free_port(['127.0.0.1'])}"
        program = next(iter(PREFIX.glob("usr/libexec/*/llama/bin/ggml-rpc-server")))
        server = self._start(f"rpc{index}", [program, "-t", "1", "-p", far.rsplit(":", 1)[1]])
        server.wait_line("transport")
        if not delay_ms:
            return far
        near = f"127.0.0.1:{free_port(['127.0.0.1'])}"
        delay = Process(f"rpc-delay{index}", [sys.executable, "-m", "harness.delay", near, far, "--delay-ms", delay_ms],
                        self.folder / f"rpc-delay{index}.log", cwd=ROOT / "test")
        self.processes.append(delay)
        delay.wait_line("listening")
        return near

    def _ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def wait_ready(self):
        until(lambda: self._ask("GET", "/health")[0] == 200, "llama-server says /health", 300, self.front.expect_alive)

    def times(self, prompt, tokens):
        """What llama-server says of one answer: prompt_n, prompt_ms, predicted_n, predicted_ms."""
        status, body = self._ask("POST", "/completion", {
            "prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True, "cache_prompt": False})
        if status != 200 or body["timings"]["predicted_n"] < tokens:
            raise NotMeasured(f"llama-server: {status}: {str(body)[:200]}")
        return body["timings"]

    def token_ms(self, prompt, tokens):
        """The first token comes with the prompt, and llama-server leaves it out of the time."""
        times = self.times(prompt, tokens)
        return times["predicted_ms"] / (times["predicted_n"] - 1)

    def chat_token_ms(self, question, tokens):
        """The same, of an answer to a question, in the model's own words for one."""
        status, body = self._ask("POST", "/v1/chat/completions", {
            "messages": [{"role": "user", "content": question}], "max_tokens": tokens, "temperature": 0,
            "cache_prompt": False})
        if status != 200 or body["timings"]["predicted_n"] < tokens / 2:
            raise NotMeasured(f"llama-server: {status}: {str(body)[:200]}")
        return body["timings"]["predicted_ms"] / (body["timings"]["predicted_n"] - 1)

    def stop(self):
        for process in reversed(self.processes):
            process.stop()


@contextmanager
def rpc_peer(folder, model, hops, delay_ms, **options):
    if not any((PREFIX / "usr" / "bin").glob("llama-server")):
        raise NotMeasured("llama-server is not here: tools/setup/llama.sh --with-tools")
    peer = None
    try:
        peer = RpcPeer(folder, model, hops, delay_ms, **options)
        peer.wait_ready()
        yield peer
    except (TimedOut, ProcessDied) as why:
        raise NotMeasured(f"{type(why).__name__}: {str(why).splitlines()[0]}") from why
    finally:
        if peer:
            peer.stop()
