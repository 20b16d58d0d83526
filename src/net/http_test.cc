#include <poll.h>

#include "net/http_client.h"
#include "net/http_server.h"
#include "net/net_testing.h"

namespace shoal::net {
namespace {

using testing::loopback;
using testing::RawSocket;
using testing::run_beside;
using testing::watchdog;

// A server whose handler is given by each test, and remembers what came.
struct HttpTest : ::testing::Test, HttpHandler {
    HttpTest() { start({}); }
    void start(HttpServerOptions options) {
        server = std::make_unique<HttpServer>(loop, *this, options);
        address = server->listen(loopback()).value();
    }
    void on_request(HttpRequest request, std::shared_ptr<HttpExchange> exchange) override {
        requests.push_back(request);
        handle(std::move(request), std::move(exchange));
    }
    bool until(const std::function<bool()>& condition) { return loop.run_until(condition, watchdog); }
    // Sends the text as it is and gives all that comes until the server closes.
    std::string talk(const std::string& text) {
        std::string answer;
        run_beside(loop, [&] {
            const RawSocket socket(address);
            socket.send(text);
            answer = socket.read_to_end();
        });
        return answer;
    }
    static std::string body_of(const std::string& answer) {
        const std::size_t at = answer.find("\r\n\r\n");
        return at == std::string::npos ? "" : answer.substr(at + 4);
    }
    static bool starts(const std::string& answer, const std::string& with) { return answer.starts_with(with); }

    // The client's side of one call.
    struct Answer {
        int status = 0;
        HttpHeaders headers;
        std::string body;
        bool done = false;
        std::optional<Error> error;
        bool over() const { return done || error; }
    };
    std::unique_ptr<HttpCall> call(HttpClientRequest request, Answer& answer) {
        request.to = address;
        return std::make_unique<HttpCall>(
            loop, std::move(request),
            HttpClientEvents{.on_headers =
                                 [&answer](int status, const HttpHeaders& headers) {
                                     answer.status = status;
                                     answer.headers = headers;
                                 },
                             .on_chunk = [&answer](std::string_view chunk) { answer.body += chunk; },
                             .on_done = [&answer] { answer.done = true; },
                             .on_error = [&answer](const Error& error) { answer.error = error; }});
    }
    Answer ask(HttpClientRequest request) {
        Answer answer;
        const auto running = call(std::move(request), answer);
        EXPECT_TRUE(until([&] { return answer.over(); }));
        return answer;
    }

    Loop loop;
    std::vector<HttpRequest> requests;
    std::function<void(HttpRequest, std::shared_ptr<HttpExchange>)> handle =
        [](const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange) {
            exchange->send(200, {{"Content-Type", "text/plain"}},
                           request.method + " " + request.target + " " + request.body);
        };
    Endpoint address;
    std::unique_ptr<HttpServer> server;
};

TEST_F(HttpTest, ARequestIsAnswered) {
    const Answer answer =
        ask({.method = "POST", .target = "/v1/x?y=1", .headers = {{"X-Thing", "Value"}}, .body = "hello"});
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "POST /v1/x?y=1 hello");
    ASSERT_EQ(requests.size(), 1U);
    ASSERT_NE(requests[0].header("x-thing"), nullptr);
    EXPECT_EQ(*requests[0].header("x-thing"), "Value");
    EXPECT_EQ(*requests[0].header("host"), address.text());
    EXPECT_TRUE(requests[0].remote.is_loopback());
}

TEST_F(HttpTest, PipelinedRequestsAreAnsweredInOrderAlsoWhenTheHandlerIsSlow) {
    std::vector<std::shared_ptr<HttpExchange>> held;
    handle = [&](const HttpRequest&, std::shared_ptr<HttpExchange> exchange) { held.push_back(std::move(exchange)); };
    std::string answer;
    bool done = false;
    std::thread program([&] {
        const RawSocket socket(address);
        socket.send(
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
            "GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        answer = socket.read_to_end();
        loop.post([&] { done = true; });
    });
    for (std::size_t i = 0; i < 3; ++i) {
        ASSERT_TRUE(until([&] { return held.size() == i + 1; }));
        // Only one request is out at a time, however many were sent.
        loop.run_until([] { return false; }, 5ms);
        ASSERT_EQ(held.size(), i + 1);
        held[i]->send(200, {}, "answer " + requests[i].target + requests[i].body + ";");
    }
    ASSERT_TRUE(until([&] { return done; }));
    program.join();
    EXPECT_LT(answer.find("answer /1;"), answer.find("answer /2abc;"));
    EXPECT_LT(answer.find("answer /2abc;"), answer.find("answer /3;"));
    EXPECT_NE(answer.find("answer /3;"), std::string::npos);
}

TEST_F(HttpTest, ChunkedBodiesAreJoined) {
    const std::string answer = talk(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n");
    EXPECT_EQ(body_of(answer), "POST / abcdefg");
}

TEST_F(HttpTest, WhatIsNoHttpGets400) {
    for (const std::string text : {"hello\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/3.0\r\n\r\n",
                                   "\x16\x03\x01\x02\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n"}) {
        EXPECT_TRUE(starts(talk(text), "HTTP/1.1 400 ")) << text;
    }
    EXPECT_TRUE(requests.empty());
}

TEST_F(HttpTest, ALengthAndChunksTogetherAre400) {
    const std::string both = talk(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_TRUE(starts(both, "HTTP/1.1 400 "));
    const std::string two = talk("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd");
    EXPECT_TRUE(starts(two, "HTTP/1.1 400 "));
    EXPECT_TRUE(requests.empty());
}

TEST_F(HttpTest, HeadersThatAreTooLongGet431) {
    const std::string long_header =
        "GET / HTTP/1.1\r\nX: " + std::string(limits::http_header_bytes_max, 'x') + "\r\n\r\n";
    EXPECT_TRUE(starts(talk(long_header), "HTTP/1.1 431 "));
    const std::string chunk_extension = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;" +
                                        std::string(2 * limits::http_header_bytes_max, 'x');
    EXPECT_TRUE(starts(talk(chunk_extension), "HTTP/1.1 431 "));
    EXPECT_TRUE(requests.empty());
}

TEST_F(HttpTest, ABodyThatIsTooLongGets413BeforeAndWhileItComes) {
    start({.body_bytes_max = 1000});
    EXPECT_TRUE(starts(talk("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"), "HTTP/1.1 413 "));
    const std::string chunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" +
                               std::string(1001, 'x') + "\r\n0\r\n\r\n";
    EXPECT_TRUE(starts(talk(chunks), "HTTP/1.1 413 "));
    EXPECT_TRUE(requests.empty());
    const std::string fits =
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n" + std::string(1000, 'x');
    EXPECT_TRUE(starts(talk(fits), "HTTP/1.1 200 "));
}

TEST_F(HttpTest, AProgramThatSendsABodyTooLongStillReadsTheAnswer) {
    start({.body_bytes_max = 1000});
    const Answer answer = ask({.method = "POST", .body = std::string(600'000, 'x')});
    EXPECT_EQ(answer.status, 413);
    EXPECT_TRUE(answer.done);
}

TEST_F(HttpTest, ASlowRequestIsCutHoweverItDrips) {
    start({.idle_timeout = 100ms});
    std::string answer;
    run_beside(loop, [&] {
        const RawSocket socket(address);
        const std::string text = "GET / HTTP/1.1\r\nX: y";
        socket.send(text);
        // One byte each time the deadline would be far away again, if bytes prolonged it.
        for (int i = 0; i < 400; ++i) {
            if (::send(socket.fd(), "y", 1, MSG_NOSIGNAL) != 1) break;
            pollfd answered{socket.fd(), POLLIN, 0};
            if (::poll(&answered, 1, 5) > 0) break;
        }
        answer = socket.read_to_end();
    });
    EXPECT_TRUE(starts(answer, "HTTP/1.1 408 ")) << answer;
    EXPECT_TRUE(requests.empty());
}

TEST_F(HttpTest, AConnectionWithoutARequestIsClosedSilently) {
    start({.idle_timeout = 50ms});
    EXPECT_EQ(talk(""), "");
    EXPECT_EQ(server->connection_count(), 0U);
}

TEST_F(HttpTest, ConnectionsBeyondTheMaximumGet503) {
    start({.connections_max = 1});
    run_beside(loop, [&] {
        const RawSocket first(address);
        first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        char byte = 0;
        EXPECT_EQ(::recv(first.fd(), &byte, 1, 0), 1);
        const RawSocket second(address);
        const std::string answer = second.read_to_end();
        EXPECT_TRUE(starts(answer, "HTTP/1.1 503 "));
        EXPECT_NE(answer.find("\r\nRetry-After: 1\r\n"), std::string::npos) << answer;
        EXPECT_EQ(body_of(answer), "too many connections to the local gateway\n");
    });
}

TEST_F(HttpTest, RefusalsHaveTheFormThatTheServerWasGiven) {
    HttpServerOptions options{.header_bytes_max = 500, .body_bytes_max = 1000};
    options.idle_timeout = 200ms;
    options.refusal = [](int status, std::string_view why) {
        return HttpRefusal{{{"Content-Type", "x/y"}, {"X-Own", "1"}}, std::to_string(status) + "|" + std::string(why)};
    };
    start(options);
    const auto expect = [](const std::string& answer, const std::string& status) {
        EXPECT_TRUE(starts(answer, "HTTP/1.1 " + status + " ")) << answer;
        EXPECT_NE(answer.find("\r\nX-Own: 1\r\n"), std::string::npos) << answer;
        EXPECT_TRUE(starts(body_of(answer), status + "|")) << answer;
    };
    expect(talk("nonsense\r\n\r\n"), "400");
    expect(talk("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(600, 'x') + "\r\n\r\n"), "431");
    expect(talk("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"), "413");
    expect(talk("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n"), "417");
    expect(talk("GET / HTTP/1.1\r\nHost: a\r\n"), "408");
    handle = [](const HttpRequest&, const std::shared_ptr<HttpExchange>&) {};
    expect(talk("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "500");
    options.connections_max = 1;
    start(options);
    run_beside(loop, [&] {
        const RawSocket first(address);
        first.send("G");
        expect(RawSocket(address).read_to_end(), "503");
    });
}

TEST_F(HttpTest, ExpectContinueIsAnsweredBeforeTheBody) {
    run_beside(loop, [&] {
        const RawSocket socket(address);
        socket.send(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
        const std::string_view interim = "HTTP/1.1 100 Continue\r\n\r\n";
        std::string got(interim.size(), 0);
        EXPECT_EQ(::recv(socket.fd(), got.data(), got.size(), MSG_WAITALL), static_cast<ssize_t>(got.size()));
        EXPECT_EQ(got, interim);
        socket.send("abc");
        EXPECT_EQ(body_of(socket.read_to_end()), "POST / abc");
    });
    EXPECT_TRUE(starts(talk("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n"), "HTTP/1.1 417 "));
}

TEST_F(HttpTest, AHeadGetsTheHeadersOfTheGetAlone) {
    const std::string answer = talk("HEAD /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    EXPECT_NE(answer.find("Content-Length: 8\r\n"), std::string::npos);
    EXPECT_EQ(body_of(answer), "");
    EXPECT_TRUE(ask({.method = "HEAD"}).done);
}

TEST_F(HttpTest, AHeaderOfAnAnswerCannotBreakOut) {
    handle = [](const HttpRequest&, const std::shared_ptr<HttpExchange>& exchange) {
        exchange->send(200, {{"X-Model", "a\r\nSet-Cookie: b"}}, "");
    };
    EXPECT_EQ(talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").find("\r\nSet-Cookie"), std::string::npos);
}

TEST_F(HttpTest, AStreamArrivesPieceByPiece) {
    std::shared_ptr<HttpExchange> open;
    handle = [&](const HttpRequest&, std::shared_ptr<HttpExchange> exchange) {
        open = std::move(exchange);
        open->begin_stream(200, {{"Content-Type", "text/event-stream"}});
    };
    Answer answer;
    const auto running = call({}, answer);
    ASSERT_TRUE(until([&] { return answer.status == 200; }));
    for (const std::string piece : {"one ", "two ", "three"}) {
        const std::string before = answer.body;
        ASSERT_TRUE(open->write(piece));
        ASSERT_TRUE(until([&] { return answer.body == before + piece; }));
    }
    EXPECT_FALSE(answer.done);
    open->finish();
    ASSERT_TRUE(until([&] { return answer.done; }));
    EXPECT_FALSE(open->write("too late"));
    EXPECT_FALSE(open->connected());
}

TEST_F(HttpTest, AStreamTowardsHttp10EndsWithTheConnection) {
    handle = [](const HttpRequest&, const std::shared_ptr<HttpExchange>& exchange) {
        exchange->begin_stream(200, {});
        EXPECT_TRUE(exchange->write("abc"));
        exchange->finish();
    };
    const std::string answer = talk("GET / HTTP/1.0\r\n\r\n");
    EXPECT_TRUE(starts(answer, "HTTP/1.0 200 "));
    EXPECT_EQ(body_of(answer), "abc");
}

TEST_F(HttpTest, AProgramThatGoesAwayIsNoticedWhileItsAnswerIsMade) {
    for (const bool streaming : {false, true}) {
        std::shared_ptr<HttpExchange> open;
        bool gone = false;
        handle = [&](const HttpRequest&, std::shared_ptr<HttpExchange> exchange) {
            open = std::move(exchange);
            if (streaming) open->begin_stream(200, {});
            open->on_disconnect([&] { gone = true; });
        };
        Answer answer;
        auto running = call({}, answer);
        ASSERT_TRUE(until([&] { return open != nullptr; }));
        EXPECT_TRUE(open->connected());
        running.reset();
        ASSERT_TRUE(until([&] { return gone; })) << streaming;
        EXPECT_FALSE(open->connected());
        EXPECT_FALSE(open->write("x"));
        open->finish();
        EXPECT_EQ(server->connection_count(), 0U);
    }
}

TEST_F(HttpTest, AReaderThatDoesNotReadIsCutWhenTheBufferIsFull) {
    start({.stream_buffer_bytes_max = 100'000});
    std::shared_ptr<HttpExchange> open;
    bool gone = false;
    handle = [&](const HttpRequest&, std::shared_ptr<HttpExchange> exchange) {
        open = std::move(exchange);
        open->begin_stream(200, {});
        open->on_disconnect([&] { gone = true; });
    };
    const RawSocket lazy(address);
    lazy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    ASSERT_TRUE(until([&] { return open != nullptr; }));
    const std::string piece(10'000, 'x');
    std::size_t written = 0;
    while (open->write(piece)) {
        written += piece.size();
        ASSERT_LT(written, 100'000'000U);
    }
    EXPECT_FALSE(gone);  // never from inside a call
    ASSERT_TRUE(until([&] { return gone; }));
    EXPECT_EQ(server->connection_count(), 0U);
}

TEST_F(HttpTest, AReaderThatTakesNothingOfAnAnswerIsCutInTime) {
    start({.idle_timeout = 50ms});
    handle = [](const HttpRequest&, const std::shared_ptr<HttpExchange>& exchange) {
        exchange->send(200, {}, std::string(50'000'000, 'x'));  // more than any kernel takes
    };
    const RawSocket lazy(address);
    lazy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    ASSERT_TRUE(until([&] { return requests.size() == 1; }));
    EXPECT_EQ(server->connection_count(), 1U);
    EXPECT_TRUE(until([&] { return server->connection_count() == 0; }));
}

TEST_F(HttpTest, AnExchangeThatIsDroppedIs500OrACutStream) {
    handle = [](const HttpRequest&, const std::shared_ptr<HttpExchange>&) {};
    EXPECT_EQ(ask({}).status, 500);
    handle = [](const HttpRequest&, const std::shared_ptr<HttpExchange>& exchange) {
        exchange->begin_stream(200, {});
        EXPECT_TRUE(exchange->write("a part"));
    };
    const Answer cut = ask({});
    EXPECT_FALSE(cut.done);
    ASSERT_TRUE(cut.error);
    EXPECT_EQ(cut.error->code, Errc::io);
}

TEST_F(HttpTest, AConnectionServesManyRequests) {
    run_beside(loop, [&] {
        const RawSocket socket(address);
        for (int i = 0; i < 20; ++i) {
            socket.send("GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n");
            std::string got;
            char byte = 0;
            while (!got.ends_with("GET /" + std::to_string(i) + " ") && ::recv(socket.fd(), &byte, 1, 0) == 1)
                got += byte;
            EXPECT_TRUE(starts(got, "HTTP/1.1 200 OK\r\n"));
        }
    });
    EXPECT_EQ(requests.size(), 20U);
}

TEST_F(HttpTest, AFloodAheadOfTheAnswerIsHeldBackAndStillServed) {
    std::shared_ptr<HttpExchange> first;
    handle = [&](const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
        if (request.target == "/first") {
            first = std::move(exchange);
        } else {
            exchange->send(200, {}, ".");
        }
    };
    constexpr std::size_t count = 20'000;
    bool written = false;
    std::thread program([&] {
        const RawSocket socket(address);
        std::string text = "GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
        for (std::size_t i = 0; i < count; ++i) text += "GET /more HTTP/1.1\r\nHost: a\r\n\r\n";
        text += "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        std::thread reader([&] { socket.read_to_end(); });
        std::string_view rest = text;
        while (!rest.empty()) {
            const ssize_t put = ::send(socket.fd(), rest.data(), rest.size(), MSG_NOSIGNAL);
            if (put <= 0) break;
            rest.remove_prefix(static_cast<std::size_t>(put));
        }
        reader.join();
        loop.post([&] { written = true; });
    });
    ASSERT_TRUE(until([&] { return first != nullptr; }));
    first->send(200, {}, "1");
    ASSERT_TRUE(until([&] { return written; }));
    program.join();
    EXPECT_EQ(requests.size(), count + 2);
}

TEST_F(HttpTest, TheServerMayBeDestroyedFromItsHandler) {
    handle = [&](const HttpRequest&, const std::shared_ptr<HttpExchange>& exchange) {
        server.reset();
        exchange->send(200, {}, "nobody hears this");
    };
    EXPECT_TRUE(ask({}).error);
}

TEST_F(HttpTest, APortInUseIsNamed) {
    const auto second = server->listen(address);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("port " + std::to_string(address.port) + " is in use"), std::string::npos);
}

// ---- the client --------------------------------------------------------------------------------------------------

TEST_F(HttpTest, TheClientTellsWhenNobodyListensOrAnswers) {
    address.port = RawSocket().listen_silently().port;
    EXPECT_EQ(ask({}).error->code, Errc::unavailable);
    const RawSocket silent;
    address = silent.listen_silently();
    EXPECT_EQ(ask({.silence_timeout = 50ms}).error->code, Errc::timeout);
}

TEST_F(HttpTest, TheClientBoundsTheAnswer) {
    handle = [](const HttpRequest&, const std::shared_ptr<HttpExchange>& exchange) {
        exchange->send(200, {}, std::string(2000, 'x'));
    };
    EXPECT_EQ(ask({.response_bytes_max = 1000}).error->code, Errc::exhausted);
    EXPECT_EQ(ask({.response_bytes_max = 2000}).body.size(), 2000U);
}

TEST_F(HttpTest, TheClientRefusesToSendALineBreak) {
    EXPECT_EQ(ask({.target = "/ HTTP/1.1\r\nX: y"}).error->code, Errc::invalid);
    EXPECT_EQ(ask({.headers = {{"X", "a\nb"}}}).error->code, Errc::invalid);
}

}  // namespace
}  // namespace shoal::net
