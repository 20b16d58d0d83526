# Flags for our own code; vendor headers come in as SYSTEM.
add_library(shoal_flags INTERFACE)
target_compile_options(shoal_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Wold-style-cast -Wcast-qual
  -Wimplicit-fallthrough -fno-strict-aliasing -fstack-protector-strong)
target_compile_options(shoal_flags INTERFACE $<$<CONFIG:Release>:-D_FORTIFY_SOURCE=2>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(shoal_flags INTERFACE -Wno-gnu-statement-expression)
elseif(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # False in GCC 12 for "literal" + std::string (its bug 105651) and for a moved std::variant; clang and the sanitizers
  # look for the real ones.
  target_compile_options(shoal_flags INTERFACE -Wno-restrict -Wno-maybe-uninitialized)
endif()
if(SHOAL_FUZZ)
  target_compile_options(shoal_flags INTERFACE -fsanitize=fuzzer-no-link) # rooms under test report their coverage
endif()
if(SHOAL_SANITIZE)
  target_compile_options(shoal_flags INTERFACE -fsanitize=${SHOAL_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(shoal_flags INTERFACE -fsanitize=${SHOAL_SANITIZE})
endif()
if(SHOAL_FUZZ)
  target_compile_options(shoal_flags INTERFACE -fsanitize=fuzzer-no-link) # the fuzzer is led by coverage
endif()
target_link_options(shoal_flags INTERFACE -Wl,-z,relro,-z,now)
find_program(SHOAL_LLD ld.lld)
if(SHOAL_LLD)
  target_link_options(shoal_flags INTERFACE -fuse-ld=lld)
endif()
find_program(SHOAL_CCACHE ccache)
if(SHOAL_CCACHE)
  # The same file with the same flags is the same in every copy of the source: what is below the base is hashed by its
  # path from the build folder.
  set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${SHOAL_CCACHE})
endif()
