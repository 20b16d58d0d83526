// The model of a worker: opened by the node, handed over as a descriptor, since the worker opens no path.
#pragma once

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "wire/shard.h"

namespace shoal::backend {

inline constexpr int draft_descriptor = 5;  // where a model drafts
inline constexpr int model_descriptor = 4;  // of the worker; protocol/pipe.md

// What is named by its content lies under that name itself: in a folder that came from elsewhere a link would have the
// worker read any file of the user.
enum class Links : std::uint8_t { followed, refused };

class ModelFile {
public:
    int descriptor() const { return fileno(file_.get()); }

private:
    friend class PieceFiles;
    friend Result<ModelFile> open_model_file(const std::string& path, Links links);
    struct CloseFile {
        void operator()(std::FILE* file) const { (void)std::fclose(file); }
    };
    std::unique_ptr<std::FILE, CloseFile> file_;
};

// Errc::not_found, with the path and the system's reason; Errc::invalid: a pipe, or a link where they are refused.
Result<ModelFile> open_model_file(const std::string& path, Links links = Links::followed);

// A folder of pieces (protocol/shard.md), as a worker reads it: by way of its node.
class PieceFiles {
public:
    explicit PieceFiles(std::string folder) : folder_(std::move(folder)) {}
    // Whether there is one.
    static bool is_folder(const std::string& path);
    // Errc::not_found: no pieces of this model.
    Result<ModelFile> manifest(const ModelId& model) const;
    // Paths of all manifests, sorted. Errc::not_found: there is none. Errc::io.
    Result<std::vector<std::string>> manifests() const;
    // For who cannot say which model. Errc::invalid: several.
    Result<ModelFile> only_manifest() const;
    // As many bytes from `offset` of the piece; empty where it is not here, or shorter. Blocks on the disk.
    Bytes read(const wire::PieceId& piece, std::uint64_t offset, std::uint32_t bytes);

private:
    std::string folder_;
    wire::PieceId open_piece_;  // of the last read: pieces are read from front to back
    std::optional<ModelFile> file_;
};

}  // namespace shoal::backend
