// Stages on other machines as the backbone of a batcher: rows of the embedding go out, hidden states come back, and the
// head makes logits of those that are wanted. With layers of its own (own_layers.h) the first ones stand before what
// goes out, and the last ones behind what comes back.
//
// A Forward has its rows sorted by sequence; the batcher's order is another. One thread.
#pragma once

#include <deque>
#include <functional>
#include <map>

#include "engine/lead.h"
#include "engine_worker/backbone.h"
#include "engine_worker/embedding.h"
#include "engine_worker/head.h"
#include "engine_worker/own_layers.h"

namespace shoal::engine_worker {

class LeadBackbone final : public Backbone {
public:
    using Hand = std::function<void(const engine::LeadEngine::Work&)>;
    // Does not return: with rows that cannot travel nothing that is under way can be told apart any more.
    using GiveUp = std::function<void(const Error&)>;

    // `own`: nullptr where all layers are elsewhere.
    LeadBackbone(Embedding embedding, std::unique_ptr<Head> head, wire::ActivationType type, std::size_t steps,
                 Hand hand, GiveUp give_up, std::unique_ptr<OwnLayers> own = nullptr);

    std::size_t steps_max() const override { return steps_max_; }
    Status begin(std::span<const BatchRow> rows) override;
    void truncate(llama_seq_id sequence, std::uint32_t length) override;
    // Each hop keeps a row a token for whoever takes the next one's place, and above stage_history_bytes_max none.
    // Half of that is for jobs.
    std::uint32_t kept_tokens_max() const override;
    std::uint32_t beside_tokens_max() const override { return beside_tokens(embedding_.width()); }
    bool holds(llama_seq_id sequence, std::uint32_t length) const override;
    const KvShape* kv_shape() const override { return kv_ ? &*kv_ : nullptr; }
    // What fills a sequence is kept by each hop for whoever takes the next one's place. A quarter of what it may keep
    // is for all that was filled in.
    std::uint64_t moved_bytes_max() const override;
    bool moves_by_steps() const override { return true; }
    std::uint32_t begin_place(llama_seq_id sequence, const KvCopy& copy, std::uint32_t from) override;

    void begin_read(const wire::StageReadOf& of) override;

    // What the layers keep that are elsewhere. With layers of its own nothing is moved.
    void set_kv(std::optional<KvShape> kv);

    // The oldest step under way has filled a sequence, or has read one. False: it is none of these.
    bool filled() { return ends(Kind::fill); }
    bool given() { return ends(Kind::read); }
    // Of the oldest step under way: its hidden states are here. Errc::invalid: they are not its rows, or numbers that
    // are none; others as of OwnLayers. Then logits() gives those of its wanted rows until the next call.
    Status returned(ByteView tensor);
    const float* logits(std::size_t row) const;
    // What is under way will not come, and its own layers hold nothing any more.
    void reset();
    // Is called now and then while its own layers compute, as by Stage.
    void while_computing(ggml_abort_callback callback, void* data);
    std::size_t under_way() const { return steps_.size(); }

private:
    enum class Kind : std::uint8_t { rows, fill, read };
    struct Step {
        Kind kind = Kind::rows;  // of another kind nothing else is of meaning
        std::size_t rows = 0;
        std::vector<std::size_t> place;   // of each row in what went out
        std::vector<std::size_t> wanted;  // rows
    };

    bool ends(Kind kind);
    Result<Bytes> what_goes_out(std::span<const std::int32_t> tokens, std::span<const wire::StagePart> parts);
    // f32, of the step's wanted rows behind the last layer.
    Result<std::vector<float>> wanted_states(const Step& step, ByteView tensor);

    Embedding embedding_;
    std::unique_ptr<Head> head_;
    std::unique_ptr<OwnLayers> own_;
    wire::ActivationType type_;
    std::size_t steps_max_;
    Hand hand_;
    GiveUp give_up_;
    std::optional<KvShape> kv_;
    std::deque<Step> steps_;                         // bounded: steps_max_
    std::map<llama_seq_id, std::uint32_t> lengths_;  // bounded: sequences; rows that each was given
    std::map<llama_seq_id, std::uint32_t> filled_;   // bounded: as lengths_; of these, filled in
    std::vector<float> logits_;  // of the step that came back last, one row for each that was wanted
    std::vector<std::size_t> logits_of_;
};

}  // namespace shoal::engine_worker
