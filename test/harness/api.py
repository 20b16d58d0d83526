"""A client of the OpenAI interface: plain HTTP and server-sent events, with the time at which each event came."""

import http.client
import json
import threading
import time
from dataclasses import dataclass, field

from harness.run import check


class ApiError(Exception):
    """An answer other than 200; `status`, `error` (the object of OpenAI's form) and `headers` say which."""

    def __init__(self, status, body, headers):
        super().__init__(f"HTTP {status}: {body[:400]!r}")
        self.status, self.body, self.headers = status, body, headers
        try:
            self.error = json.loads(body)["error"]
        except (ValueError, KeyError, TypeError):
            self.error = {}


@dataclass
class Reply:
    """What a streamed or whole reply came to."""

    text: str = ""
    finish: str | None = None
    usage: dict | None = None
    shoal: dict | None = None                   # how many nodes agreed, where replies were compared
    model: str = ""
    error: dict | None = None                   # an error event in the middle of a stream
    done: bool = False                          # the stream ended with [DONE]
    times: list = field(default_factory=list)   # seconds after the request at which a piece of text came
    headers: dict = field(default_factory=dict)


class Api:
    """One gateway. Every call opens a connection of its own."""

    def __init__(self, port, host="127.0.0.1", timeout=120):
        self.host, self.port, self.timeout = host, port, timeout

    def request(self, method, path, body=None, headers=None):
        """(status, headers, body) of any request, as it comes; `body` may be bytes, or anything for JSON."""
        connection, response = self._send(method, path, body, headers)
        try:
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def get(self, path):
        """The parsed JSON of a GET; ApiError for another status than 200."""
        status, headers, body = self.request("GET", path)
        if status != 200:
            raise ApiError(status, body, headers)
        return json.loads(body)

    def get_status(self, path):
        """The status of a GET; None where nobody listens."""
        try:
            return self.request("GET", path)[0]
        except OSError:
            return None

    def is_ready(self):
        return self.get_status("/ready") == 200

    def circuits(self):
        """How many are ready for a question, also while there are too few to call the client ready."""
        return json.loads(self.request("GET", "/ready")[2])["circuits"]

    def models(self):
        return [model["id"] for model in self.get("/v1/models")["data"]]

    def chat(self, prompt, model=None, on_text=None, **options):
        """Asks, streaming unless stream=False, and gives the Reply. `prompt` is text or a list of messages.

        on_text(reply) is called at each piece of text; when it gives True the connection is closed there and then.
        """
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        body = {"model": model or self.models()[0], "messages": messages, "stream": True, **options}
        if body["stream"]:
            body.setdefault("stream_options", {"include_usage": True})
        began = time.monotonic()
        connection, response = self._send("POST", "/v1/chat/completions", body)
        try:
            if response.status != 200:
                raise ApiError(response.status, response.read(), dict(response.getheaders()))
            reply = Reply(headers=dict(response.getheaders()))
            if not body["stream"]:
                return whole_reply(reply, json.loads(response.read()))
            for event in events(response):
                if take_event(reply, event, time.monotonic() - began) and on_text and on_text(reply):
                    break
            return reply
        finally:
            connection.close()

    def chat_while_killed(self, node, piece, prompt, **options):
        """The Reply; `node` is killed when so many pieces of it have come. An error may be what comes next."""
        def on_text(reply):
            if len(reply.times) == piece:
                node.kill()

        reply = self.chat(prompt, on_text=on_text, **options)
        check(len(reply.times) >= piece, f"nothing was killed: the answer had only {len(reply.times)} pieces")
        return reply

    def chat_later(self, prompt, **options):
        """Asks in a thread of its own; calling what it gives waits for the Reply, or raises what chat() raised."""
        outcome = []

        def ask():
            try:
                outcome.append((self.chat(prompt, **options), None))
            except Exception as error:
                outcome.append((None, error))

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()

        def wait():
            thread.join()
            reply, error = outcome[0]
            if error:
                raise error
            return reply

        return wait

    def _send(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise


def events(response):
    """The data of each server-sent event, as text."""
    lines = []
    for raw in response:
        line = raw.decode().rstrip("\r\n")
        if line.startswith("data:"):
            lines.append(line[5:].lstrip(" "))
        elif not line and lines:
            yield "\n".join(lines)
            lines = []


def take_event(reply, event, seconds):
    """Adds one event to a reply; True when it brought text."""
    if event == "[DONE]":
        reply.done = True
        return False
    data = json.loads(event)
    if "error" in data:
        reply.error = data["error"]
        return False
    reply.model = data.get("model", reply.model)
    reply.usage = data.get("usage") or reply.usage
    reply.shoal = data.get("shoal") or reply.shoal
    for choice in data.get("choices", []):
        reply.finish = choice.get("finish_reason") or reply.finish
        text = choice.get("delta", {}).get("content")
        if text:
            reply.text += text
            reply.times.append(seconds)
            return True
    return False


def whole_reply(reply, data):
    choice = data["choices"][0]
    reply.text, reply.finish = choice["message"]["content"], choice["finish_reason"]
    reply.usage, reply.model, reply.done = data.get("usage"), data["model"], True
    reply.shoal = data.get("shoal")
    return reply
