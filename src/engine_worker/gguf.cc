#include "engine_worker/gguf.h"

#include <algorithm>

#include "base/codec.h"
#include "crypto/hash.h"
#include "wire/text.h"

namespace shoal::engine_worker {
namespace {

// The largest known: 250,000 tokens with scores, types and merges are 12 MB; 2,000 tensors; 60 keys.
constexpr std::uint64_t header_bytes_max = 256 * 1024 * 1024;
constexpr std::uint64_t pairs_max = 16'384;
constexpr std::uint64_t tensors_max = 65'536;
constexpr std::uint64_t key_bytes_max = 1024;
constexpr std::uint64_t tensor_name_bytes_max = 63;  // ggml's own
constexpr std::uint64_t tensor_dims_max = 4;
constexpr std::uint32_t alignment_default = 32;
constexpr std::size_t chunk_bytes = 1 << 20;

enum ValueType : std::uint32_t { text_type = 8, array_type = 9, value_types = 13 };
constexpr std::uint8_t value_bytes[value_types] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

Error cut_short() {
    return fail(Errc::malformed, "the file is cut short inside its header: download it again");
}

// The header, a buffer at a time. The first failed read leaves an error; later ones give zeros, as Reader does.
class Header {
public:
    Header(const ReadAt& read, std::uint64_t file_bytes)
        : read_(read), end_(std::min(file_bytes, header_bytes_max)), buffer_(64 * 1024) {}

    // Hashes what is read from now on, until the digest is taken.
    void start_digest() { digest_.emplace(); }
    ByteArray<32> take_digest() {
        const ByteArray<32> out = digest_->digest();
        digest_.reset();
        return out;
    }
    void bytes(ByteSpan out) {
        if (failed_ || out.size() > end_ - at_) {
            failed_ = true;
            std::fill(out.begin(), out.end(), std::uint8_t{0});
            return;
        }
        for (std::size_t done = 0; done < out.size();) {
            if (at_ >= buffered_to_ && !refill()) return;
            const std::size_t from = static_cast<std::size_t>(at_ - buffered_from_);
            const std::size_t count = std::min<std::size_t>(out.size() - done, buffered_to_ - at_);
            std::memcpy(out.data() + done, buffer_.data() + from, count);
            done += count;
            at_ += count;
        }
        if (digest_) digest_->update(out);
    }
    template <typename T>
    T number() {
        std::uint8_t raw[sizeof(T)] = {};
        bytes(raw);
        return load_le<T>(raw);
    }
    std::string text(std::uint64_t max) {
        const auto length = number<std::uint64_t>();
        if (length > max || length > end_ - at_) {
            failed_ = true;
            return {};
        }
        std::string out(length, '\0');
        bytes({reinterpret_cast<std::uint8_t*>(out.data()), out.size()});
        return out;
    }
    void skip(std::uint64_t count) {
        if (failed_ || count > end_ - at_) {
            failed_ = true;
            return;
        }
        std::uint8_t sink[4096];
        while (count > 0 && !failed_) {
            const std::size_t step = std::min<std::uint64_t>(count, sizeof sink);
            bytes(ByteSpan(sink).first(step));
            count -= step;
        }
    }
    bool failed() const { return failed_; }
    std::uint64_t at() const { return at_; }
    std::uint64_t left() const { return end_ - at_; }

private:
    bool refill() {
        const std::size_t count = std::min<std::uint64_t>(buffer_.size(), end_ - at_);
        if (!read_(at_, ByteSpan(buffer_).first(count))) {
            failed_ = true;
            return false;
        }
        buffered_from_ = at_;
        buffered_to_ = at_ + count;
        return true;
    }
    const ReadAt& read_;
    std::uint64_t end_;
    std::uint64_t at_ = 0;
    std::uint64_t buffered_from_ = 0;
    std::uint64_t buffered_to_ = 0;
    Bytes buffer_;
    std::optional<crypto::Blake2b256> digest_;
    bool failed_ = false;
};

// The few values that are wanted; every other one is only hashed.
struct Wanted {
    std::optional<std::string> architecture;
    std::string name;
    std::uint32_t file_type = 0;
    std::uint32_t alignment = alignment_default;
    std::uint64_t split_parts = 0;
};

void read_text_value(Header& in, const std::string& key, Wanted& wanted) {
    if (key == "general.architecture") {
        wanted.architecture = in.text(64);
    } else if (key == "general.name") {
        wanted.name = in.text(64 * 1024);
    } else {
        in.skip(in.number<std::uint64_t>());
    }
}

void read_number_value(Header& in, const std::string& key, std::uint32_t type, Wanted& wanted) {
    std::uint8_t raw[8] = {};
    in.bytes(ByteSpan(raw).first(value_bytes[type]));
    const auto value = load_le<std::uint64_t>(raw);
    if (key == "general.file_type") wanted.file_type = static_cast<std::uint32_t>(value);
    if (key == "general.alignment") wanted.alignment = static_cast<std::uint32_t>(value);
    if (key == "split.count") wanted.split_parts = value;
}

Status read_array(Header& in, const std::string& key) {
    const auto type = in.number<std::uint32_t>();
    const auto count = in.number<std::uint64_t>();
    if (in.failed()) return cut_short();
    if (type >= value_types || type == array_type) {
        return fail(Errc::malformed, "the metadata '" + wire::plain_text(key, 64) + "' is an array of unknown type");
    }
    // Each element has at least one byte, so this bounds the loops below.
    if (count > in.left()) return cut_short();
    if (type != text_type) {
        in.skip(count * value_bytes[type]);
        return ok();
    }
    for (std::uint64_t i = 0; i < count && !in.failed(); ++i) in.skip(in.number<std::uint64_t>());
    return ok();
}

Status read_metadata(Header& in, std::uint64_t count, Gguf& out, Wanted& wanted) {
    for (std::uint64_t i = 0; i < count; ++i) {
        GgufPair pair;
        pair.key = in.text(key_bytes_max);
        if (in.failed()) return cut_short();
        pair.offset = in.at();
        in.start_digest();
        const auto type = in.number<std::uint32_t>();
        if (in.failed()) return cut_short();
        if (type >= value_types) {
            return fail(Errc::malformed, "the metadata '" + wire::plain_text(pair.key, 64) + "' has an unknown type");
        }
        if (type == text_type) {
            read_text_value(in, pair.key, wanted);
        } else if (type == array_type) {
            TRY(read_array(in, pair.key));
        } else {
            read_number_value(in, pair.key, type, wanted);
        }
        if (in.failed()) return cut_short();
        pair.digest = in.take_digest();
        pair.bytes = in.at() - pair.offset;
        out.metadata.push_back(std::move(pair));
    }
    return ok();
}

// Bytes of a tensor, or 0 when its dimensions do not fit 64 bits or its type.
std::uint64_t tensor_bytes(const GgufTensor& tensor, const BlockSize& block) {
    std::uint64_t elements = 1;
    for (std::uint64_t dim : tensor.dims) {
        if (dim == 0 || __builtin_mul_overflow(elements, dim, &elements)) return 0;
    }
    std::uint64_t bytes = 0;
    if (tensor.dims[0] % block.elements != 0) return 0;
    if (__builtin_mul_overflow(elements / block.elements, block.bytes, &bytes)) return 0;
    return bytes;
}

Status read_tensor(Header& in, const BlockOf& block_of, Gguf& out) {
    GgufTensor tensor;
    tensor.name = in.text(tensor_name_bytes_max);
    const auto dims = in.number<std::uint32_t>();
    if (in.failed()) return cut_short();
    const std::string label = "the tensor '" + wire::plain_text(tensor.name, 64) + "'";
    if (dims < 1 || dims > tensor_dims_max) return fail(Errc::malformed, label + " has no valid shape");
    for (std::uint32_t i = 0; i < dims; ++i) tensor.dims.push_back(in.number<std::uint64_t>());
    tensor.type = in.number<std::uint32_t>();
    tensor.offset = in.number<std::uint64_t>();
    if (in.failed()) return cut_short();
    const BlockSize block = block_of(tensor.type);
    if (block.elements == 0) {
        return fail(Errc::unsupported,
                    label + " has type " + std::to_string(tensor.type) + ", which this engine does not know");
    }
    tensor.bytes = tensor_bytes(tensor, block);
    if (tensor.bytes == 0) return fail(Errc::malformed, label + " has no valid shape");
    out.tensors.push_back(std::move(tensor));
    return ok();
}

// From offsets in the data section to offsets in the file, which must hold them.
Status place_tensors(Gguf& gguf, std::uint64_t header_bytes, std::uint64_t file_bytes, std::uint32_t alignment) {
    const std::uint64_t data = (header_bytes + alignment - 1) / alignment * alignment;
    std::uint64_t missing = 0;
    for (GgufTensor& tensor : gguf.tensors) {
        std::uint64_t end = 0;
        if (__builtin_add_overflow(tensor.offset, data, &tensor.offset) ||
            __builtin_add_overflow(tensor.offset, tensor.bytes, &end) || tensor.offset % alignment != 0) {
            return fail(Errc::malformed,
                        "the tensor '" + wire::plain_text(tensor.name, 64) + "' lies at an impossible place");
        }
        if (end > file_bytes) missing = std::max(missing, end - file_bytes);
    }
    if (missing == 0) return ok();
    return fail(Errc::malformed,
                "the file is cut short: " + std::to_string(missing) + " bytes are missing; download it again");
}

// Tensors that share bytes would let a small file be hashed, and stand for shards, of any size.
Status check_overlaps(const Gguf& gguf) {
    std::vector<const GgufTensor*> by_place;
    for (const GgufTensor& tensor : gguf.tensors) by_place.push_back(&tensor);
    std::sort(by_place.begin(), by_place.end(),
              [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
    for (std::size_t i = 1; i < by_place.size(); ++i) {
        if (by_place[i - 1]->offset + by_place[i - 1]->bytes > by_place[i]->offset) {
            return fail(Errc::malformed, "the tensors '" + wire::plain_text(by_place[i - 1]->name, 64) + "' and '" +
                                             wire::plain_text(by_place[i]->name, 64) + "' lie on top of each other");
        }
    }
    return ok();
}

template <typename T, typename Name>
bool sort_unique(std::vector<T>& items, Name name) {
    std::sort(items.begin(), items.end(), [name](const T& a, const T& b) { return name(a) < name(b); });
    return std::adjacent_find(items.begin(), items.end(),
                              [name](const T& a, const T& b) { return name(a) == name(b); }) == items.end();
}

}  // namespace

Result<Gguf> read_gguf(const ReadAt& read, std::uint64_t file_bytes, const BlockOf& block_of) {
    Header in(read, file_bytes);
    const auto magic = in.number<std::uint32_t>();
    if (in.failed() || magic != load_le<std::uint32_t>(as_bytes("GGUF").data())) {
        return fail(Errc::malformed, "not a GGUF file");
    }
    const auto version = in.number<std::uint32_t>();
    if (!in.failed() && version != 2 && version != 3) {
        return fail(Errc::unsupported, "GGUF version " + std::to_string(version) + " is not known (2 and 3 are)");
    }
    const auto tensor_count = in.number<std::uint64_t>();
    const auto pair_count = in.number<std::uint64_t>();
    if (in.failed()) return cut_short();
    if (tensor_count > tensors_max || pair_count > pairs_max) {
        return fail(Errc::malformed, "the header claims an absurd number of tensors or metadata");
    }
    Gguf out;
    Wanted wanted;
    TRY(read_metadata(in, pair_count, out, wanted));
    for (std::uint64_t i = 0; i < tensor_count; ++i) TRY(read_tensor(in, block_of, out));

    if (!wanted.architecture) return fail(Errc::malformed, "the metadata general.architecture is missing");
    if (wanted.split_parts > 1) {
        return fail(Errc::unsupported, "one part of a split model: merge the parts with llama-gguf-split --merge");
    }
    if (out.tensors.empty()) return fail(Errc::malformed, "the file holds no tensors");
    const bool power_of_two = wanted.alignment != 0 && (wanted.alignment & (wanted.alignment - 1)) == 0;
    if (!power_of_two || wanted.alignment > 65'536)
        return fail(Errc::malformed, "the alignment is no small power of two");
    TRY(place_tensors(out, in.at(), file_bytes, wanted.alignment));
    TRY(check_overlaps(out));
    if (!sort_unique(out.metadata, [](const GgufPair& p) -> const std::string& { return p.key; }) ||
        !sort_unique(out.tensors, [](const GgufTensor& t) -> const std::string& { return t.name; })) {
        return fail(Errc::malformed, "a name is used twice in the header");
    }
    out.architecture = wire::plain_text(*wanted.architecture, 64);
    if (out.architecture.empty()) return fail(Errc::malformed, "the metadata general.architecture is empty");
    out.name = wire::plain_text(wanted.name, 128);
    out.file_type = wanted.file_type;
    return out;
}

Result<TensorHashes> tensor_hashes(const Gguf& gguf, const ReadAt& read, const std::function<void(double)>& progress) {
    std::uint64_t total = 0, done = 0;
    for (const GgufTensor& tensor : gguf.tensors) total += tensor.bytes;
    TensorHashes out;
    Bytes chunk(chunk_bytes);
    for (const GgufTensor& tensor : gguf.tensors) {
        crypto::Blake2b256 hash;
        for (std::uint64_t at = 0; at < tensor.bytes;) {
            const std::size_t count = std::min<std::uint64_t>(chunk.size(), tensor.bytes - at);
            if (!read(tensor.offset + at, ByteSpan(chunk).first(count))) {
                return fail(Errc::io, "the model file cannot be read to its end");
            }
            hash.update(ByteView(chunk).first(count));
            at += count;
            done += count;
            progress(static_cast<double>(done) / static_cast<double>(total));
        }
        out.push_back(hash.digest());
    }
    return out;
}

ModelId model_id(const Gguf& gguf, const TensorHashes& hashes) {
    ASSERT(hashes.size() == gguf.tensors.size());
    Writer manifest;
    manifest.bytes(as_bytes("sc1/model"));
    manifest.u32(static_cast<std::uint32_t>(gguf.metadata.size()));
    for (const GgufPair& pair : gguf.metadata) {
        manifest.text_u16(pair.key);
        manifest.bytes(pair.digest);
    }
    manifest.u32(static_cast<std::uint32_t>(gguf.tensors.size()));
    for (std::size_t i = 0; i < hashes.size(); ++i) {
        const GgufTensor& tensor = gguf.tensors[i];
        manifest.text_u16(tensor.name);
        manifest.u32(tensor.type);
        manifest.u8(static_cast<std::uint8_t>(tensor.dims.size()));
        for (std::uint64_t dim : tensor.dims) manifest.u64(dim);
        manifest.bytes(hashes[i]);
    }
    return ModelId(crypto::blake2b<32>({manifest.view()}));
}

Result<ModelId> model_id(const Gguf& gguf, const ReadAt& read, const std::function<void(double)>& progress) {
    return model_id(gguf, TRY(tensor_hashes(gguf, read, progress)));
}

}  // namespace shoal::engine_worker
