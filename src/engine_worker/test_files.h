// For this room's tests: the fixtures, which the build makes (room.cmake).
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "base/bytes.h"

namespace shoal::engine_worker {

inline std::string fixture_path(const std::string& name) {
    const char* folder = std::getenv("SHOAL_FIXTURES");
    return std::string(folder == nullptr ? "fixtures" : folder) + "/" + name + ".gguf";
}
inline Bytes fixture_bytes(const std::string& name) {
    std::ifstream file(fixture_path(name), std::ios::binary);
    EXPECT_TRUE(file.good()) << "no fixture " << fixture_path(name) << ": run this program by ctest";
    return Bytes(std::istreambuf_iterator<char>(file), {});
}

}  // namespace shoal::engine_worker
