#include "engine_worker/drafters.h"

#include "engine_worker/repeats.h"

namespace shoal::engine_worker {

Result<Speculation> load_drafters(const engine::pipe::Drafts& drafts, const Model& model, Gguf header,
                                  const ReadAt& read, int draft_file, const std::function<void(double)>& progress) {
    Speculation out;
    if (!drafts.any()) return out;
    if (model.one_kind_a_step) {
        return fail(Errc::unsupported, "a recurrent model cannot take a token back: leave out what drafts");
    }
    if (drafts.repeats) out.add(std::make_unique<Repeats>());
    if (!drafts.model && drafts.skipped.end == 0) return out;
    const DraftModel::Options options{model.info.context_tokens, model.info.sequences, model.threads,
                                      static_cast<std::uint32_t>(llama_vocab_n_tokens(model.vocab())), progress};
    if (drafts.model) {
        Gguf other = TRY(read_header(draft_file));
        const WholeModel draft = TRY(WholeModel::open(std::move(other), reader_of(draft_file), library_block));
        out.add(TRY(DraftModel::load_other(draft, header, read, options)));
        return out;
    }
    const WholeModel whole = TRY(WholeModel::open(std::move(header), read, library_block));
    const LayerRange skipped{drafts.skipped.first, drafts.skipped.end};
    out.add(TRY(DraftModel::load_skipping(whole, skipped, options)));
    return out;
}

}  // namespace shoal::engine_worker
