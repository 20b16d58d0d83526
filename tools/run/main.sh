#!/usr/bin/env bash
# What stands behind ./run: set-up in shell, since a bare machine has no Python yet; the rest in tools/run/*.py.
set -euo pipefail
cd "$(dirname "$0")/../.."

help() {
    cat <<'TEXT'
usage: ./run COMMAND

  demo [ARGS]             start a private network on this machine, ask it one question, leave its API up
                          --once: stop after the answer    --port N: port of the API
  test [--long]           build everything and run every test; the last line is the tally
  build [PRESET]          release (default), debug, asan, tsan or fuzz, into build/PRESET
  lint                    every rule of tools/tidy, clang-format and clang-tidy over all files
  fuzz [--seconds N] [--keep] [TARGET ...]
                          run fuzz targets (all, 60 s each); --keep adds what was learnt to test/corpus
  bench [--json FILE]     the table of figures
  mini [--grade] [ARGS]   make the small models of models/ from nothing, about 80 minutes; --grade: judge one
  package                 the relocatable archive: build/shoal-VERSION-ARCH.tar.xz
  setup                   install what is missing (every command above begins with this)
  clean                   remove build/
  help                    this page

Logs: build/logs/. Environment: SHOAL_JOBS (compilers at once), SHOAL_LLAMA_PREFIX (a llama.cpp of yours),
SHOAL_SKIP_PACKAGES=1 (install no Debian package).
TEXT
}

setup() {
    mkdir -p build/logs
    [ "${SHOAL_SKIP_PACKAGES:-}" = 1 ] || tools/setup/debian.sh
    # The private prefix goes to the CMake configuration by itself (cmake/llama.cmake looks where this leaves it).
    tools/setup/llama.sh
}

command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
    help | --help | -h) help ;;
    setup) setup ;;
    clean) rm -rf build ;;
    test | build | lint | fuzz | bench | demo | mini | package)
        setup
        # Figures want the peer measured in the same run; a test does not.
        [ "$command" != bench ] || tools/setup/llama.sh --with-tools
        exec python3 tools/run/main.py "$command" "$@"
        ;;
    *)
        echo "./run: there is no command '$command'; ./run help lists them" >&2
        exit 2
        ;;
esac
