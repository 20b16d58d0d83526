"""A network of real `shoal` processes on this machine: a verifier, relays and model nodes in distinct /16s, clients."""

import os
import random
import socket
import subprocess
import sys
import zlib
from pathlib import Path

from harness.api import Api
from harness.processes import Process
from harness.run import ROOT, Skip, build_folder
from harness.traces import read_lines
from harness.waiting import until

# Below the range that the kernel takes for outgoing connections, so that none of those is in the way.
PORTS = range(20000, 32000)
MODEL = ROOT / "models" / "shoal-mini.gguf"


def fixture(kind="spm"):
    """A model of the build's own: random weights, so its answers are noise. `slow` decodes slowly enough to be killed
    in the middle of an answer. The build under test has it, else any build that made it."""
    folders = [build_folder(), *sorted((ROOT / "build").glob("*"))]
    found = [path for path in (folder / "fixtures" / f"{kind}.gguf" for folder in folders) if path.exists()]
    if not found:
        raise Skip(f"no build has fixtures/{kind}.gguf")
    return found[0]


def made_model(kind, options):
    """A model of random weights that is too large to be made with every build: `gguf_fixture` writes it once."""
    path = build_folder() / "fixtures" / f"{kind}-{zlib.crc32(options.encode()):08x}.gguf"
    if path.exists():
        return path
    tools = [folder / "gguf_fixture" for folder in (build_folder(), *sorted((ROOT / "build").glob("*")))]
    tool = next((tool for tool in tools if tool.exists()), None)
    if tool is None:
        raise Skip("no build has gguf_fixture")
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(f".{os.getpid()}")  # another test may make the same
    subprocess.run([tool, half, *options.split()], check=True)
    half.rename(path)
    return path


def default_model():
    return MODEL if MODEL.exists() else fixture()


def engine_environment():
    """Where the engine is, if the build under test has none of its own (presets without it)."""
    if (build_folder() / "shoal-engine").exists() or "SHOAL_ENGINE" in os.environ:
        return {}
    for engine in sorted((ROOT / "build").glob("*/shoal-engine")):
        libraries = engine.parent / "engine-libs"
        return {"SHOAL_ENGINE": str(engine)} | ({"SHOAL_ENGINE_LIBS": str(libraries)} if libraries.exists() else {})
    raise Skip("no build has shoal-engine: ./run build accept")


def lying_engine(folder, how):
    """The environment of a node whose engine is the real one behind harness.liar."""
    real = {**os.environ, **engine_environment()}
    program = Path(real.get("SHOAL_ENGINE", build_folder() / "shoal-engine"))
    libraries = Path(real.get("SHOAL_ENGINE_LIBS", program.parent / "engine-libs"))
    loader = next(iter(sorted(libraries.glob("ld-linux-*"))), None)
    command = [str(program)]
    if loader:
        command = [str(loader), "--library-path", str(libraries), *command]
    if (libraries / "ggml" / "backends0").exists():
        command += ["--backends", str(libraries / "ggml" / "backends0")]
    script = folder / "lying-engine"
    script.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT / 'test')!r})\n"
                      f"from harness.liar import main\nmain({command!r} + sys.argv[1:], {how!r})\n")
    script.chmod(0o755)
    nothing = folder / "no-libraries"  # the script brings its own
    nothing.mkdir()
    return {"SHOAL_ENGINE": str(script), "SHOAL_ENGINE_LIBS": str(nothing)}


def free_port(addresses):
    """A port that is free on every one of the addresses."""
    for port in random.sample(PORTS, 200):
        try:
            for address in addresses:
                with socket.socket() as probe:
                    probe.bind((address, port))
            return port
        except OSError:
            continue
    raise Skip("no free port on the loopback addresses")


def ranks_of(hop):
    return hop[2] if hop and len(hop) > 2 else 1


class Node:
    """One process of the network: what it is called, where its files are, how to start it again."""

    def __init__(self, network, name, arguments, address=None, state=None):
        self.network = network
        self.name = name
        self.address = address  # "127.A.0.1:port" of its links; None for a client
        self.folder = network.folder / name
        self.folder.mkdir()
        self.state = state or self.folder / "state"
        self.trace_file = self.folder / "trace.jsonl"
        self.tap_file = self.folder / "tap.jsonl"
        self.arguments = arguments
        self.environment = {}  # beside the network's
        self.process = None
        self.api = None

    def start(self, *more):
        command = [self.network.program, "up", *self.arguments, "--state", self.state,
                   "--network", self.network.network_file, "--trace", self.trace_file, *more]
        if self.network.tap:
            command += ["--tap", self.tap_file]
        self.process = Process(self.name, command, self.folder / f"{self.name}.log",
                               {**self.network.environment, **self.environment})
        return self

    def kill(self):
        self.process.kill()

    def stop(self):
        return self.process.stop()

    def id(self):
        """Its node id, as traces and taps name it in `peer`."""
        shown = subprocess.run([self.network.program, "keys", "--state", self.state], capture_output=True, text=True,
                               check=True)
        return shown.stdout.strip()

    def trace(self):
        """What it said of its links so far: {t, dir, peer, command, size} for each cell, {t, event, …} for the rest."""
        return read_lines(self.trace_file)

    def taps(self):
        """Every frame and peeled cell that it handled so far (builds with the tap only): {kind, link, dir, peer,
        command, bytes}; the bytes are hexadecimal."""
        return read_lines(self.tap_file)


class Network:
    """Starts on entry, ends on exit. Every node has its own /16: 127.1.0.0 for the verifier, then relays, then models.

    Four circuits that share nothing but two guards need ten relays; two more leave room for repair.

        with Network(folder, relays=12, models=1) as net:
            net.client.api.chat("hello")
            net.relays[0].kill()

    With `hops`, a list of (first, end), the layers of the first model node are on nodes of their own: `stages`, and
    `standby_stages` for those of `standbys`; (first, end, ranks) is a group of so many nodes, one after another in
    these lists. `stage_files` says what each hop reads, in that order, if not the model. With `delay_ms` every link to
    the first model node and to a stage has that delay one way; {name: ms} says how far each of them is from where all
    lines meet, so that a link between two has the sum of both. `liars`, {index: how}, gives model nodes an engine that
    lies (harness.liar), `stage_liars` does so with hops. With `leads` so many model nodes lead the same hops.

    `plan`, a function of the network that is called before any of these nodes runs, gives the lead's options in place
    of a --hop and --standby for each; `hops` and `standbys` then hold None for each node.
    """

    def __init__(self, folder, relays=12, models=1, clients=1, model_file=None, pacer="fast", tap=True, options=(),
                 hops=(), standbys=(), stage_files=(), lead_options=(), delay_ms=0, liars=(),
                 plan=None, stage_liars=(), leads=1):
        self.folder = folder / "net"
        self.folder.mkdir()
        self.program = build_folder() / "shoal"
        if not self.program.exists():
            raise Skip(f"{self.program} is not built")
        self.tap = tap
        self.pacer = pacer
        self.model_file = model_file or default_model()
        self.environment = engine_environment()
        self.options = tuple(options)
        self.network_file = self.folder / "genesis" / "network.toml"
        self.hops, self.standbys = tuple(hops), tuple(standbys)
        self.lead_options, self.stage_files = tuple(lead_options), tuple(stage_files)
        self.delay_ms = delay_ms
        self.liars, self.stage_liars = dict(liars), dict(stage_liars)
        self._lead_count = leads
        self.plan = plan
        self.delays = []
        ranges = (*self.hops, *self.standbys)
        nodes = 1 + relays + models + sum(ranks_of(each) for each in ranges)
        self._addresses = [f"127.{number}.0.1" for number in range(1, 1 + nodes)]
        self._port = free_port(self._addresses)
        self._next_client = 0
        self._relay_count, self._model_count, self._client_count = relays, models, clients
        self.verifier, self.relays, self.models, self.clients = None, [], [], []
        self.stages, self.standby_stages = [], []  # nodes of `hops` and `standbys`, in their order

    @property
    def client(self):
        return self.clients[0]

    def nodes(self):
        return [node for node in (self.verifier, *self.relays, *self.stages, *self.standby_stages, *self.models,
                              *self.clients) if node]

    def run(self, *words, timeout=280):
        """Another command of the program, to its end: a CompletedProcess with its words."""
        return subprocess.run([str(word) for word in (self.program, *words)], capture_output=True, text=True,
                              check=False, env={**os.environ, **self.environment}, timeout=timeout)

    def __enter__(self):
        try:
            self._start()
            return self
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind, value, trace):
        self.stop()

    def stop(self):
        for node in reversed(self.nodes()):
            if node.process:
                node.stop()
        for delay in self.delays:
            delay.stop()

    def _where(self, index):
        return f"{self._addresses[index]}:{self._port}"

    def _start(self):
        genesis = Process("genesis", [self.program, "genesis", "--dir", self.network_file.parent, "--verifier-address",
                                      self._where(0)], self.folder / "genesis.log")
        if genesis.wait_end() != 0:
            raise AssertionError(f"shoal genesis failed:\n{genesis.tail()}")
        self.verifier = self._node("verifier", ["--verifier"], 0, self.network_file.parent / "verifier").start()
        for index in range(self._relay_count):
            self.relays.append(self._node(f"relay{index}", ["--relay"], 1 + index).start())
        for index in range(self._model_count):
            where = 1 + self._relay_count + index
            self.models.append(self._node(f"model{index}", ["--model", self.model_file], where))
            if index in self.liars:
                self.models[-1].environment = lying_engine(self.models[-1].folder, self.liars[index])
        if self.hops:
            self._start_stages()
        for node in self.models:
            node.start()
        for _ in range(self._client_count):
            self.add_client()
        for client in self.clients:
            self.wait_ready(client)

    def _start_stages(self):
        """The lead has to know its hops, and they have to know it: ids come before processes."""
        leads = self.models[:self._lead_count]
        files = iter(self.stage_files or [self.model_file] * len(self.hops + self.standbys))
        where = 1 + self._relay_count + self._model_count
        typed = []
        for option, ranges, nodes in (("--hop", self.hops, self.stages),
                                      ("--standby", self.standbys, self.standby_stages)):
            for index, layers in enumerate(ranges):
                group, file = [], next(files)
                for rank in range(ranks_of(layers)):
                    arguments = ["--stage", file, *(word for lead in leads for word in ("--stage-for", lead.id()))]
                    node = self._node(f"{option[2:]}{index}" + (f"-rank{rank}" if rank else ""), arguments, where)
                    self._delay(node)
                    group.append(node)
                    where += 1
                typed += [option, f"{'+'.join(node.id() for node in group)}:{layers[0]}-{layers[1]}"] if layers else []
                nodes += group
        for index, how in self.stage_liars.items():
            self.stages[index].environment = lying_engine(self.stages[index].folder, how)
        for lead in leads:
            lead.arguments += self.plan(self) if self.plan else typed
            lead.arguments += self.lead_options
        for node in (*self.stages, *self.standby_stages):
            node.start()
        for lead in leads:
            self._delay(lead)

    def _names_of_lead_and_stages(self):
        """In the order of their addresses; of hops that are one node each, and of one model node."""
        return ["model0", *(f"hop{index}" for index in range(len(self.hops))),
                *(f"standby{index}" for index in range(len(self.standbys)))]

    def _delay(self, node):
        """Others reach the node over a delayed link: it advertises the near end of it."""
        if not self.delay_ms:
            return
        host = node.address.rsplit(":", 1)[0]
        near = f"{host}:{free_port([host])}"
        own, others = self.delay_ms, []
        if isinstance(self.delay_ms, dict):
            own = self.delay_ms.get(node.name, 0)
            others = [word for index, name in enumerate(self._names_of_lead_and_stages()) if name != node.name
                      for word in ("--from", f"{self._addresses[1 + self._relay_count + index]}="
                                             f"{self.delay_ms.get(name, 0)}")]
        delay = Process(f"delay-{node.name}", [sys.executable, "-m", "harness.delay", near, node.address, "--delay-ms",
                                               own, *others], self.folder / f"delay-{node.name}.log", cwd=ROOT / "test")
        delay.wait_line("listening")
        self.delays.append(delay)
        node.arguments += ["--advertise", near]

    def _node(self, name, arguments, index, state=None):
        where = self._where(index)
        return Node(self, name, [*arguments, "--listen", where, *self.options], where, state)

    def add_client(self, *more, pacer=None):
        """Starts one more client, with a gateway of its own; wait_ready() says when it can be asked."""
        port = free_port(["127.0.0.1"])
        name = f"client{self._next_client}"
        self._next_client += 1
        if self.hops and "--whole-only" not in more:
            more = ("--allow-pipelines", *more)
        more = tuple(word for word in more if word != "--whole-only")
        client = Node(self, name, ["--client", "--api-port", str(port), "--pacer", pacer or self.pacer,
                                  *self.options, *more])
        client.api = Api(port)
        self.clients.append(client.start())
        return client

    def add_boomerang(self, ranges, *more, model_file=None, ends_file=None, name="boomerang"):
        """A node that asks its own model over hops with these layers of it, and its API; `hops` are their nodes. It is
        ready when its /ready says so. `ends_file` is what it reads itself, if not the model."""
        port = free_port(["127.0.0.1"])
        file = model_file or self.model_file
        node = Node(self, name, ["--boomerang", "--model", f"{name}={ends_file or file}", "--api-port", str(port),
                                 *self.options])
        node.api, node.hops = Api(port), []
        for first, end in ranges:
            host = f"127.{len(self._addresses) + 1}.0.1"
            self._addresses.append(host)
            where = f"{host}:{free_port([host])}"
            arguments = ["--stage", file, "--stage-for", node.id(), "--listen", where, *self.options]
            hop = Node(self, f"{name}-hop{len(node.hops)}", arguments, where)
            node.hops.append(hop.start())
            self.stages.append(hop)
            node.arguments += ["--hop", f"{hop.id()}:{first}-{end}"]
        node.arguments += more
        self.models.append(node.start())
        return node

    def wait_models(self, count, timeout=90):
        """Until `self.client` knows so many model nodes. A client that can ask has no hurry for a newer directory, so
        one that came before the last of them was listed is replaced."""
        def known():
            if self.client.api.get("/ready")["model_nodes"] >= count:
                return True
            self.clients.pop(0).stop()
            self.add_client()
            self.wait_ready(self.clients[-1])
            return False

        until(known, f"{count} model nodes are listed", timeout)

    def wait_ready(self, client, timeout=90):
        """Until the client has circuits and knows a model node; a node that died meanwhile ends the wait."""
        def all_alive():
            for node in self.nodes():
                node.process.expect_alive()

        until(client.api.is_ready, f"{client.name} says /ready", timeout, all_alive)
