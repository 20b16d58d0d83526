#include "engine_worker/worker_say.h"

#include <unistd.h>

#include "wire/text.h"

namespace shoal::engine_worker {

void LoadingShare::operator()(double share) {
    const auto now = std::chrono::steady_clock::now();
    if (share - shown_ < 0.01 && now - said_ < limits::engine_working_interval) return;
    shown_ = std::max(shown_, share);
    said_ = now;
    say_(engine::Loading{static_cast<float>(std::clamp(shown_, 0.0, 1.0))});
}

void say(Channel& channel, const engine::pipe::FromWorker& message) {
    const auto frame = engine::pipe::encode(message);
    ASSERT(frame.has_value());  // what this process says of itself is valid, or it has a bug
    channel.send(*frame);
}

void say_placed(Channel& channel, std::uint32_t layers, std::uint32_t all) {
    if (layers == 0) return;
    say(channel, engine::pipe::Placed{static_cast<std::uint16_t>(layers), static_cast<std::uint16_t>(all)});
}

void give_up(Channel& channel, const Error& error) {
    // Of the files, or of what was asked of them: it will be the same next time.
    const bool for_good = error.code == Errc::malformed || error.code == Errc::unsupported ||
                          error.code == Errc::invalid || error.code == Errc::not_found ||
                          error.code == Errc::unauthenticated;
    say(channel, engine::pipe::Fatal{wire::plain_text(error.message, engine::pipe::reason_bytes_max), for_good});
    channel.flush();
    _exit(1);
}

}  // namespace shoal::engine_worker
