#include "backend/model_file.h"

#include <cerrno>
#include <cstring>

namespace shoal::backend {

Result<ModelFile> open_model_file(const std::string& path) {
    ModelFile out;
    // "e": not inherited by accident; the child gets its copy by name.
    out.file_.reset(std::fopen(path.c_str(), "re"));
    if (!out.file_) return fail(Errc::not_found, "the model " + path + " cannot be opened: " + std::strerror(errno));
    return out;
}

}  // namespace shoal::backend
