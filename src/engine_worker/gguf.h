// What a GGUF file says of itself, read with distrust, and the identity of a model (protocol/model_id.md).
//
// libllama reads the same header again and aborts or crashes on some hostile ones. Reading it first gives a one-line
// reason for what goes wrong in practice (a download cut short, a wrong file) and refuses absurd sizes before a large
// library believes them. Every length is checked against the file before anything is held.
//
// Pure: the file is a function. O(header) for read_gguf, O(file) for model_id.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace shoal::engine_worker {

// Fills `out` from `offset`; false when the file does not hold that many bytes there or cannot be read.
using ReadAt = std::function<bool(std::uint64_t offset, ByteSpan out)>;

// Elements and bytes of one block of a tensor type; elements 0: no such type.
struct BlockSize {
    std::uint64_t elements = 0;
    std::uint64_t bytes = 0;
};
using BlockOf = std::function<BlockSize(std::uint32_t type)>;

struct GgufTensor {
    std::string name;
    std::uint32_t type = 0;
    std::vector<std::uint64_t> dims;  // 1 to 4, each at least 1
    std::uint64_t offset = 0;         // in the file
    std::uint64_t bytes = 0;
};

struct GgufPair {
    std::string key;
    ByteArray<32> digest{};    // BLAKE2b-256 of the value's type and bytes as stored
    std::uint64_t offset = 0;  // of these in the file: read again by who wants the value
    std::uint64_t bytes = 0;
};

struct Gguf {
    std::string architecture;
    std::string name;
    std::uint32_t file_type = 0;
    std::vector<GgufPair> metadata;   // sorted by key
    std::vector<GgufTensor> tensors;  // sorted by name
};

// Errc::malformed: no GGUF, cut short, or inconsistent. Errc::unsupported: an old version, a tensor type of a newer
// library, one part of a split model. The message is one plain line.
Result<Gguf> read_gguf(const ReadAt& read, std::uint64_t file_bytes, const BlockOf& block_of);

// BLAKE2b-256 of each tensor's data, in the order of gguf.tensors.
using TensorHashes = std::vector<ByteArray<32>>;

// Reads all tensor data; `progress` is called with 0 to 1. Errc::io when a read fails half way.
Result<TensorHashes> tensor_hashes(const Gguf& gguf, const ReadAt& read, const std::function<void(double)>& progress);
ModelId model_id(const Gguf& gguf, const TensorHashes& hashes);
// Both at once.
Result<ModelId> model_id(const Gguf& gguf, const ReadAt& read, const std::function<void(double)>& progress);

}  // namespace shoal::engine_worker
