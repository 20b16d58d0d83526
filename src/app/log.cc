#include "app/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace shoal::app {
namespace {

spdlog::level::level_enum level_of(LogLevel level) {
    switch (level) {
        case LogLevel::debug: return spdlog::level::debug;
        case LogLevel::info: return spdlog::level::info;
        case LogLevel::warn: return spdlog::level::warn;
        case LogLevel::error: return spdlog::level::err;
    }
    return spdlog::level::err;
}

class SpdLog final : public Log {
public:
    explicit SpdLog(spdlog::level::level_enum level)
        : logger_("shoal", std::make_shared<spdlog::sinks::stderr_color_sink_st>()) {  // co-owner: the logger alone
        logger_.set_pattern("%H:%M:%S.%e %^%l%$ %v");
        logger_.set_level(level);
    }
    void write(LogLevel level, std::string_view room, std::string_view line) override {
        logger_.log(level_of(level), "{}: {}", std::string(room), std::string(line));
    }

private:
    spdlog::logger logger_;
};

}  // namespace

Result<std::unique_ptr<Log>> make_log(const std::string& level) {
    for (const auto& [name, value] : {std::pair("debug", LogLevel::debug), std::pair("info", LogLevel::info),
                                      std::pair("warn", LogLevel::warn), std::pair("error", LogLevel::error)}) {
        if (level == name) return std::unique_ptr<Log>(new SpdLog(level_of(value)));
    }
    return fail(Errc::invalid, "--log-level must be debug, info, warn or error");
}

}  // namespace shoal::app
