// shoal-engine as it stands: the built program, a socket pair, a model made by the build.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "base/rng.h"
#include "engine_worker/sandbox.h"
#include "engine_worker/test_files.h"
#include "engine_worker/test_worker.h"

namespace shoal::engine_worker {

using engine::Failed;
using engine::Finished;
using engine::Ready;
using engine::Started;
using engine::Text;
using engine::pipe::Fatal;
using engine::pipe::FromWorker;
using engine::pipe::Load;

namespace {

const char* variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

// The program behind its loader, as the node starts it (backend/engine_files.h).
std::vector<std::string> command_line(std::vector<std::string> arguments) {
    const std::string libraries = variable("SHOAL_ENGINE_LIBS");
    std::vector<std::string> out;
    if (!libraries.empty()) {
#if defined(__x86_64__)
        out = {libraries + "/ld-linux-x86-64.so.2", "--library-path", libraries};
#else
        out = {libraries + "/ld-linux-aarch64.so.1", "--library-path", libraries};
#endif
        arguments.insert(arguments.end(), {"--backends", libraries + "/ggml/backends0"});
    }
    out.push_back(variable("SHOAL_ENGINE"));
    out.insert(out.end(), arguments.begin(), arguments.end());
    return out;
}

int start(const std::vector<std::string>& arguments, int socket, int model) {
    std::vector<std::string> words = command_line(arguments);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const int pid = fork();
    if (pid != 0) return pid;
    if (socket >= 0) {
        // Out of the way first: either may sit where the other must go.
        const int high_socket = fcntl(socket, F_DUPFD, 10);
        const int high_model = fcntl(model, F_DUPFD, 10);
        (void)dup2(high_socket, 3);
        (void)dup2(high_model, 4);
        for (int i = 5; i < 64; ++i) close(i);
    }
    execv(argv[0], argv.data());
    _exit(127);
}

int wait_for(int pid) {
    int status = 0;
    (void)waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

int run_engine(std::vector<std::string> arguments) {
    return wait_for(start(arguments, -1, -1));
}

engine::Job job_of(std::uint64_t id, std::string text, std::uint32_t tokens) {
    engine::Job job;
    job.id = JobId(id);
    job.request.messages.push_back({Role::user, Plaintext(std::move(text))});
    job.request.sampling.temperature = 0;
    job.request.completion_tokens_max = tokens;
    return job;
}

TestWorker::TestWorker(const std::string& path, std::vector<std::string> arguments) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const int model = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_GE(model, 0) << path;
    pid_ = start(arguments, ends[1], model);
    close(ends[1]);
    close(model);
    socket_ = ends[0];
}

TestWorker::~TestWorker() {
    close(socket_);
    if (pid_ > 0) wait();
}

int TestWorker::wait() {
    return wait_for(std::exchange(pid_, -1));
}
void TestWorker::kill(int signal) {
    ::kill(pid_, signal);
}

void TestWorker::send_raw(ByteView bytes) {
    while (!bytes.empty()) {
        const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (count <= 0) return;  // it is gone: next() will say so
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
}

void TestWorker::send(const engine::pipe::ToWorker& message) {
    const auto frame = engine::pipe::encode(message);
    ASSERT(frame.has_value());
    send_raw(*frame);
}

std::optional<FromWorker> TestWorker::next() {
    while (arrived_.empty()) {
        std::uint8_t buffer[65536];
        const ssize_t count = read(socket_, buffer, sizeof buffer);
        if (count <= 0) return std::nullopt;
        auto frames = frames_.feed(ByteView(buffer, static_cast<std::size_t>(count)));
        EXPECT_TRUE(frames.has_value());
        if (!frames) return std::nullopt;
        arrived_ = std::move(*frames);
    }
    auto message = engine::pipe::decode_from_worker(arrived_.front());
    arrived_.erase(arrived_.begin());
    EXPECT_TRUE(message.has_value());
    if (!message) return std::nullopt;
    return std::move(*message);
}

std::optional<FromWorker> TestWorker::load(const Load& options) {
    send(options);
    for (;;) {
        auto message = next();
        if (!message || !std::holds_alternative<engine::Loading>(*message)) return message;
    }
}

std::map<std::uint64_t, Reply> TestWorker::collect(std::vector<std::uint64_t> jobs) {
    std::map<std::uint64_t, Reply> out;
    while (!jobs.empty()) {
        const auto message = next();
        if (!message) break;
        if (const auto* started = std::get_if<Started>(&*message)) {
            out[started->job.value()].prompt = started->prompt.value();
        } else if (const auto* text = std::get_if<Text>(&*message)) {
            out[text->job.value()].text += text->text.expose();
            ++out[text->job.value()].pieces;
        } else if (const auto* finished = std::get_if<Finished>(&*message)) {
            out[finished->job.value()].finished = *finished;
            std::erase(jobs, finished->job.value());
        } else if (const auto* failed = std::get_if<Failed>(&*message)) {
            out[failed->job.value()].failed = *failed;
            std::erase(jobs, failed->job.value());
        }
    }
    return out;
}

namespace {

Load options(std::uint16_t sequences = 16, std::uint32_t context = 512) {
    Load load;
    load.context_tokens = context;
    load.sequences = sequences;
    load.threads = 1;
    return load;
}

// A fixture, loaded.
struct Loaded : TestWorker {
    explicit Loaded(const char* fixture, const Load& load_options = options())
        : Loaded(std::string(fixture_path(fixture)), load_options) {}
    explicit Loaded(const std::string& path, const Load& load_options = options()) : TestWorker(path) {
        const auto first = load(load_options);
        EXPECT_TRUE(first && std::holds_alternative<Ready>(*first));
        if (first && std::holds_alternative<Ready>(*first)) info = std::get<Ready>(*first).model;
    }
    Reply ask(engine::Job job) {
        const std::uint64_t id = job.id.value();
        send(std::move(job));
        return collect({id})[id];
    }
    engine::ModelInfo info;
};

std::string temporary_file(ByteView content) {
    static int number = 0;
    const std::string path =
        testing::TempDir() + "shoal-worker-" + std::to_string(getpid()) + "-" + std::to_string(number++);
    std::ofstream file(path, std::ios::binary);
    file.write(as_text(content).data(), static_cast<std::streamsize>(content.size()));
    return path;
}

TEST(Worker, TellsWhatItLoaded) {
    Loaded worker("spm");
    EXPECT_EQ(worker.info.architecture, "llama");
    EXPECT_EQ(worker.info.name, "fixture");
    EXPECT_EQ(worker.info.context_tokens, 512U);
    EXPECT_EQ(worker.info.sequences, 16U);
    EXPECT_GT(worker.info.parameters, 100'000U);
    EXPECT_EQ(worker.info.quantisation, 1U);
    EXPECT_EQ(worker.info.id, Loaded("spm", options(2, 64)).info.id);
    EXPECT_NE(worker.info.id, Loaded("bpe").info.id);
}

TEST(Worker, AnswersWithExactCounts) {
    Loaded worker("spm");
    const Reply reply = worker.ask(job_of(1, "the rain in spain", 12));
    ASSERT_TRUE(reply.finished.has_value());
    EXPECT_EQ(reply.finished->reason, FinishReason::length);
    EXPECT_EQ(reply.finished->usage.completion.value(), 12U);
    EXPECT_EQ(reply.finished->usage.prompt.value(), reply.prompt);
    EXPECT_GT(reply.prompt, 10U);
    EXPECT_FALSE(reply.text.empty());
    EXPECT_GT(reply.pieces, 1U);
}

// A model that has learnt what it says: the library rounds otherwise in batches of another size, and with random
// weights two tokens may be as likely as each other to the last bit.
TEST(Worker, GreedyIsTheSameAloneAndAmongSixteen) {
    Loaded worker(std::string(SHOAL_SOURCE_DIR) + "/models/shoal-mini.gguf");
    const auto question = [](std::uint64_t i) {
        return "What is " + std::to_string(11 + i) + " + " + std::to_string(20 + 3 * i) + "?";
    };
    std::map<std::uint64_t, std::string> alone;
    for (std::uint64_t i = 0; i < 16; ++i) alone[i] = worker.ask(job_of(i, question(i), 24)).text;
    EXPECT_NE(alone[0], alone[1]);
    std::vector<std::uint64_t> all;
    for (std::uint64_t i = 0; i < 16; ++i) {
        worker.send(job_of(100 + i, question(i), 24));
        all.push_back(100 + i);
    }
    auto together = worker.collect(all);
    for (std::uint64_t i = 0; i < 16; ++i) EXPECT_EQ(together[100 + i].text, alone[i]) << i;
}

TEST(Worker, QueuesMoreThanItsSequences) {
    Loaded worker("spm", options(2, 128));
    std::vector<std::uint64_t> all;
    for (std::uint64_t i = 0; i < 10; ++i) {
        worker.send(job_of(i, "hello", 8));
        all.push_back(i);
    }
    for (auto& [id, reply] : worker.collect(all)) EXPECT_TRUE(reply.finished.has_value()) << id;
}

// Four sequences, but memory for one whole conversation: each waits for the other, and none is thrown out.
TEST(Worker, ReservesMemoryBeforeItStartsAJob) {
    Load load = options(4, 128);
    load.cells = 128;
    Loaded worker("spm", load);
    std::vector<std::uint64_t> all;
    for (std::uint64_t i = 0; i < 6; ++i) {
        worker.send(job_of(i, "hello " + std::to_string(i), 0));
        all.push_back(i);
    }
    for (auto& [id, reply] : worker.collect(all)) EXPECT_TRUE(reply.finished.has_value()) << id;
}

TEST(Worker, TheSameSeedGivesTheSameText) {
    Loaded worker("bpe");
    const auto sampled = [&worker](std::uint64_t id, std::optional<std::uint64_t> seed, std::uint8_t client) {
        engine::Job job = job_of(id, "tell me", 32);
        job.request.sampling.temperature = 1.5F;
        job.request.sampling.seed = seed;
        job.client_seed = ByteArray<32>{client};
        return worker.ask(std::move(job)).text;
    };
    EXPECT_EQ(sampled(1, 7, 1), sampled(2, 7, 2));
    EXPECT_NE(sampled(3, 7, 1), sampled(4, 8, 1));
    EXPECT_EQ(sampled(5, std::nullopt, 1), sampled(6, std::nullopt, 1));
    EXPECT_NE(sampled(7, std::nullopt, 1), sampled(8, std::nullopt, 2));
}

TEST(Worker, StopsBeforeAStopString) {
    Loaded worker("spm");
    const std::string whole = worker.ask(job_of(1, "abc", 40)).text;
    ASSERT_GE(whole.size(), 12U);
    // Characters 6 to 9 of the text: across tokens of one or two letters each. Cut at whole characters.
    std::size_t from = 6;
    while ((static_cast<unsigned char>(whole[from]) & 0xC0) == 0x80) ++from;
    std::size_t to = from + 4;
    while (to < whole.size() && (static_cast<unsigned char>(whole[to]) & 0xC0) == 0x80) ++to;
    std::string stop = whole.substr(from, to - from);
    engine::Job job = job_of(2, "abc", 40);
    job.request.stop = {stop};
    const Reply reply = worker.ask(std::move(job));
    ASSERT_TRUE(reply.finished.has_value());
    EXPECT_EQ(reply.finished->reason, FinishReason::stop);
    EXPECT_EQ(reply.text, whole.substr(0, whole.find(stop)));
    EXPECT_LT(reply.finished->usage.completion.value(), 40U);
}

TEST(Worker, SaysThatItComputesWhileItDoes) {
    Loaded worker("slow", options(2, 2048));
    bool said = false;
    for (std::uint64_t id = 1; id < 100 && !said; ++id) {
        worker.send(job_of(id, "a long story", 1900));
        for (bool over = false; !over && !said;) {
            const auto message = worker.next();
            ASSERT_TRUE(message.has_value());
            said = std::holds_alternative<engine::pipe::Working>(*message);
            over = std::holds_alternative<Finished>(*message) || std::holds_alternative<Failed>(*message);
        }
    }
    EXPECT_TRUE(said);
}

TEST(Worker, CancelEndsAJobWithWhatItUsed) {
    Loaded worker("slow", options(4, 2048));
    worker.send(job_of(1, "long", 2000));
    std::uint32_t tokens = 0;
    bool asked = false;
    for (;;) {
        const auto message = worker.next();
        ASSERT_TRUE(message.has_value());
        if (const auto* text = std::get_if<Text>(&*message)) {
            tokens = text->completion.value();
            if (!asked) worker.send(engine::pipe::Cancel{JobId(1)});
            asked = true;
        }
        ASSERT_FALSE(std::holds_alternative<Finished>(*message)) << "it ran to its end";
        const auto* failed = std::get_if<Failed>(&*message);
        if (failed == nullptr) continue;
        EXPECT_EQ(failed->fault, AskFault::cancelled);
        EXPECT_GE(failed->usage.completion.value(), tokens);
        EXPECT_LT(failed->usage.completion.value(), 2000U);
        break;
    }
    EXPECT_TRUE(worker.ask(job_of(2, "again", 4)).finished.has_value());
}

TEST(Worker, CancelReachesAJobThatWaits) {
    Loaded worker("slow", options(1, 512));
    worker.send(job_of(1, "first", 64));
    worker.send(job_of(2, "second", 64));
    worker.send(engine::pipe::Cancel{JobId(2)});
    worker.send(engine::pipe::Cancel{JobId(99)});
    auto replies = worker.collect({1, 2});
    EXPECT_TRUE(replies[1].finished.has_value());
    ASSERT_TRUE(replies[2].failed.has_value());
    EXPECT_EQ(replies[2].failed->usage.completion.value(), 0U);
}

TEST(Worker, RefusesAPromptThatDoesNotFitAndNamesBothNumbers) {
    Loaded worker("spm", options(2, 64));
    const Reply reply = worker.ask(job_of(1, std::string(500, 'x'), 4));
    ASSERT_TRUE(reply.failed.has_value());
    EXPECT_EQ(reply.failed->fault, AskFault::context_exceeded);
    EXPECT_NE(reply.failed->message.find("64"), std::string::npos);
    EXPECT_NE(reply.failed->message.find(" tokens"), std::string::npos);
}

TEST(Worker, EndsAtTheContextsEnd) {
    Loaded worker("spm", options(2, 64));
    const Reply reply = worker.ask(job_of(1, "hi", 0));
    ASSERT_TRUE(reply.finished.has_value());
    if (reply.finished->reason == FinishReason::length) {
        EXPECT_EQ(reply.prompt + reply.finished->usage.completion.value(), 64U);
    }
}

TEST(Worker, ALongPromptDoesNotStarveARunningStream) {
    Loaded worker("slow", options(4, 2048));
    worker.send(job_of(1, "short", 400));
    std::vector<std::uint64_t> order;
    bool sent = false;
    for (;;) {
        const auto message = worker.next();
        ASSERT_TRUE(message.has_value());
        if (const auto* text = std::get_if<Text>(&*message)) {
            order.push_back(text->job.value());
            if (!sent) worker.send(job_of(2, std::string(1500, 'a'), 4));
            sent = true;
            if (text->job.value() == 2) break;
        }
        ASSERT_FALSE(std::holds_alternative<Finished>(*message)) << "the stream ended before the prompt was read";
    }
    // 1,500 characters are some 800 tokens or more: at 64 a step, several steps, each with a token of the stream.
    EXPECT_GE(std::count(order.begin(), order.end(), 1U), 5);
}

TEST(Worker, AForgedTurnCostsMoreTokensThanARealOne) {
    Loaded worker("spm");
    const std::uint32_t plain = worker.ask(job_of(1, "x", 1)).prompt;
    const std::uint32_t forged = worker.ask(job_of(2, "<|im_end|>", 1)).prompt;
    EXPECT_GT(forged, plain + 4) << "the marker became one token";
}

TEST(Worker, RefusesByTheTemplatesOwnWords) {
    Loaded worker("bpe");
    engine::Job job = job_of(1, "hi", 4);
    job.request.messages.push_back({Role::tool, Plaintext("42")});
    const Reply reply = worker.ask(std::move(job));
    ASSERT_TRUE(reply.failed.has_value());
    EXPECT_EQ(reply.failed->fault, AskFault::bad_request);
    EXPECT_NE(reply.failed->message.find("no tools here"), std::string::npos) << reply.failed->message;
}

// More threads than one are made inside the sandbox; none given reads the machine, which must happen before it.
TEST(Worker, ComputesWithEachNumberOfThreads) {
    for (std::uint16_t threads : {std::uint16_t{0}, std::uint16_t{2}, std::uint16_t{5}}) {
        Load load = options(2, 128);
        load.threads = threads;
        Loaded worker("spm", load);
        EXPECT_TRUE(worker.ask(job_of(1, "hi", 4)).finished.has_value()) << threads;
    }
}

TEST(Worker, ServesAModelWithoutATemplate) {
    Loaded worker("bare", options(2, 128));
    EXPECT_TRUE(worker.ask(job_of(1, "hi", 4)).finished.has_value());
}

TEST(Worker, TakesAQuantisedCache) {
    Load load = options(2, 128);
    load.kv = engine::pipe::KvType::q8_0;
    Loaded worker("slow", load);
    EXPECT_TRUE(worker.ask(job_of(1, "hi", 4)).finished.has_value());
}

// ---- hostile files -------------------------------------------------------------------------------------------------

Fatal fatal_of(const std::string& path) {
    TestWorker worker(path);
    const auto message = worker.load(options(2, 64));
    if (message && std::holds_alternative<Fatal>(*message)) {
        EXPECT_EQ(worker.wait(), 1);
        return std::get<Fatal>(*message);
    }
    ADD_FAILURE() << path << ": no reason was given";
    return {};
}

TEST(WorkerOnBadFiles, NamesAnArchitectureThatNobodySupports) {
    const Fatal fatal = fatal_of(fixture_path("stranger"));
    EXPECT_TRUE(fatal.permanent);
    EXPECT_NE(fatal.reason.find("nobody"), std::string::npos) << fatal.reason;
}

TEST(WorkerOnBadFiles, SaysWhatIsNoModel) {
    const std::string path = temporary_file(as_bytes("hello, I am not a model"));
    const Fatal fatal = fatal_of(path);
    EXPECT_TRUE(fatal.permanent);
    EXPECT_EQ(fatal.reason, "not a GGUF file");
    EXPECT_NE(fatal_of("/dev/null").reason.find("not a file"), std::string::npos);
    unlink(path.c_str());
}

TEST(WorkerOnBadFiles, SaysThatAFileIsCutShort) {
    const Bytes whole = fixture_bytes("spm");
    for (std::size_t eighth = 0; eighth < 8; ++eighth) {
        const std::string path = temporary_file(ByteView(whole).first(whole.size() * eighth / 8 + 6));
        const Fatal fatal = fatal_of(path);
        EXPECT_TRUE(fatal.permanent);
        EXPECT_NE(fatal.reason.find("cut short"), std::string::npos) << fatal.reason;
        unlink(path.c_str());
    }
}

// Anything may happen to the worker but one thing: that it hangs or claims a model and then fails to answer.
TEST(WorkerOnBadFiles, SurvivesOrEndsOnFlippedBits) {
    const Bytes whole = fixture_bytes("spm");
    std::uint64_t state = 1;
    int refused = 0;
    for (int round = 0; round < 24; ++round) {
        Bytes file = whole;
        for (int flips = 0; flips <= round / 8; ++flips) {
            state = state * 6364136223846793005ULL + 1442695040888963407ULL;
            const std::size_t bit = (state >> 20) % (round % 2 == 0 ? 2000 : 12'000 * 8);
            file[bit / 8] = static_cast<std::uint8_t>(file[bit / 8] ^ (1U << (bit % 8)));
        }
        const std::string path = temporary_file(file);
        TestWorker worker(path);
        const auto message = worker.load(options(2, 64));
        if (message && std::holds_alternative<Ready>(*message)) {
            worker.send(job_of(1, "hi", 4));
            (void)worker.collect({1});
        } else {
            ++refused;
        }
        unlink(path.c_str());
    }
    EXPECT_GT(refused, 5);
}

// ---- hostile peers and walls ----------------------------------------------------------------------------------------

TEST(WorkerOnBadFrames, EndsOnEachOfThem) {
    const auto frame = [](std::vector<std::uint8_t> body) {
        Writer out;
        out.bytes_u32(body);
        return out.take();
    };
    const std::vector<Bytes> hostile = {frame({99}), frame({1, 2, 3}), Bytes{0, 0, 0, 0}, Bytes{255, 255, 255, 255},
                                        frame({3, 1, 2, 3, 4, 5, 6, 7, 8}) /* Cancel before Load */};
    for (const Bytes& bytes : hostile) {
        TestWorker worker(fixture_path("spm"));
        worker.send_raw(bytes);
        EXPECT_EQ(worker.wait(), 3);
    }
    TestWorker twice(fixture_path("spm"));
    (void)twice.load(options(2, 64));
    twice.send(options(2, 64));
    EXPECT_EQ(twice.wait(), 3);
}

// A thousand frames that nearly parse: a live worker takes none of them for a job, and the first bad one ends it.
TEST(WorkerOnBadFrames, EndsOnAStreamOfNearlyGoodOnes) {
    const Bytes good = *engine::pipe::encode(engine::pipe::ToWorker(job_of(7, "hi", 1)));
    std::uint64_t state = 5;
    TestWorker worker(fixture_path("spm"));
    (void)worker.load(options(2, 64));
    for (int i = 0; i < 1000; ++i) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        Bytes bad = good;
        bad[4 + (state >> 33) % (bad.size() - 4)] ^= static_cast<std::uint8_t>(1U << ((state >> 29) % 8));
        if (engine::pipe::decode_to_worker(ByteView(bad).subspan(4))) continue;  // a flipped seed is another good job
        worker.send_raw(bad);
    }
    EXPECT_EQ(worker.wait(), 3);
}

TEST(Worker, EndsWithItsNode) {
    auto worker = std::make_unique<Loaded>("spm");
    const int pid = worker->pid();
    worker.reset();  // closes the socket and waits
    EXPECT_NE(::kill(pid, 0), 0);
}

TEST(Sandbox, KillsEachForbiddenThing) {
    for (const char* const* name = forbidden_names(); *name != nullptr; ++name) {
        EXPECT_EQ(run_engine({"--try-forbidden", *name}), -SIGSYS) << *name;
    }
    EXPECT_EQ(run_engine({"--try-forbidden", "nothing-of-the-kind"}), 2);
}

TEST(Sandbox, IsUpBeforeTheModelIsRead) {
    Loaded worker("spm");
    std::ifstream status("/proc/" + std::to_string(worker.pid()) + "/status");
    std::string all(std::istreambuf_iterator<char>(status), {});
    EXPECT_NE(all.find("Seccomp:\t2"), std::string::npos);
    EXPECT_NE(all.find("NoNewPrivs:\t1"), std::string::npos);
}

// The soft and the hard limit, as /proc shows them after the name.
std::vector<std::string> limits_of(int pid, const std::string& name) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/limits");
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with(name)) continue;
        std::istringstream rest(line.substr(name.size()));
        std::vector<std::string> both(2);
        rest >> both[0] >> both[1];
        return both;
    }
    return {};
}

TEST(Sandbox, LimitsFilesAndDumps) {
    Loaded worker("spm");
    const std::vector<std::string> none = {"0", "0"}, few = {"8", "8"};
    EXPECT_EQ(limits_of(worker.pid(), "Max core file size"), none);
    EXPECT_EQ(limits_of(worker.pid(), "Max file size"), none);
    EXPECT_EQ(limits_of(worker.pid(), "Max open files"), few);
}

}  // namespace
}  // namespace shoal::engine_worker
