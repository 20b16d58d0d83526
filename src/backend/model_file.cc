#include "backend/model_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>

namespace shoal::backend {

Result<ModelFile> open_model_file(const std::string& path, Links links) {
    std::error_code error;
    const std::filesystem::file_status status =
        links == Links::followed ? std::filesystem::status(path, error) : std::filesystem::symlink_status(path, error);
    // Opening a pipe would wait for its writer, and the node with it.
    if (std::filesystem::is_fifo(status) || (links == Links::refused && std::filesystem::is_symlink(status))) {
        return fail(Errc::invalid, path + " is no file");
    }
    ModelFile out;
    // "e": not inherited by accident; the child gets its copy by name.
    out.file_.reset(std::fopen(path.c_str(), "re"));
    if (!out.file_) return fail(Errc::not_found, "the model " + path + " cannot be opened: " + std::strerror(errno));
    return out;
}

bool PieceFiles::is_folder(const std::string& path) {
    std::error_code error;
    return std::filesystem::is_directory(path + "/pieces", error);
}

Result<ModelFile> PieceFiles::manifest(const ModelId& model) const {
    auto file = open_model_file(folder_ + "/" + model.hex() + ".manifest", Links::refused);
    if (!file) return fail(Errc::not_found, "this node has no pieces of the model " + model.brief());
    return file;
}

Result<std::vector<std::string>> PieceFiles::manifests() const {
    std::vector<std::string> out;
    std::error_code error;
    for (const std::filesystem::directory_entry& entry : std::filesystem::directory_iterator(folder_, error)) {
        if (entry.path().extension() == ".manifest") out.push_back(entry.path().string());
    }
    if (error) return fail(Errc::io, folder_ + " cannot be read: " + error.message());
    if (out.empty()) {
        return fail(Errc::not_found, folder_ + " has no manifest: shoal model split was not finished there");
    }
    std::sort(out.begin(), out.end());
    return out;
}

Result<ModelFile> PieceFiles::only_manifest() const {
    const std::vector<std::string> found = TRY(manifests());
    if (found.size() == 1) return open_model_file(found.front(), Links::refused);
    return fail(Errc::invalid, folder_ + " has pieces of " + std::to_string(found.size()) +
                                   " models: make a folder for each (shoal model split)");
}

Bytes PieceFiles::read(const wire::PieceId& piece, std::uint64_t offset, std::uint32_t bytes) {
    if (piece != open_piece_ || !file_) {
        auto file = open_model_file(folder_ + "/pieces/" + piece.hex(), Links::refused);
        if (!file) return {};
        open_piece_ = piece;
        file_ = std::move(*file);
    }
    std::FILE* file = file_->file_.get();
    if (offset > static_cast<std::uint64_t>(std::numeric_limits<long>::max())) return {};
    Bytes out(bytes);
    if (std::fseek(file, static_cast<long>(offset), SEEK_SET) != 0) return {};
    if (std::fread(out.data(), 1, out.size(), file) != out.size()) return {};
    return out;
}

}  // namespace shoal::backend
