// Stand-ins for the two sides of the gateway: a network whose asks a test answers by hand, and a responder that keeps
// what it was told. The responder's record outlives it, so that a test can see how it ended.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "api/port.h"
#include "base/rng.h"

namespace shoal::api {

class CountingRng final : public Rng {
public:
    void fill(ByteSpan out) override {
        for (auto& byte : out) byte = static_cast<std::uint8_t>(next_++ * 37U);
    }

private:
    unsigned next_ = 0;
};

class StandInNetwork final : public Network {
public:
    struct Asked {
        ModelId model;
        ChatRequest request;
        std::optional<Comparison> compare;
        AskSink* sink = nullptr;
    };
    std::vector<ModelSummary> models() const override { return served; }
    Readiness readiness() const override { return state; }
    std::variant<AskId, ChatFault> ask(ModelId model, ChatRequest request, std::optional<Comparison> compare,
                                       AskSink& sink) override {
        if (fault) return *fault;
        const AskId id(++last);
        running[id.value()] = {model, std::move(request), compare, &sink};
        peak = std::max(peak, running.size());
        return id;
    }
    void cancel(AskId ask) override {
        cancelled.push_back(ask.value());
        running.erase(ask.value());
    }

    Asked& the_ask() { return running.at(last); }
    void delta(std::string text) { the_ask().sink->on_delta({Plaintext(std::move(text))}); }
    void end(FinishReason reason = FinishReason::stop, std::uint32_t prompt = 3, std::uint32_t completion = 2) {
        AskSink* sink = the_ask().sink;
        running.erase(last);
        sink->on_end({reason, {TokenCount(prompt), TokenCount(completion)}});
    }
    void fail(AskFault kind, std::string message = "") {
        AskSink* sink = the_ask().sink;
        running.erase(last);
        sink->on_fault({kind, std::move(message)});
    }

    std::vector<ModelSummary> served;
    Readiness state;
    std::optional<ChatFault> fault;
    std::map<std::uint64_t, Asked> running;
    std::vector<std::uint64_t> cancelled;
    std::uint64_t last = 0;
    std::size_t peak = 0;
};

struct Answer {
    int status = 0;
    HttpResponder::Headers headers;
    std::string body;  // of send(), or all that was written
    std::size_t writes = 0;
    bool stream = false;
    bool finished = false;
    bool destroyed = false;
    bool reads = true;  // false: write() refuses

    std::string header(std::string_view name) const {
        for (const auto& [key, value] : headers) {
            if (key == name) return value;
        }
        return "";
    }
};

class StandInResponder final : public HttpResponder {
public:
    explicit StandInResponder(std::shared_ptr<Answer> answer) : answer_(std::move(answer)) {}
    ~StandInResponder() override { answer_->destroyed = true; }
    void send(int status, Headers headers, std::string body) override {
        ASSERT(answer_->status == 0);
        answer_->status = status;
        answer_->headers = std::move(headers);
        answer_->body = std::move(body);
        answer_->finished = true;
    }
    void begin_stream(int status, Headers headers) override {
        ASSERT(answer_->status == 0);
        answer_->status = status;
        answer_->headers = std::move(headers);
        answer_->stream = true;
    }
    bool write(std::string_view chunk) override {
        ASSERT(answer_->stream && !answer_->finished);
        if (!answer_->reads) return false;
        answer_->body += chunk;
        ++answer_->writes;
        return true;
    }
    void finish() override {
        ASSERT(answer_->stream && !answer_->finished);
        answer_->finished = true;
    }

private:
    std::shared_ptr<Answer> answer_;
};

// A request as a well-behaved program on this machine sends it.
inline HttpRequest request_of(std::string method, std::string target, std::string body = "") {
    HttpRequest request{.method = std::move(method),
                        .target = std::move(target),
                        .headers = {{"host", "127.0.0.1:8642"}},
                        .body = std::move(body),
                        .loopback = true};
    if (!request.body.empty()) request.headers.emplace_back("content-type", "application/json");
    return request;
}

}  // namespace shoal::api
