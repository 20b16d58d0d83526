"""B19: `--gpu` is granted or refused. Without a GPU, or with a renderer in software in its place, `shoal up` and `shoal
bench` end with one line that says what was looked for, what was found and what to do, before anything listens; nothing
is left of the start. Without `--gpu` no driver is touched at all.

On a machine with a GPU a node answers over the network with it, and says what the processor says."""
# build: accept

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, Process, Skip, check, main
from harness.network import default_model, engine_environment, fixture, free_port
from harness.run import build_folder

BACK_END = "libggml-vulkan.so"
QUESTION = "What is the capital of France?"
ASK = {"max_tokens": 24, "temperature": 0, "seed": 7}
# Where Mesa's renderer in software says that it is.
SOFTWARE = [Path(folder) / f"lvp_icd{arch}.json" for folder in ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d")
            for arch in ("", ".x86_64", ".aarch64")]


class Starts:
    def __init__(self, folder):
        self.program = build_folder() / "shoal"
        if not self.program.exists():
            raise Skip(f"{self.program} is not built")
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("SHOAL_")} | engine_environment()
        self.network = folder / "net" / "network.toml"
        self.port = free_port(["127.2.0.1"])
        self.run("genesis", "--dir", self.network.parent, "--verifier-address", f"127.1.0.1:{self.port}")
        self.state = folder / "state"
        self.common = ["--state", self.state, "--network", self.network]
        self.listen = ["--listen", f"127.2.0.1:{self.port}"]

    def run(self, *words, **environment):
        return subprocess.run([str(word) for word in (self.program, *words)], capture_output=True, text=True,
                              check=False, env=self.environment | environment, timeout=150)

    def refused(self, done, *named):
        check(done.returncode == 2, f"exit status {done.returncode}: {done}")
        check(done.stderr.startswith("shoal: --gpu") and done.stderr.count("\n") == 1, f"not one line: {done.stderr!r}")
        check(not done.stdout, f"it wrote to stdout: {done.stdout!r}")
        for word in named:
            check(word in done.stderr, f"'{word}' is not in: {done.stderr}")
        check(not self.state.exists(), "a refused start left a state directory")
        with socket.socket() as probe:
            probe.bind(("127.2.0.1", self.port))  # nobody listens there

    def libraries_without(self, name):
        """The engine's libraries, all but one; None where they are the system's."""
        libraries = Path(self.environment.get("SHOAL_ENGINE_LIBS", build_folder() / "engine-libs"))
        if not libraries.exists():
            return None
        copy = self.folder / f"without-{name}"
        left_out = {name, "cmake", "pkgconfig"}
        shutil.copytree(libraries.resolve(), copy, symlinks=False, copy_function=os.symlink,
                        ignore=lambda _, names: left_out.intersection(names))
        return str(copy)


def words(s):
    model = ["--model", fixture()]
    for bad in ("0", "513", "some", "-1"):
        s.refused(s.run("up", *s.common, *s.listen, *model, f"--gpu={bad}"), f"--gpu {bad}", "off, auto or a number")
    s.refused(s.run("up", *s.common, *s.listen, *model, "--gpu-device", "Vulkan0"), "needs --gpu auto")
    s.refused(s.run("up", *s.common, "--gpu", "auto"), "--model or --stage")
    s.refused(s.run("up", *s.common, *s.listen, *model, "--model", f"other={fixture()}", "--gpu", "auto"),
              "start a node for each")
    s.refused(s.run("up", *s.common, *s.listen, "--model", fixture("slow"), "--hop", "ab" * 32 + ":0-8", "--gpu", "4"),
              "computes no layer")


def found_devices(s):
    """What the engine finds: (a GPU's name or None, what it says)."""
    libraries = Path(s.environment.get("SHOAL_ENGINE_LIBS", build_folder() / "engine-libs"))
    engine = s.environment.get("SHOAL_ENGINE", str(build_folder() / "shoal-engine"))
    loader = next(iter(sorted(libraries.glob("ld-linux-*"))), None)
    command = [str(loader), "--library-path", str(libraries), engine] if loader else [engine]
    if (libraries / "ggml" / "backends0").exists():
        command += ["--backends", str(libraries / "ggml" / "backends0")]
    done = subprocess.run([*command, "--find-gpu"], capture_output=True, text=True, check=False, env=s.environment,
                          timeout=150)
    chosen = [line.split("\t")[1] for line in done.stdout.splitlines() if line.startswith("chosen\t")]
    check((done.returncode == 0) == bool(chosen), f"--find-gpu: {done}")
    return (chosen[0] if chosen else None), done.stdout + done.stderr


def refused_everywhere(s, *named, **environment):
    """By each that may ask, for as many as fit and for a number; with the option that was given and what to do."""
    for gpu in ("auto", "8"):
        said = (f"--gpu {gpu}: looked for a GPU, but", "or leave --gpu out to compute on the processor", *named)
        s.refused(s.run("up", *s.common, *s.listen, "--model", fixture(), "--gpu", gpu, **environment), *said)
        s.refused(s.run("up", *s.common, *s.listen, "--stage", fixture(), "--stage-for", "ab" * 32, "--gpu", gpu,
                        **environment), *said)
        s.refused(s.run("bench", *s.common, "--model", fixture(), "--gpu", gpu, **environment), *said)


def no_back_end(s):
    copy = s.libraries_without(BACK_END)
    if copy:
        refused_everywhere(s, BACK_END, "is not installed", "tools/setup/llama.sh", SHOAL_ENGINE_LIBS=copy)


def no_driver(s):
    """A list of drivers that names none: as on a machine without any."""
    nothing = s.folder / "nothing.json"
    nothing.write_text("{}")
    refused_everywhere(s, "no Vulkan driver is installed", "install the Vulkan driver of your GPU",
                       VK_DRIVER_FILES=str(nothing), VK_ICD_FILENAMES=str(nothing))


def software_only(s):
    """The processor in a GPU's clothes, also where ggml itself is told to take it for one."""
    drivers = os.environ.get("SHOAL_SOFTWARE_VULKAN") or next((str(each) for each in SOFTWARE if each.exists()), None)
    if not drivers:
        print("  no renderer in software is installed (package mesa-vulkan-drivers): its refusal was not tried")
        return
    for more in ({}, {"GGML_VK_VISIBLE_DEVICES": "0"}):
        refused_everywhere(s, "found only", "a software renderer, which is no GPU", VK_DRIVER_FILES=drivers,
                           VK_ICD_FILENAMES=drivers, **more)


def mapped(pid):
    return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def without_it_no_driver_is_touched(s):
    process = Process("sound", [s.program, "up", *s.common, *s.listen, "--model", fixture()], s.folder / "sound.log",
                      s.environment)
    process.wait_line("listens on")
    # The engine is not dumpable, so its maps are its own; what it has open says as much, and root may look.
    engines = children(process.pid)
    check(engines, "the node has no engine")
    if os.geteuid() == 0:
        maps = mapped(engines[0])
        check("libggml-cpu" in maps, "the engine's maps cannot be read")
        check("vulkan" not in maps, "an engine without --gpu has loaded a driver")
    check("vulkan" not in mapped(process.pid), "the node itself has loaded a driver")
    process.signal(signal.SIGTERM)
    check(process.wait_end() == 0, f"a stopped node exits with {process.status}")


def answer(folder, name, *more):
    class WithOptions(Network):
        def _node(self, called, arguments, *rest):
            return super()._node(called, [*arguments, *more] if called.startswith("model") else arguments, *rest)

    (folder / name).mkdir()
    with WithOptions(folder / name, relays=12, models=1, model_file=default_model()) as net:
        reply = net.client.api.chat(QUESTION, **ASK)
        check(reply.done, f"{name}: {reply}")
        if more:
            log = (net.models[0].folder / f"{net.models[0].name}.log").read_text()
            check("layers are computed by" in log, f"{name}: the log does not say who computes: {log}")
        return reply.text


def with_a_gpu(s, folder, name):
    print(f"  a GPU is here: {name}")
    s.refused(s.run("up", *s.common, *s.listen, "--model", fixture(), "--gpu", "auto", "--gpu-device", "Vulkan99"),
              "none is called Vulkan99", name)
    many = s.run("up", *s.common, *s.listen, "--model", fixture(), "--gpu", "400")
    check(many.returncode == 2 and "400 layers cannot go to the GPU: only" in many.stderr, f"too many layers: {many}")
    processor = answer(folder, "processor")
    for gpu in ("auto", "2"):
        check(answer(folder, f"gpu-{gpu}", "--gpu", gpu) == processor, f"--gpu {gpu} says something else")


def test(folder):
    starts = Starts(folder)
    words(starts)
    no_back_end(starts)
    name, said = found_devices(starts)
    if BACK_END not in said:  # else that is all that can be found out
        no_driver(starts)
        software_only(starts)
    if name is None:
        refused_everywhere(starts)
    without_it_no_driver_is_touched(starts)
    if name is not None:
        with_a_gpu(starts, folder, name)


main(test)
