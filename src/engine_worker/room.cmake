# shoal-engine: the only target that sees libllama, ggml and minja. It may run under the private prefix's own loader and
# C library (tools/setup/llama.sh), so it brings everything else with it: the rooms it shares are compiled into it,
# and libsodium, libcrypto and libseccomp are linked in whole. So is the address sanitizer's library; undefined
# behaviour is a trap, which needs none. The sandbox holds in these builds too.
if(SHOAL_FUZZ)
  set(worker_pure src/engine_worker/gguf.cc src/engine_worker/gguf_writer.cc src/engine_worker/shard.cc
    src/engine_worker/shard_ranks.cc src/engine_worker/shard_table.cc src/engine_worker/kv_copy.cc
    src/engine_worker/kv_snapshot.cc)
  foreach(target gguf shard kv_copy kv_snapshot)
    add_executable(engine_worker_${target}_fuzz src/engine_worker/${target}_fuzz.cc ${worker_pure})
    target_link_libraries(engine_worker_${target}_fuzz PRIVATE shoal_wire shoal_crypto shoal_base)
    target_link_options(engine_worker_${target}_fuzz PRIVATE -fsanitize=fuzzer)
    set_property(GLOBAL APPEND PROPERTY SHOAL_FUZZERS engine_worker_${target}_fuzz)
  endforeach()
endif()
if(NOT SHOAL_ENGINE)
  return()
endif()

set(worker_prefix "${SHOAL_LLAMA_PREFIX}")
if(NOT worker_prefix AND DEFINED ENV{SHOAL_LLAMA_PREFIX})
  set(worker_prefix "$ENV{SHOAL_LLAMA_PREFIX}")
endif()
if(NOT worker_prefix AND EXISTS ${CMAKE_SOURCE_DIR}/build/llama/packages.txt)
  set(worker_prefix ${CMAKE_SOURCE_DIR}/build/llama)
endif()
if(worker_prefix)
  list(PREPEND CMAKE_PREFIX_PATH ${worker_prefix}/usr ${worker_prefix})
endif()
find_package(llama CONFIG QUIET)
find_path(SHOAL_MINJA_INCLUDE minja/chat-template.hpp HINTS ${worker_prefix}/usr/include)
find_library(SHOAL_SODIUM_A libsodium.a)
find_library(SHOAL_CRYPTO_A libcrypto.a)
find_library(SHOAL_SECCOMP_A libseccomp.a)
foreach(need llama_FOUND SHOAL_MINJA_INCLUDE SHOAL_SODIUM_A SHOAL_CRYPTO_A SHOAL_SECCOMP_A)
  if(NOT ${need})
    message(STATUS "******** shoal-engine is NOT built: ${need} is missing. Run tools/setup/llama.sh ********")
    return()
  endif()
endforeach()
message(STATUS "shoal-engine: llama ${llama_VERSION} in ${llama_DIR}")

# The loader of a private prefix stands beside its libraries; a system-wide libllama needs neither.
set(worker_libs)
foreach(loader ld-linux-x86-64.so.2 ld-linux-aarch64.so.1)
  file(GLOB found ${worker_prefix}/usr/lib/*/${loader})
  if(worker_prefix AND found)
    set(worker_loader ${found})
    get_filename_component(worker_libs ${found} DIRECTORY)
  endif()
endforeach()
if(worker_libs)
  # Found by the node beside its own program (src/backend/engine_files.h); no path is baked into a binary.
  file(CREATE_LINK ${worker_libs} ${CMAKE_BINARY_DIR}/engine-libs SYMBOLIC)
  set(worker_run ${worker_loader} --library-path ${worker_libs})
endif()

add_library(worker_flags INTERFACE)
get_target_property(options shoal_flags INTERFACE_COMPILE_OPTIONS)
list(FILTER options EXCLUDE REGEX "sanitize|omit-frame")
target_compile_options(worker_flags INTERFACE ${options})
if(SHOAL_SANITIZE MATCHES "undefined")
  target_compile_options(worker_flags INTERFACE -fsanitize=undefined -fsanitize-undefined-trap-on-error
    -D_GLIBCXX_ASSERTIONS)
endif()
if(SHOAL_SANITIZE MATCHES "address")
  target_compile_options(worker_flags INTERFACE -fsanitize=address -fno-omit-frame-pointer)
  target_link_options(worker_flags INTERFACE -fsanitize=address $<$<CXX_COMPILER_ID:GNU>:-static-libasan>)
endif()
get_target_property(options shoal_flags INTERFACE_LINK_OPTIONS)
list(FILTER options EXCLUDE REGEX "sanitize")
target_link_options(worker_flags INTERFACE ${options} -Wl,--allow-shlib-undefined -Wl,--disable-new-dtags)

file(GLOB worker_sources CONFIGURE_DEPENDS src/base/*.cc src/engine_worker/*.cc)
list(FILTER worker_sources EXCLUDE REGEX "_(test|fuzz|bench|main)\\.cc$")
list(APPEND worker_sources src/wire/chat.cc src/wire/kv_shape.cc src/wire/shard.cc src/wire/stage.cc src/wire/text.cc
  src/engine/pipe.cc src/engine/pipe_frames.cc src/engine/ring.cc src/engine/stage_pipe.cc
  src/crypto/hash.cc src/crypto/init.cc)
add_library(shoal_engine_worker STATIC ${worker_sources})
target_include_directories(shoal_engine_worker PUBLIC src)
target_include_directories(shoal_engine_worker SYSTEM PUBLIC ${SHOAL_MINJA_INCLUDE})
target_link_libraries(shoal_engine_worker PUBLIC worker_flags llama ggml::ggml nlohmann_json::nlohmann_json
  ${SHOAL_SODIUM_A} ${SHOAL_CRYPTO_A} ${SHOAL_SECCOMP_A} ${CMAKE_DL_LIBS})

add_executable(shoal-engine src/engine_worker/worker_main.cc)
target_link_libraries(shoal-engine PRIVATE shoal_engine_worker)
set_target_properties(shoal-engine PROPERTIES BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "")

if(SHOAL_BENCH)
  add_executable(engine_worker_bench src/engine_worker/agreement_bench.cc)
  target_link_libraries(engine_worker_bench PRIVATE shoal_engine_worker)
  set_target_properties(engine_worker_bench PROPERTIES BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "")
endif()

if(NOT SHOAL_TESTS)
  return()
endif()
# Small models with random weights: made here, the same on every machine.
add_executable(gguf_fixture tools/fixtures/gguf_fixture.cc)
set(fixtures ${CMAKE_BINARY_DIR}/fixtures)
file(MAKE_DIRECTORY ${fixtures})
set(fixture_files)
function(shoal_fixture name)
  add_custom_command(OUTPUT ${fixtures}/${name}.gguf COMMAND gguf_fixture ${fixtures}/${name}.gguf ${ARGN}
    DEPENDS gguf_fixture VERBATIM)
  set(fixture_files ${fixture_files} ${fixtures}/${name}.gguf PARENT_SCOPE)
endfunction()
shoal_fixture(spm)
shoal_fixture(bpe --tokenizer bpe --template marked)
shoal_fixture(bare --template none --context 256)
shoal_fixture(stranger --architecture nobody)
shoal_fixture(slow --layers 8 --embd 512 --ff 1024 --heads 8 --kv-heads 4 --vocab 1024)
add_custom_target(engine_fixtures DEPENDS ${fixture_files})
# What hops see, for the attack on it (tools/inversion).
add_executable(stage_states tools/inversion/stage_states.cc)
target_link_libraries(stage_states PRIVATE shoal_engine_worker)
set_target_properties(stage_states PROPERTIES BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "")

find_package(GTest REQUIRED)
file(GLOB worker_tests CONFIGURE_DEPENDS src/engine_worker/*_test.cc)
add_executable(engine_worker_test ${worker_tests} tools/fixtures/arch_fixture.cc)
target_include_directories(engine_worker_test PRIVATE tools/fixtures)
target_link_libraries(engine_worker_test PRIVATE shoal_engine_worker GTest::gtest GTest::gtest_main rapidcheck)
target_compile_definitions(engine_worker_test PRIVATE SHOAL_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
set_target_properties(engine_worker_test PROPERTIES BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "")
add_dependencies(engine_worker_test shoal-engine engine_fixtures)
add_test(NAME engine_worker COMMAND ${worker_run} $<TARGET_FILE:engine_worker_test> --gtest_filter=-Gpu.*)
# By itself: a driver leaves threads in its process, and locks that a fork would find taken.
add_test(NAME engine_worker_gpu COMMAND ${worker_run} $<TARGET_FILE:engine_worker_test> --gtest_filter=Gpu.*)
set_property(TEST engine_worker engine_worker_gpu PROPERTY ENVIRONMENT
  "SHOAL_ENGINE=$<TARGET_FILE:shoal-engine>;SHOAL_ENGINE_LIBS=${worker_libs};SHOAL_FIXTURES=${fixtures}"
  # The search for leaks at an exit wants what the sandbox forbids.
  "ASAN_OPTIONS=detect_leaks=0")
if(TARGET backend_test)
  # The node's side is tested against the real worker, which lies beside the test program (src/backend/engine_files.h).
  add_dependencies(backend_test shoal-engine engine_fixtures)
endif()
