"""H1: a start that cannot succeed prints exactly one line, which says what to do, and exits with 2.

The positive twin: the same command line without its fault starts and stays up."""
# build: accept

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Process, Skip, check, main
from harness.network import engine_environment, fixture, free_port
from harness.run import build_folder

BROKEN_TABLES = {  # what stands in the configuration file: what the line must name
    "[up": "configuration", "x = 1": "x is not known", "[up]\nrealy = true": "realy", "[up]\nrelay = \"yes\"": "relay",
    "[up]\ncontext = \"much\"": "context", "[up]\nthreads = true": "threads", "[up]\nthreads = 1.5": "threads",
    "[up]\npacer = \"slow\"": "fast", "[up]\nlisten = [\"a\", \"b\"]": "listen", "[up]\nmodel = []": "model",
    "[up]\napi-port = 123456": "api-port", "[up]\nhelp = true": "help", "[up]\nrelay = true\n[other]\nx = 1": "other",
}


class Starts:
    """Command lines on one network file that nobody serves, each expected to fail at once."""

    def __init__(self, folder):
        self.program = build_folder() / "shoal"
        if not self.program.exists():
            raise Skip(f"{self.program} is not built")
        self.folder = folder
        self.port = free_port(["127.1.0.1", "127.2.0.1", "127.0.0.1"])
        self.network = folder / "net" / "network.toml"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("SHOAL_")}
        self.environment |= engine_environment()
        subprocess.run([self.program, "genesis", "--dir", self.network.parent, "--verifier-address",
                        f"127.1.0.1:{self.port}"], check=True, capture_output=True)
        self.common = ["--state", folder / "state", "--network", self.network]
        self.listen = ["--listen", f"127.2.0.1:{self.port}"]

    def refuses(self, what, words, *named, command="up"):
        """The line has each of `named`: the thing that is wrong, and what to do about it."""
        line = [str(word) for word in (self.program, command, *words)]
        try:
            done = subprocess.run(line, capture_output=True, text=True, check=False, env=self.environment, timeout=60)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{what}: it did not end") from None
        check(done.returncode == 2, f"{what}: exit status {done.returncode}: {done.stderr}")
        lines = done.stderr.splitlines()
        check(len(lines) == 1 and lines[0].startswith("shoal: "), f"{what}: not one line: {done.stderr!r}")
        check(not done.stdout, f"{what}: it wrote to stdout: {done.stdout!r}")
        for word in named:
            check(str(word) in lines[0], f"{what}: '{word}' is not in: {lines[0]}")


def command_line(s):
    s.refuses("an unknown option", ["--no-such"], "--no-such", "--help")
    s.refuses("no command", [], "subcommand", "--help", command="--")
    s.refuses("a value out of range", [*s.common, "--sequences", "65"], "--sequences", "1 to 64")
    s.refuses("more threads than can be", [*s.common, "--threads", "1025"], "--threads", "1024")
    s.refuses("--relay without --listen", [*s.common, "--relay"], "--listen ADDRESS:PORT")
    s.refuses("--listen without a role", [*s.common, *s.listen], "--relay")
    s.refuses("no address", [*s.common, "--relay", "--listen", "nonsense"], "--listen")
    s.refuses("listening everywhere", [*s.common, "--relay", "--listen", f"0.0.0.0:{s.port}"], "--advertise")
    s.refuses("an API for everyone without a key", [*s.common, "--api-address", "0.0.0.0"], "key")
    s.refuses("a verifier with a stranger's key", [*s.common, "--verifier", *s.listen], "network.toml", "--verifier")


def files(s):
    none = s.folder / "nowhere" / "network.toml"
    s.refuses("no network.toml", ["--state", s.folder / "state", "--network", none], none, "shoal genesis")
    broken = s.folder / "broken.toml"
    broken.write_text("name = \"x\"\n")
    s.refuses("a broken network.toml", ["--state", s.folder / "state", "--network", broken], broken, "created")
    plain = s.folder / "plain"
    plain.write_text("a file")
    s.refuses("a state directory that is a file", ["--state", plain, "--network", s.network], plain, "name a directory")
    s.refuses("an unwritable state directory", ["--state", "/proc/shoal", "--network", s.network], "/proc/shoal")
    s.refuses("an unwritable trace", [*s.common, "--trace", "/proc/shoal/trace"], "/proc/shoal/trace")


def configuration(s):
    config = s.folder / "config.toml"
    s.refuses("no configuration file", ["--config", config], config)
    for text, named in BROKEN_TABLES.items():
        config.write_text(text)
        s.refuses(f"the configuration {text!r}", ["--config", config, *s.common], config, named)


def models(s):
    missing = s.folder / "missing.gguf"
    s.refuses("a missing model", [*s.common, *s.listen, "--model", missing], missing, "GGUF")
    sound = fixture().read_bytes()
    for name, data in {"empty": b"", "text": b"no model\n" * 9, "cut-in-header": sound[:3000],
                       "cut-in-tensors": sound[:-1000]}.items():
        broken = s.folder / f"{name}.gguf"
        broken.write_bytes(data)
        s.refuses(f"a broken model ({name})", [*s.common, *s.listen, "--model", broken], broken, "GGUF")
    s.refuses("a model's impossible name", [*s.common, *s.listen, "--model", f"a b={fixture()}"], "NAME=FILE")


def pipelines(s):
    hop = "ab" * 32
    common = [*s.common, *s.listen, "--model", fixture("slow")]  # of 8 layers
    s.refuses("a hop without layers", [*common, "--hop", hop], "NODE:FIRST-END")
    s.refuses("a gap between hops", [*common, "--hop", f"{hop}:0-3", "--hop", f"{hop}:4-8"], "must begin with 3")
    s.refuses("hops that end too soon", [*common, "--hop", f"{hop}:0-3", "--hop", f"{hop}:3-6"],
              "no hop has layers 6 to 7", "give a --hop for every layer")
    s.refuses("hops that go too far", [*common, "--hop", f"{hop}:0-9"], "layers 0 to 7", "up to layer 8")
    s.refuses("a draft that is not there", [*common, "--draft", "nowhere.gguf"], "nowhere.gguf", "repeats", "skip:")
    s.refuses("a draft without the first layer", [*common, "--draft", "skip:0-3"], "FIRST at least 1")
    s.refuses("a draft without layers that are not there", [*common, "--draft", "skip:3-9"], "1 to 6")
    s.refuses("two models that draft", [*common, "--draft", fixture("slow"), "--draft", "skip:2-4"], "not both")
    s.refuses("a draft of another vocabulary", [*common, "--draft", fixture("bpe")], "another vocabulary")


def boomerang(s):
    hops = ["--boomerang", "--model", fixture("slow"), "--api-port", s.port, "--hop"]
    node = 64 * "1"
    s.refuses("no hops", [*s.common, *hops[:-1]], "--boomerang", "--hop NODE:FIRST-END")
    s.refuses("hops from the first layer on", [*s.common, *hops, f"{node}:0-4"], "--hop", "begin with 1")
    s.refuses("hops to where no model reaches", [*s.common, *hops, f"{node}:1-512"], "--hop", "the last layers stay")
    s.refuses("hops to the last layer", [*s.common, *hops, f"{node}:1-8"], "layers 1 to 7",
              "Can be kept: the first 1-7", "from 1-7 on")
    s.refuses("a client of others too", [*s.common, "--client", *hops, f"{node}:1-4"], "--client", "another node")


def ports(s):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", s.port))
        taken.listen()
        s.refuses("the API's port in use", [*s.common, "--api-port", s.port], s.port, "in use", "choose another port")
        listen = ["--listen", f"127.0.0.1:{s.port}"]
        s.refuses("the links' port in use", [*s.common, "--relay", *listen], s.port, "in use", "choose another port")
        s.refuses("the demo's port in use", ["--once", "--port", s.port, "--model", fixture()], s.port, "in use",
                  command="demo")


def a_sound_start_stays(s):
    process = Process("sound", [s.program, "up", *s.common, *s.listen, "--relay", "--model", fixture()],
                      s.folder / "sound.log", s.environment)
    process.wait_line("listens on")
    s.refuses("a state directory in use", s.common, f"in use by process {process.pid}", "stop it")
    process.signal(signal.SIGTERM)
    check(process.wait_end() == 0, f"a stopped node exits with {process.status}")


def test(folder):
    starts = Starts(folder)
    command_line(starts)
    files(starts)
    configuration(starts)
    models(starts)
    pipelines(starts)
    boomerang(starts)
    ports(starts)
    a_sound_start_stays(starts)


main(test)
