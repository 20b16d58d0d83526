#include "api/refusal.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace shoal::api {
namespace {

std::string header(const Refusal& refusal, const std::string& name) {
    for (const auto& [key, value] : refusal.headers) {
        if (key == name) return value;
    }
    return "";
}

TEST(Refusal, IsAnErrorOfOpenAisForm) {
    for (const auto& [status, code] :
         {std::pair(400, "invalid_http"), std::pair(408, "request_timeout"), std::pair(413, "request_too_large"),
          std::pair(417, "expectation_failed"), std::pair(431, "headers_too_large")}) {
        const Refusal refused = refusal(status, "why \"so\"");
        EXPECT_EQ(header(refused, "Content-Type"), "application/json");
        EXPECT_EQ(header(refused, "Retry-After"), "") << status;
        const auto error = nlohmann::json::parse(refused.body).at("error");
        EXPECT_EQ(error.at("code"), code);
        EXPECT_EQ(error.at("type"), "invalid_request_error");
        EXPECT_EQ(error.at("message"), "why \"so\"");
        EXPECT_TRUE(error.at("param").is_null());
    }
}

TEST(Refusal, OfTheServersOwnDoingSaysSo) {
    EXPECT_EQ(nlohmann::json::parse(refusal(500, "x").body).at("error").at("type"), "server_error");
    const Refusal full = refusal(503, "too many");
    EXPECT_EQ(nlohmann::json::parse(full.body).at("error").at("code"), "too_many_connections");
    EXPECT_GT(std::stoi(header(full, "Retry-After")), 0);
}

}  // namespace
}  // namespace shoal::api
