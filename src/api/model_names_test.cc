#include "api/model_names.h"

#include <gtest/gtest.h>

#include <set>

namespace shoal::api {
namespace {

ModelId id_of(std::uint8_t first) {
    ByteArray<32> bytes{};
    bytes[0] = first;
    return ModelId(bytes);
}

TEST(ModelNames, GivesEachModelANameOfItsOwn) {
    const auto cards = model_cards(
        {{id_of(1), "mini", 10, 1}, {id_of(2), "mini", 20, 5}, {id_of(3), "mini", 30, 1}, {id_of(4), "big", 1, 1}});
    std::set<std::string> names;
    for (const auto& card : cards) names.insert(card.name);
    EXPECT_EQ(names, (std::set<std::string>{"big", "mini", "mini@01000000", "mini@03000000"}));
    EXPECT_EQ(find_model(cards, "mini")->id, id_of(2)) << "the one that most nodes serve";
    EXPECT_EQ(find_model(cards, "mini@01000000")->context_tokens, 10U);
    EXPECT_FALSE(find_model(cards, "mini@02000000"));
    EXPECT_FALSE(find_model(cards, ""));
    EXPECT_FALSE(find_model({}, "mini"));
}

TEST(ModelNames, BreaksATieByTheLowerId) {
    const auto cards = model_cards({{id_of(9), "mini", 0, 1}, {id_of(8), "mini", 0, 1}});
    EXPECT_EQ(find_model(cards, "mini")->id, id_of(8));
}

TEST(ModelNames, FindsAFullIdBeforeANameThatImitatesIt) {
    const auto cards = model_cards({{id_of(1), "mini", 0, 1}, {id_of(2), id_of(1).hex(), 0, 99}});
    EXPECT_EQ(find_model(cards, id_of(1).hex())->id, id_of(1));
    EXPECT_EQ(find_model(cards, id_of(2).hex())->id, id_of(2));
}

}  // namespace
}  // namespace shoal::api
