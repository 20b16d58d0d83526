#include "api/access.h"

#include <gtest/gtest.h>

#include "api/stand_in_test.h"

namespace shoal::api {
namespace {

HttpRequest with(std::vector<std::pair<std::string, std::string>> headers, bool loopback = true) {
    return {.method = "GET", .target = "/", .headers = std::move(headers), .body = "", .loopback = loopback};
}

std::string source_code(const HttpRequest& request, const GatewayOptions& options = {}) {
    const auto error = check_source(request, options);
    if (error) {
        EXPECT_EQ(error->status, 403);
    }
    return error ? error->code : "";
}
std::string host_code(const std::string& host, const GatewayOptions& options = {}) {
    return source_code(with({{"host", host}}), options);
}

const GatewayOptions open_to_others{.loopback_only = false, .hosts_allowed = {"Gate.example"}, .api_key = "k"};

TEST(Access, LetsProgramsOfThisMachineIn) {
    for (const char* host : {"localhost", "LocalHost:8642", "127.0.0.1", "127.0.0.1:8642", "127.255.255.254:1", "[::1]",
                             "[::1]:8642", "localhost:"}) {
        EXPECT_EQ(host_code(host), "") << host;
    }
}

TEST(Access, RefusesOtherMachines) {
    EXPECT_EQ(source_code(with({{"host", "localhost"}}, false)), "not_loopback");
    EXPECT_EQ(source_code(with({{"host", "127.0.0.1"}}, false), open_to_others), "");
}

TEST(Access, RefusesNamesThatAPageMayHavePointedHere) {
    for (const char* host : {"evil.example",
                             "evil.example:8642",
                             "localhost.evil.example",
                             "localhost.",
                             "127.0.0.1.evil.example",
                             "127.evil",
                             "127.0.0",
                             "127.0.0.1.1",
                             "127.0.0.256",
                             "127.0.0.0001",
                             "127.1",
                             "0x7f.0.0.1",
                             "2130706433",
                             "0.0.0.0",
                             "[::]",
                             "[::1].evil",
                             "[::1",
                             "::1",
                             "",
                             ":8642",
                             "localhost:80:80",
                             "localhost:x",
                             "localhost@evil",
                             "a localhost",
                             "192.168.1.2",
                             "[fe80::1]",
                             "evil.example#localhost",
                             "127.0.0.1:8642/"}) {
        EXPECT_EQ(host_code(host), "host_not_allowed") << host;
    }
    EXPECT_EQ(source_code(with({})), "host_not_allowed");
    EXPECT_EQ(source_code(with({{"host", "localhost"}, {"host", "evil.example"}})), "host_not_allowed");
}

TEST(Access, TakesFurtherHostsOnlyWhenToldTo) {
    GatewayOptions named;
    named.hosts_allowed = {"shoal.lan"};
    EXPECT_EQ(host_code("Shoal.LAN:8642", named), "");
    EXPECT_EQ(host_code("other.lan", named), "host_not_allowed");
    EXPECT_EQ(host_code("192.168.1.2", named), "host_not_allowed") << "still loopback only";
    EXPECT_EQ(host_code("192.168.1.2:8642", open_to_others), "") << "no resolver stands behind an address";
    EXPECT_EQ(host_code("[fe80::1]:8642", open_to_others), "");
    EXPECT_EQ(host_code("gate.example", open_to_others), "");
    for (const char* host : {"evil.example", "[evil.example]", "cafe.beef", "deadbeef"}) {
        EXPECT_EQ(host_code(host, open_to_others), "host_not_allowed") << host;
    }
}

TEST(Access, RefusesPagesOfOtherOrigins) {
    const auto code = [](const std::string& origin) {
        return source_code(with({{"host", "localhost:8642"}, {"origin", origin}}));
    };
    EXPECT_EQ(code("http://localhost:8642"), "");
    for (const char* origin : {"http://evil.example", "null", "", "http://localhost", "http://localhost:3000",
                               "http://127.0.0.1:8642", "https://localhost:8642", "http://localhost:8642.evil.example",
                               "file://", "localhost:8642", "chrome-extension://abc"}) {
        EXPECT_EQ(code(origin), "origin_not_allowed") << origin;
    }
    EXPECT_EQ(source_code(with({{"host", "localhost"}, {"origin", "http://localhost"}, {"origin", "http://evil"}})),
              "origin_not_allowed");
}

TEST(Access, RefusesWhatABrowserSendsForOtherSites) {
    const auto code = [](const std::string& site) {
        return source_code(with({{"host", "localhost"}, {"sec-fetch-site", site}}));
    };
    EXPECT_EQ(code("same-origin"), "");
    EXPECT_EQ(code("none"), "");
    for (const char* site : {"cross-site", "same-site", "", "Cross-Site"}) EXPECT_EQ(code(site), "cross_site") << site;
}

TEST(Access, AsksForTheKeyWhenThereIsOne) {
    const GatewayOptions keyed{.hosts_allowed = {}, .api_key = "sk-shoal"};
    const auto code = [&keyed](std::vector<std::pair<std::string, std::string>> headers) {
        const auto error = check_key(with(std::move(headers)), keyed);
        if (error) {
            EXPECT_EQ(error->status, 401);
        }
        return error ? error->code : "";
    };
    EXPECT_EQ(code({{"authorization", "Bearer sk-shoal"}}), "");
    EXPECT_EQ(code({{"authorization", "bearer sk-shoal"}}), "");
    for (const char* value : {"", "Bearer", "Bearer ", "Bearer sk-shoa", "Bearer sk-shoalx", "Bearer sk-shoam",
                              "Bearer sk-shoalsk-shoal", "Basic sk-shoal", "sk-shoal", "Bearer  sk-shoal"}) {
        EXPECT_EQ(code({{"authorization", value}}), "invalid_api_key") << value;
    }
    EXPECT_EQ(code({}), "invalid_api_key");
    EXPECT_EQ(code({{"authorization", "Bearer sk-shoal"}, {"authorization", "Bearer x"}}), "invalid_api_key");
    EXPECT_FALSE(check_key(with({{"authorization", "Bearer whatever"}}), {})) << "clients always send some key";
}

TEST(Access, TakesOnlyPlainJsonBodies) {
    const auto good = [](std::vector<std::pair<std::string, std::string>> headers) {
        const auto error = check_content_type(with(std::move(headers)));
        if (error) {
            EXPECT_EQ(error->status, 415);
        }
        return !error;
    };
    EXPECT_TRUE(good({{"content-type", "application/json"}}));
    EXPECT_TRUE(good({{"content-type", "Application/JSON ; charset=utf-8"}}));
    EXPECT_TRUE(good({{"content-type", "application/json"}, {"content-encoding", "identity"}}));
    // The first three are what a page may send to a stranger without asking first.
    for (const char* type : {"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "",
                             "text/plain; application/json", "application/json, text/plain", "application/jsonx"}) {
        EXPECT_FALSE(good({{"content-type", type}})) << type;
    }
    EXPECT_FALSE(good({}));
    EXPECT_FALSE(good({{"content-type", "application/json"}, {"content-type", "text/plain"}}));
    EXPECT_FALSE(good({{"content-type", "application/json"}, {"content-encoding", "gzip"}}));
}

TEST(Access, WillNotBeOpenToOthersWithoutAKey) {
    EXPECT_TRUE(check_options({}));
    EXPECT_TRUE(check_options(open_to_others));
    GatewayOptions careless = open_to_others;
    careless.api_key.clear();
    EXPECT_EQ(check_options(careless).error().code, Errc::invalid);
}

}  // namespace
}  // namespace shoal::api
