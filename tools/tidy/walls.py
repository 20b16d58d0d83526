"""Walls: which room may see which outside header, which names may not pass where, what pure rooms may not do."""

import re
from fnmatch import fnmatchcase

from rules import rule

# (what it is, patterns of headers, rooms that may include them, what to do elsewhere). The first match counts.
VENDOR_WALLS = (
    (
        "OpenSSL's TLS",
        ("openssl/ssl*.h", "openssl/err.h", "openssl/bio.h", "openssl/x509*.h"),
        ("net", "crypto"),
        "use net's streams",
    ),
    (
        "a crypto library",
        ("sodium.h", "sodium/*", "openssl/*", "isa-l.h", "isa-l/*", "decaf*"),
        ("crypto",),
        "use a function of crypto/",
    ),
    ("Asio and Beast", ("boost/*",), ("net", "app"), "put the code into net, or make it a pure object"),
    ("llama.cpp", ("llama*.h", "ggml*.h", "gguf.h", "minja/*"), ("engine_worker",), "talk to engine/engine.h"),
    ("JSON", ("nlohmann/*",), ("dialect", "engine_worker"), "parse in dialect/ and hand over a type"),
    (
        "the program's own libraries",
        ("spdlog/*", "fmt/*", "CLI/*", "toml++/*", "toml.hpp"),
        ("app",),
        "log through base/log.h; format with std::string",
    ),
    ("the sandbox", ("seccomp.h", "linux/*", "sys/prctl.h"), ("engine_worker", "net"), "keep it in the worker"),
    (
        "an operating-system header",
        (
            "sys/*",
            "unistd.h",
            "fcntl.h",
            "netinet/*",
            "arpa/*",
            "net/if*.h",
            "netdb.h",
            "poll.h",
            "signal.h",
            "pthread.h",
            "dirent.h",
            "ifaddrs.h",
            "spawn.h",
            "dlfcn.h",
            "sched.h",
            "termios.h",
            "pwd.h",
            "syslog.h",
        ),
        ("net", "store", "engine_worker", "app"),
        "use net/ or store/",
    ),
)
# The tests of any room may read vectors, and look at processes and files.
TEST_ALLOWED = ("nlohmann/*", *VENDOR_WALLS[-1][1])
# What crypto needs of the system: its random source, and to hear of a fork, after which no byte may come twice.
CRYPTO_ALLOWED = ("sys/random.h", "pthread.h")


@rule("vendor walls")
def vendor_walls(tree):
    """Outside libraries stay behind the room that owns them."""
    for source in tree.code():
        for include in source.includes:
            if not include.system or (source.is_test and matches(include.target, TEST_ALLOWED)):
                continue
            if source.room == "crypto" and include.target in CRYPTO_ALLOWED:
                continue
            wall = next((wall for wall in VENDOR_WALLS if matches(include.target, wall[1])), None)
            if wall and source.room not in wall[2]:
                what, _, rooms, instead = wall
                yield (
                    source.path,
                    include.line,
                    f"<{include.target}> is {what}: only {' and '.join(rooms)} may include it ({instead})",
                )


def matches(header, patterns):
    return any(fnmatchcase(header, pattern) for pattern in patterns)


SECRET_NAMES = re.compile(r"\b(Plaintext|TokenIds|ChatRequest)\b")
BLIND_ROOMS = ("link", "circuit", "directory", "ledger", "net", "store")


@rule("banned names")
def banned_names(tree):
    """Rooms that carry a prompt do not know what it is."""
    for source in tree.code():
        if source.room not in BLIND_ROOMS:
            continue
        for number, line in enumerate(source.code_lines, 1):
            for name in SECRET_NAMES.findall(line):
                yield (
                    source.path,
                    number,
                    f"{name} may not be named in {source.room}: this room carries sealed bytes only (take a ByteView)",
                )


# (pattern, what it is, what to use instead)
PURE_BANS = (
    (
        r"\b(?:system_clock|steady_clock|high_resolution_clock|utc_clock)\b|\bclock_gettime\b|\bgettimeofday\b",
        "reads a clock",
        "take the time as an argument (Now of base/time.h)",
    ),
    (
        r"\bstd::random_device\b|\bstd::mt19937|\brand\s*\(\)|\bgetrandom\b|\bstd::default_random_engine\b",
        "makes randomness",
        "take an Rng& (base/rng.h)",
    ),
    (
        r"\bstd::(?:jthread|thread|async|this_thread)\b|\bpthread_",
        "starts or names a thread",
        "be a pure object; net runs worker threads",
    ),
    (
        r"\bstd::(?:recursive_|shared_|timed_)?mutex\b|"
        r"\bstd::(?:lock_guard|unique_lock|scoped_lock|condition_variable)\b|"
        r"\bstd::atomic\b",
        "shares state between threads",
        "belong to one thread; hand over by a queue",
    ),
    (r"\bstd::(?:cout|cerr|clog)\b|\b(?:f|v|vf)?printf\s*\(|\bputs\s*\(", "prints", "take a Log& (base/log.h)"),
    (r"\b(?:secure_)?getenv\b", "reads the environment", "take it as an option; app reads the environment"),
    (
        r"\bfopen\b|\bstd::[io]?fstream\b|\bstd::filesystem\b",
        "opens a file",
        "give Persist{bytes} out; store writes it",
    ),
    (r"\bsleep_for\b|\busleep\b|\bnanosleep\b", "waits", "give next_deadline() out"),
)
COMPILED_BANS = tuple((re.compile(pattern), what, instead) for pattern, what, instead in PURE_BANS)
# The assertion words end the process with a line on standard error.
PURE_EXEMPT = ("src/base/assert.cc",)


@rule("pure rooms")
def pure_rooms(tree):
    """Floors 2 to 4, base, wire and engine: no clock, randomness, thread, file or environment of their own."""
    for source in tree.code():
        if not tree.pure(source) or source.is_test or source.path in PURE_EXEMPT:
            continue
        for number, line in enumerate(source.code_lines, 1):
            for pattern, what, instead in COMPILED_BANS:
                found = pattern.search(line)
                if found:
                    yield source.path, number, f"{found.group().strip('( ')} {what}: {instead}"


MUTABLE_STATIC = re.compile(
    r"^\s*(?:inline\s+|static\s+|thread_local\s+)*(?:static|thread_local)\s+(?!const\b|constexpr\b|"
    r"constinit\s+const\b|inline\s+const|_assert)(.*)"
)


@rule("mutable statics")
def mutable_statics(tree):
    """No state outside objects: two nodes in one process must not meet. The worker is a process for one model."""
    for source in tree.code():
        if source.is_test or source.room == "engine_worker":
            continue
        for number, line in enumerate(source.code_lines, 1):
            found = MUTABLE_STATIC.match(line)
            if not found or line.lstrip().startswith("static_assert"):
                continue
            rest = found.group(1)
            declared = re.split(r"[=;{]", rest, maxsplit=1)[0]
            if "(" in declared or "const " in declared.split("<")[0] or not re.search(r"[=;{]", rest):
                continue  # a function, or a constant written the other way round
            yield source.path, number, f"'{line.strip()[:60]}' is state outside any object: make it a member"
