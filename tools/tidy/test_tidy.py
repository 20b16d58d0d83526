"""Every rule fires on a bad tree and is silent on a good one."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import format_check  # noqa: E402
import shapes  # noqa: E402
from rules import NotHere, load  # noqa: E402
from source import LayersError, Source, make_tree, parse_layers  # noqa: E402
from symbols import forbidden_links  # noqa: E402

RULES = load()
LAYERS = "0 base :\n1 crypto : base\n1 net : base crypto\n2 link : base crypto\n"
NOTE = "TO" + "DO"
README = "# link\n## Owns\nx\n## May include\nx\n## Never\nx\n## Start reading at\nx\n"

# rule -> [(bad files, good files)]; every file of a pair is one tree. src/LAYERS is added to both.
CASES = {
    "layers": [
        ({"src/crypto/x.h": '#include "net/y.h"\n', "src/net/y.h": ""}, {"src/net/y.h": '#include "crypto/x.h"\n'}),
        ({"src/attic/x.h": ""}, {}),
        ({"src/link/deep/x.h": ""}, {}),
        ({"src/LAYERS": LAYERS + "3 empty : base\n"}, {}),
        ({"src/LAYERS": LAYERS.replace("0 base :", "0 base : link")}, {}),
        ({"src/LAYERS": LAYERS.replace("2 link : base", "2 link : nothing")}, {}),
    ],
    "include paths": [
        (
            {"src/link/x.cc": '#include "x.h"\n', "src/link/x.h": ""},
            {"src/link/x.cc": '#include "link/x.h"\n', "src/link/x.h": ""},
        ),
        ({"src/link/x.cc": "#include <link/x.h>\n", "src/link/x.h": ""}, {"src/link/x.cc": "#include <vector>\n"}),
    ],
    "cycles": [
        (
            {"src/link/a.h": '#include "link/b.h"\n', "src/link/b.h": '#include "link/a.h"\n'},
            {"src/link/a.h": '#include "link/b.h"\n', "src/link/b.h": ""},
        ),
        ({"src/link/a.h": '#include "link/a.h"\n'}, {"src/link/a.h": '// #include "link/a.h"\n'}),
    ],
    "dead files": [
        (
            {
                "src/link/x.h": "",
                "src/link/x.cc": '#include "link/x.h"\n',
                "src/link/x_test.cc": '#include "link/x.h"\n',
            },
            {
                "src/link/x.h": "",
                "src/link/x.cc": '#include "link/x.h"\n',
                "src/link/y_test.cc": '#include "link/x.h"\n',
            },
        ),
        (
            {"src/link/lost.cc": "#include <vector>\n"},
            {"src/link/part.cc": '#include "link/x.h"\n', "src/link/x.h": ""},
        ),
        ({"src/link/lost.cc": ""}, {"src/link/lost_main.cc": "", "src/link/main.cc": "", "src/link/x_bench.cc": ""}),
    ],
    "self first": [
        (
            {"src/link/x.h": "#pragma once\n", "src/link/x.cc": '#include <vector>\n#include "link/x.h"\n'},
            {"src/link/x.h": "#pragma once\n", "src/link/x.cc": '#include "link/x.h"\n#include <vector>\n'},
        ),
        ({"src/link/x.h": "// #pragma once\n"}, {"src/link/x.h": "#pragma once\n"}),
        (
            {"src/link/x.h": "#pragma once\n", "src/link/x_part.cc": "#include <vector>\n"},
            {"src/link/x.h": "#pragma once\n", "src/link/x_part.cc": '#include "link/x.h"\n'},
        ),
    ],
    "vendor walls": [
        ({"src/link/x.cc": "#include <sodium.h>\n"}, {"src/crypto/x.cc": "#include <sodium.h>\n"}),
        ({"src/link/x.cc": "#include <openssl/evp.h>\n"}, {"src/crypto/x.cc": "#include <openssl/evp.h>\n"}),
        ({"src/link/x.cc": "#include <openssl/ssl.h>\n"}, {"src/net/x.cc": "#include <openssl/ssl.h>\n"}),
        ({"src/net/x.cc": "#include <openssl/evp.h>\n"}, {}),
        ({"src/link/x.cc": "#include <boost/asio.hpp>\n"}, {"src/net/x.cc": "#include <boost/asio.hpp>\n"}),
        ({"src/net/x.cc": "#include <nlohmann/json.hpp>\n"}, {"src/net/x_test.cc": "#include <nlohmann/json.hpp>\n"}),
        ({"src/net/x.cc": "#include <llama.h>\n"}, {"src/engine_worker/x.cc": "#include <ggml-backend.h>\n"}),
        ({"src/link/x.cc": "#include <unistd.h>\n"}, {"src/net/x.cc": "#include <unistd.h>\n"}),
        ({"src/net/x.cc": "#include <spdlog/spdlog.h>\n"}, {"src/app/x.cc": "#include <spdlog/spdlog.h>\n"}),
        ({"src/link/x.cc": "#include <sys/random.h>\n"}, {"src/crypto/x.cc": "#include <sys/random.h>\n"}),
    ],
    "banned names": [
        ({"src/link/x.h": "void f(const Plaintext& text);\n"}, {"src/crypto/x.h": "void f(const Plaintext& text);\n"}),
        ({"src/net/x.h": "class ChatRequest;\n"}, {"src/net/x.h": "// never a ChatRequest\nclass ChatRequests;\n"}),
    ],
    "pure rooms": [
        ({"src/link/x.cc": "auto t = std::chrono::steady_clock::now();\n"}, {"src/net/x.cc": "std::thread t;\n"}),
        ({"src/link/x.cc": "std::random_device device;\n"}, {"src/link/x.cc": "auto f(Rng& rng);\n"}),
        ({"src/link/x.cc": "std::thread t;\n"}, {"src/link/x_test.cc": "std::thread t;\n"}),
        ({"src/link/x.cc": "std::mutex m;\n"}, {"src/link/x.cc": "// no std::mutex here\n"}),
        ({"src/link/x.cc": "void f() { std::cout << 1; }\n"}, {"src/link/x.cc": 'auto s = "std::cout";\n'}),
        ({"src/link/x.cc": 'void f() { printf("x"); }\n'}, {"src/link/x.cc": "void f() { snprintf(at, 1, s); }\n"}),
        ({"src/link/x.cc": 'auto v = std::getenv("HOME");\n'}, {}),
        ({"src/link/x.cc": 'std::ifstream file("x");\n'}, {}),
        ({"src/base/x.cc": "std::this_thread::sleep_for(1s);\n"}, {}),
    ],
    "mutable statics": [
        ({"src/link/x.cc": "static int count = 0;\n"}, {"src/link/x.cc": "static const int count = 0;\n"}),
        (
            {"src/net/x.cc": "    static std::map<int, int> cache;\n"},
            {"src/net/x.cc": "    static constexpr int a = 1;\nstatic int f(int x);\nstatic_assert(true);\n"},
        ),
        ({"src/link/x.cc": "thread_local int depth{0};\n"}, {"src/link/x.h": "    static Result<X> make(int a);\n"}),
    ],
    "sizes": [
        ({"src/link/x.cc": "int a;\n" * 801}, {"src/link/x.cc": "int a;\n" * 800}),
        ({"src/link/x.cc": "//" + "x" * 119}, {"src/link/x.cc": "//" + "x" * 118}),
        (
            {"src/link/x.cc": "void f() {\n" + "    g();\n" * 69 + "}\n"},
            {"src/link/x.cc": "void f() {\n" + "    g();\n" * 68 + "}\n"},
        ),
        ({"tools/x.py": "def f():\n" + "    g()\n" * 70}, {"tools/x.py": ("def f():\n" + "    g()\n" * 69) * 2}),
    ],
    "tests": [
        ({"src/link/x.cc": ""}, {"src/link/x.cc": "", "src/link/x_test.cc": "", "src/net/x.h": ""}),
    ],
    "bounded": [
        (
            {"src/link/x.h": "    std::vector<int> items_;\n"},
            {"src/link/x.h": "    std::vector<int> items_;  // bounded: links_max\n"},
        ),
        (
            {"src/link/x.h": "    std::map<int, std::deque<int>> by_id_;\n"},
            {"src/link/x.h": "    // bounded: one a link\n    std::map<int, std::deque<int>> by_id_;\n"},
        ),
        ({"src/link/x.h": "    Bytes pending_;\n"}, {"src/net/x.h": "    std::vector<int> items_;\n"}),
        (
            {"src/link/x.h": "    // bounded: x\n    Bytes a_;\n\n    Bytes b_;\n"},
            {"src/link/x.h": "    // bounded: x\n    Bytes a_;\n    Bytes b_;\n"},
        ),
    ],
    "shared ownership": [
        (
            {"src/net/x.h": "std::shared_ptr<Session> session_;\n"},
            {
                "src/net/x.h": "// owned by the loop's handlers and the server\nstd::shared_ptr<Session> session_;\n",
                "src/net/y.h": "std::weak_ptr<Session> s_;\nstd::shared_ptr<const Options> o_;\n",
            },
        ),
    ],
    "macros": [
        ({"src/link/x.h": "#define LIMIT 3\n"}, {"src/link/x.h": "#define ASSERT(x) x\n"}),
        (
            {"src/link/x.h": "#define MIN(a, b) a\n"},
            {"src/link/x.h": "#define MIN(a, b) a  // macro: a name of C's\n"},
        ),
    ],
    "room readme": [
        ({"src/link/x.h": ""}, {"src/link/x.h": "", "src/link/README.md": README}),
        ({"src/link/x.h": "", "src/link/README.md": README.replace("Never", "Rarely")}, {}),
        ({"src/link/x.h": "", "src/link/README.md": README + "x\n" * 30}, {}),
    ],
    "markdown": [
        ({"a.md": "# A\n# B\n"}, {"a.md": "# A\n```\n# not a title\n```\n"}),
        ({"a.md": "text\n"}, {"a.md": "# A\n"}),
        (
            {"a.md": "# A\n[b](b.md)\n"},
            {"a.md": "# A\n[b](docs/b.md#part)\n[c](#d)\n", "docs/b.md": "# B\n[a](../a.md)\n"},
        ),
        (
            {"a.md": "# A\nsee `src/link/gone.h`\n"},
            {"a.md": "# A\nsee `src/link/x.h`, `src/link/`\n", "src/link/x.h": ""},
        ),
    ],
    "notes to self": [
        ({"src/link/x.h": f"// {NOTE}: later\n"}, {"src/link/x.h": f"// {NOTE}S is a Spanish word\n"}),
    ],
    "machine paths": [
        ({"docs/a.md": "# A\nsee /home/someone/x\n"}, {"docs/a.md": "# A\nsee /usr/lib and /proc/self\n"}),
        ({"run": "cd /work/x\n"}, {"run": "cd src/work/x\ncd $HOME/work/x\n"}),
    ],
    "outside names": [
        (
            {"docs/a.md": "# A\nhttps://somewhere.com/x\n"},
            {"docs/a.md": "# A\nhttp://127.0.0.1:8642/ http://a.example/\n"},
        ),
        (
            {"docs/a.md": "# A\nhttps://b.org/x\n", "tools/tidy/names.txt": "a.org # why\n"},
            {"docs/a.md": "# A\nhttps://a.org/x\n", "tools/tidy/names.txt": "a.org # why\n"},
        ),
    ],
    "room table": [
        (
            {},
            {
                "src/LAYERS": "0 base :\n1 net : base\n",
                "ARCHITECTURE.md": "# A\n| 0 | `base` | x | – |\n| 1 | `net` | x | base |\n",
            },
        ),
        ({"src/LAYERS": "0 base :\n", "ARCHITECTURE.md": "# A\n| 1 | `base` | x | – |\n"}, {}),
        ({"src/LAYERS": "0 base :\n1 net : base\n", "ARCHITECTURE.md": "# A\n| 0 | `base` | x | – |\n"}, {}),
        ({"src/LAYERS": "0 base :\n", "ARCHITECTURE.md": "# A\n| 0 | base | x | – |\n| 1 | attic | x | base |\n"}, {}),
    ],
    "wire pages": [
        ({"src/wire/cell.h": "Bytes encode(int x);"}, {"src/wire/text.h": "bool is_text(int x);"}),
        (
            {"src/wire/a.h": "T decode();", "src/wire/b.cc": '#include "wire/a.h"\n'},
            {"src/wire/a.h": "T decode();", "src/wire/b_fuzz.cc": '#include "wire/a.h"\n'},
        ),
        (
            {"src/wire/cell.h": "R decode_x();"},
            {
                "src/wire/cell.h": "R decode_x();",
                "protocol/cell.md": "",
                "protocol/vectors/cell.json": "",
                "src/wire/cell_fuzz.cc": "",
            },
        ),
    ],
    "protocol pages": [
        (
            {"protocol/cell.md": "# C\n"},
            {"protocol/cell.md": "# C\n", "src/wire/cell.h": "// Format: protocol/cell.md.\n"},
        ),
        ({"src/wire/cell.h": "// Format: protocol/cell.md.\n"}, {}),
    ],
    "fuzz corpora": [
        ({"src/wire/cell_fuzz.cc": ""}, {"src/wire/cell_fuzz.cc": "", "test/corpus/wire_cell_fuzz/1": "x"}),
    ],
}
# These look at the machine and have tests of their own below.
SPECIAL = {"linked symbols", "format"}


def without_noise(rule, files):
    """The files of a case, with src/LAYERS and, for 'layers', a file in every room of it."""
    files = {"src/LAYERS": LAYERS, **files}
    if rule == "layers":
        for room in ("base", "crypto", "net", "link"):
            files.setdefault(f"src/{room}/zz.h", "")
    return make_tree(files)


class Rules(unittest.TestCase):
    def test_every_rule_has_a_case(self):
        self.assertEqual(set(RULES), set(CASES) | SPECIAL)

    def test_every_rule_says_what_it_is_about(self):
        for name, findings in RULES.items():
            self.assertTrue(callable(findings), name)

    def test_bad_files_in_format_are_found(self):
        if format_check.program() is None:
            self.skipTest("clang-format 14 is not here")
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "src/link").mkdir(parents=True)
            for text, count in (("int  a ;\n", 1), ("int a;\n", 0)):
                (root / "src/link/x.cc").write_text(text)
                tree = make_tree({"src/link/x.cc": text}, root)
                self.assertEqual(len(RULES["format"](tree)), count, text)

    def test_a_symbol_from_a_forbidden_room_is_found(self):
        rooms = parse_layers(LAYERS)
        symbols = {"base": ({"b"}, set()), "net": ({"n"}, {"b"}), "link": ({"l"}, {"b", "n", "printf"})}
        self.assertEqual(list(forbidden_links(rooms, symbols)), [("link", "net", "n")])

    def test_symbols_of_real_libraries_are_read(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for room, text in (("net", "void n() {}"), ("link", "void n(); void l() { n(); }")):
                source = root / f"{room}.cc"
                source.write_text(text)
                built = subprocess.run(["c++", "-c", source, "-o", root / f"{room}.o"], check=False)
                if built.returncode != 0:
                    self.skipTest("no compiler is here")
                subprocess.run(["ar", "rcs", root / f"libshoal_{room}.a", root / f"{room}.o"], check=True)
            found = RULES["linked symbols"](make_tree({"src/LAYERS": LAYERS}, root, root))
            self.assertEqual([finding.path for finding in found], ["src/link"])

    def test_without_a_build_the_symbols_are_not_claimed_to_be_right(self):
        with self.assertRaises(NotHere):
            RULES["linked symbols"](make_tree({"src/LAYERS": LAYERS}))


def add_case(rule, index, bad, good):
    def test(self):
        found = RULES[rule](without_noise(rule, bad))
        self.assertTrue(found, f"'{rule}' did not fire on {bad}")
        self.assertTrue(all(finding.message and finding.line > 0 for finding in found))
        silent = RULES[rule](without_noise(rule, good)) if good else []
        self.assertEqual([str(finding) for finding in silent], [])

    setattr(Rules, f"test_{rule.replace(' ', '_')}_{index}", test)


for _rule, _pairs in CASES.items():
    for _index, (_bad, _good) in enumerate(_pairs, 1):
        add_case(_rule, _index, _bad, _good)


class Reading(unittest.TestCase):
    def test_comments_and_strings_are_blanked_and_lines_kept(self):
        source = Source("x.cc", 'a /* b\nc */ "d\\"e" \'f\' 1\'000 // g\nR"(h\ni)" j')
        self.assertEqual(len(source.code_lines), 4)
        self.assertNotIn("b", source.code)
        self.assertNotIn("d", source.code)
        self.assertNotIn("h", source.code)
        self.assertIn("j", source.code_lines[3])
        self.assertIn("1'000", source.code)
        self.assertIn("g", source.comments[2])

    def test_a_table_that_cannot_be_read_is_refused(self):
        with self.assertRaises(LayersError):
            parse_layers("base: nothing\n")

    def test_functions_are_found_among_scopes_initialisers_and_lambdas(self):
        code = """
namespace a {
template <typename T>
class X : public Y<T> {
public:
    X(int a) : a_{a}, b_(a) {
        use();
    }
    int a_{0};
    std::array<int, 2> c_ = {1, 2};
};
struct P f(int x) { return {x}; }
enum class E : int { one, two };
auto value = [] {
    return 1;
}();
void g() {
    if (x) { y(); }
    h([&] {
        z();
    });
}
}
"""
        found = list(shapes.cpp_functions(Source("x.cc", code).code))
        self.assertEqual(found, [(6, 8), (12, 12), (17, 22)])


if __name__ == "__main__":
    unittest.main()
