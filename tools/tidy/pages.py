"""Wire formats: header, page, vectors and fuzz target belong together."""

import re

from rules import rule

# A codec, as against a helper of codecs.
CODEC = re.compile(r"\b(?:encode|decode)(?:_\w+)? ?\(")


@rule("wire pages")
def wire_pages(tree):
    """Each wire/x.h that codes messages has protocol/x.md, protocol/vectors/x.json and x_fuzz.cc."""
    product = {include.target for source in tree.code() if not source.is_test for include in source.includes}
    tests = {include.target for source in tree.code() if source.is_test for include in source.includes}
    for source in tree.room_files("wire"):
        if source.suffix != ".h" or source.is_test or not CODEC.search(source.code):
            continue
        if f"wire/{source.name}" in tests - product:
            continue  # a helper of tests
        stem = source.stem
        for path, what in (
            (f"protocol/{stem}.md", "its page"),
            (f"protocol/vectors/{stem}.json", "its vectors"),
            (f"src/wire/{stem}_fuzz.cc", "the fuzz target of its decoders"),
        ):
            if path not in tree.paths:
                yield source.path, 1, f"lacks {path}, {what}"


@rule("protocol pages")
def protocol_pages(tree):
    """Each page of protocol/ is named by a header, and each page that the code names exists."""
    named = set()
    for source in tree.code():
        for number, line in enumerate(source.lines, 1):
            for word in line.replace(")", " ").replace(",", " ").replace(";", " ").split():
                word = word.rstrip(".:")
                if word.startswith("protocol/") and word.endswith(".md") and "*" not in word:
                    named.add(word)
                    if word not in tree.paths:
                        yield source.path, number, f"names {word}, which is not there"
    for path in tree.paths:
        if path.startswith("protocol/") and path.endswith(".md") and path.count("/") == 1:
            if path not in named and path != "protocol/README.md":
                yield path, 1, "no code names this page: say in the header that implements it `Format: " + path + "`"


@rule("fuzz corpora")
def fuzz_corpora(tree):
    """Each fuzz target has inputs to start from, so that five seconds reach past the first check."""
    for source in tree.code():
        if source.stem.endswith("_fuzz") and source.room:
            folder = f"test/corpus/{source.room}_{source.stem}"
            if folder not in tree.paths:
                yield source.path, 1, f"has no corpus in {folder}: ./run fuzz --keep {source.room}_{source.stem}"
