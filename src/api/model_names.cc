#include "api/model_names.h"

#include <algorithm>
#include <tuple>

namespace shoal::api {

using dialect::ModelCard;

std::vector<ModelCard> model_cards(std::vector<ModelSummary> models) {
    std::sort(models.begin(), models.end(), [](const ModelSummary& a, const ModelSummary& b) {
        return std::tie(a.name, b.nodes, a.id) < std::tie(b.name, a.nodes, b.id);  // more nodes first
    });
    std::vector<ModelCard> cards;
    for (std::size_t i = 0; i < models.size(); ++i) {
        const ModelSummary& model = models[i];
        const bool first = i == 0 || models[i - 1].name != model.name;
        cards.push_back({.name = first ? model.name : model.name + "@" + model.id.brief(),
                         .id = model.id,
                         .context_tokens = model.context_tokens,
                         .nodes = model.nodes});
    }
    return cards;
}

std::optional<ModelCard> find_model(const std::vector<ModelCard>& cards, std::string_view wanted) {
    // Ids first: a node that calls its model by another's id must not be found under it.
    constexpr std::size_t id_digits = 2 * ModelId::size;
    for (const bool by_id : {true, false}) {
        if (by_id && wanted.size() != id_digits) continue;
        for (const ModelCard& card : cards) {
            if (by_id ? card.id.hex() == wanted : card.name == wanted) return card;
        }
    }
    return std::nullopt;
}

}  // namespace shoal::api
