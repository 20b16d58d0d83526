"""G1, bad input: whatever is wrong with a request, the gateway answers a 4xx in OpenAI's form that names the culprit,
be it refused by HTTP, by the gateway, or by the model's context at the far end; and it answers the next question."""

import json
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
ASKED = {"messages": [{"role": "user", "content": "hi"}]}

# What stands in the body beside model and messages: the code, and the field that `param` must name.
PARAMETERS = [
    ({"temperature": 1e9}, "invalid_value", "temperature"),
    ({"temperature": -1}, "invalid_value", "temperature"),
    ({"temperature": "hot"}, "invalid_type", "temperature"),
    ({"top_p": 0}, "invalid_value", "top_p"),
    ({"top_p": [1]}, "invalid_type", "top_p"),
    ({"top_k": -1}, "invalid_value", "top_k"),
    ({"min_p": 2}, "invalid_value", "min_p"),
    ({"presence_penalty": 3}, "invalid_value", "presence_penalty"),
    ({"frequency_penalty": -2.5}, "invalid_value", "frequency_penalty"),
    ({"max_tokens": -5}, "invalid_value", "max_tokens"),
    ({"max_tokens": 0}, "invalid_value", "max_tokens"),
    ({"max_tokens": 1.5}, "invalid_type", "max_tokens"),
    ({"max_tokens": 10**30}, "invalid_value", "max_tokens"),
    ({"max_completion_tokens": "7"}, "invalid_type", "max_completion_tokens"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "invalid_value", "max_tokens"),
    ({"n": 2}, "unsupported_parameter", "n"),
    ({"n": 0}, "invalid_value", "n"),
    ({"seed": 0.5}, "invalid_type", "seed"),
    ({"seed": 2**64}, "invalid_value", "seed"),
    ({"stream": "yes"}, "invalid_type", "stream"),
    ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
    ({"stop": ["a"] * 17}, "invalid_value", "stop"),
    ({"stop": ["a", 1]}, "invalid_type", "stop[1]"),
    ({"user": 7}, "invalid_type", "user"),
    ({"compare": "1/2"}, "invalid_value", "compare"),
    ({"tools": []}, "unsupported_parameter", "tools"),
    ({"logprobs": True}, "unsupported_parameter", "logprobs"),
    ({"response_format": {"type": "json_object"}}, "unsupported_parameter", "response_format"),
    ({"no_such_thing": None}, "unsupported_parameter", "no_such_thing"),
]
MESSAGES = [
    (None, "missing_parameter", "messages"),
    ([], "invalid_value", "messages"),
    ("hi", "invalid_type", "messages"),
    ([{"role": "user"}], "missing_parameter", "messages[0].content"),
    ([{"role": "king", "content": "hi"}], "invalid_value", "messages[0].role"),
    ([{"role": "tool", "content": "hi"}], "unsupported_parameter", "messages[0].role"),
    ([{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "image_url"}]}],
     "unsupported_parameter", "messages[1].content[0].type"),
    ([{"role": "user", "content": "hi", "name": "me"}], "unsupported_parameter", "messages[0].name"),
]
BROKEN_JSON = [
    b"", b"{", b"nonsense", b"[1, 2", b"{'model': 'x'}", b'{"model": "x",}', b'{"a": NaN}', b'{"a": 1e999}',
    b"\xef\xbb\xbf{}", b'{"model": "\xff\xfe"}', b'{"model": "\xc0\xaf"}', b'{"model": "\\ud800"}',
    b'{"a": 1}\0{"b": 2}',
    b"[" * 100_000, b'{"a":' * 100_000, b"[" + b"1," * 100_000 + b"1]", b'{"model": "a", "model": "b"}',
]


def refused(status, headers, body, expected, code, what, param=None):
    """The shape of every refusal; gives the error object."""
    kind = {name.lower(): value for name, value in headers.items()}.get("content-type", "")
    check(status == expected, f"{what}: {status}, not {expected}: {body[:300]!r}")
    check(kind == "application/json", f"{what}: it is {kind}: {body[:300]!r}")
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        raise AssertionError(f"{what}: not OpenAI's form: {body[:300]!r}") from None
    check(set(error) == {"message", "type", "param", "code"}, f"{what}: its fields are {sorted(error)}")
    check(error["code"] == code and error["type"] and error["message"], f"{what}: {error}")
    check(error["param"] == param, f"{what}: `param` is {error['param']!r}, not {param!r}")
    return error


def bodies(api, model):
    for more, code, param in PARAMETERS:
        reply = api.request("POST", CHAT, {"model": model, **ASKED, **more})
        error = refused(*reply, 400, code, more, param)
        check(param in error["message"], f"{more}: the message does not name {param}: {error['message']}")
    for messages, code, param in MESSAGES:
        body = {"model": model} if messages is None else {"model": model, "messages": messages}
        refused(*api.request("POST", CHAT, body), 400, code, messages, param)
    for body in BROKEN_JSON:
        reply = api.request("POST", CHAT, body, JSON)
        param = "model" if b'"b"}' in body and body.count(b"model") == 2 else None
        refused(*reply, 400, "invalid_json", body[:40], param)
    refused(*api.request("POST", CHAT, b"[]", JSON), 400, "invalid_type", "an array")
    reply = api.request("POST", CHAT, {"model": "gpt-9", **ASKED})
    refused(*reply, 400, "model_not_found", "an unknown model", "model")
    refused(*api.request("POST", CHAT, ASKED), 400, "missing_parameter", "no model", "model")
    refused(*api.request("POST", CHAT, b"model=x", {"Content-Type": "application/x-www-form-urlencoded"}), 415,
            "unsupported_media_type", "a form")


def sizes(api, model):
    """Too long for HTTP, for the network, for the model's context: each is told apart."""
    long = {"model": model, "messages": [{"role": "user", "content": "x" * (2 << 20)}]}
    refused(*api.request("POST", CHAT, long), 413, "request_too_large", "a body of two megabytes")
    for length, what in ((200_000, "more than the network carries"), (60_000, "more than the model's context")):
        message = {"role": "user", "content": "word " * (length // 5)}
        reply = api.request("POST", CHAT, {"model": model, "messages": [message]})
        refused(*reply, 400, "context_length_exceeded", what, "messages")


def routes(api):
    refused(*api.request("GET", "/v1/nothing"), 404, "unknown_url", "no such route")
    refused(*api.request("POST", "/v1/embeddings", {}), 404, "unknown_url", "a route of OpenAI's that is not here")
    refused(*api.request("GET", "/v1/models/gpt-9"), 404, "model_not_found", "no such model", "model")
    status, headers, body = api.request("GET", CHAT)
    refused(status, headers, body, 405, "method_not_allowed", "GET")
    check(headers.get("Allow") == "POST", f"405 without Allow: {headers}")


def strangers(api, model):
    """What a web page could make a browser send."""
    asked = json.dumps({"model": model, **ASKED}).encode()
    for headers, code in [({"Host": "evil.example"}, "host_not_allowed"),
                          ({"Host": f"evil.example:{api.port}"}, "host_not_allowed"),
                          ({"Host": "127.0.0.1.evil.example"}, "host_not_allowed"),
                          ({"Origin": "http://evil.example"}, "origin_not_allowed"),
                          ({"Origin": "null"}, "origin_not_allowed"),
                          ({"Origin": f"http://127.0.0.1:{api.port + 1}"}, "origin_not_allowed"),
                          ({"Sec-Fetch-Site": "cross-site"}, "cross_site")]:
        refused(*api.request("POST", CHAT, asked, JSON | headers), 403, code, headers)
        refused(*api.request("GET", "/v1/models", None, headers), 403, code, headers)


def raw(api, text):
    """(status, headers, body) of bytes that no HTTP library would send."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=60) as to:
        to.sendall(text)
        answer = b""
        while True:
            try:
                part = to.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    check(lines[0].startswith("HTTP/1."), f"no HTTP came back: {answer[:200]!r}")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body


def before_a_request(api):
    """What HTTP itself refuses has OpenAI's form too."""
    post = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    refused(*raw(api, b"nonsense\r\n\r\n"), 400, "invalid_http", "no HTTP")
    refused(*raw(api, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50)), 400, "invalid_http", "TLS")
    refused(*raw(api, post + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400, "invalid_http",
            "a length and chunks")
    refused(*raw(api, post + b"Content-Length: -1\r\n\r\n"), 400, "invalid_http", "a negative length")
    refused(*raw(api, post + b"X: " + b"a" * 40_000 + b"\r\n\r\n"), 431, "headers_too_large", "long headers")
    refused(*raw(api, post + b"Content-Length: 99999999\r\n\r\n"), 413, "request_too_large", "an announced long body")
    refused(*raw(api, post + b"Expect: tea\r\n\r\n"), 417, "expectation_failed", "an odd expectation")


def test(folder):
    with Network(folder, relays=10, models=1, tap=False) as net:
        api = net.client.api
        model = api.models()[0]
        bodies(api, model)
        routes(api)
        strangers(api, model)
        before_a_request(api)
        sizes(api, model)
        for node in net.nodes():
            node.process.expect_alive()
        reply = api.chat("What is the capital of France?", max_tokens=8)
        check(reply.done and reply.error is None, f"after all this the gateway does not answer: {reply}")


main(test)
