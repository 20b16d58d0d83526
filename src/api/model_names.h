// Which model a name means. A name is chosen by whoever runs a model node and is not unique; a ModelId is.
//
// A plain name means, of the models that have it, the one that the most nodes serve (then the lower id). The others are
// listed, and can be asked for, as name@xxxxxxxx with the first eight digits of their id. A full id (64 digits) always
// means that model.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "api/port.h"
#include "dialect/openai_reply.h"

namespace shoal::api {

// Sorted by name, each with a name of its own. O(n log n).
std::vector<dialect::ModelCard> model_cards(std::vector<ModelSummary> models);

std::optional<dialect::ModelCard> find_model(const std::vector<dialect::ModelCard>& cards, std::string_view wanted);

}  // namespace shoal::api
