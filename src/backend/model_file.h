// The model of a worker: opened by the node, handed over as a descriptor, since the worker opens no path.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "base/result.h"

namespace shoal::backend {

inline constexpr int draft_descriptor = 5;  // where a model drafts
inline constexpr int model_descriptor = 4;  // of the worker; protocol/pipe.md

class ModelFile {
public:
    int descriptor() const { return fileno(file_.get()); }

private:
    friend Result<ModelFile> open_model_file(const std::string& path);
    struct CloseFile {
        void operator()(std::FILE* file) const { (void)std::fclose(file); }
    };
    std::unique_ptr<std::FILE, CloseFile> file_;
};

// Errc::not_found, with the path and the system's reason.
Result<ModelFile> open_model_file(const std::string& path);

}  // namespace shoal::backend
