// From the bytes of tokens to text that may be shown: whole characters, and nothing of a stop string.
//
// Rules
//   1. What leaves is well-formed UTF-8. A character that is split over tokens waits until it is whole; bytes that
//      begin none become U+FFFD, one each.
//      Rationale: the frames above carry text only, and a model with byte tokens can say anything.
//   2. A stop string and what follows it never leaves, also when it comes in many tokens. So the longest end of the
//      text that could still become a stop string waits.
//   3. The stop string that is complete first counts; of several that end together, the longest. So the result does
//      not depend on how the text was cut into tokens.
//
// Pure. O(length of the piece x stop strings x their length). One thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace shoal::engine_worker {

class TextStream {
public:
    // Empty stop strings are ignored.
    explicit TextStream(std::vector<std::string> stops);

    // The bytes of one token; gives what may leave now.
    std::string feed(std::string_view piece);
    // No more tokens: gives what waited. Empty after a stop. `cut`: there would have been more, so a character that is
    // not whole is left out.
    std::string finish(bool cut);
    // A stop string was met: the generation is over.
    bool stopped() const { return stopped_; }
    std::size_t given_bytes() const { return given_bytes_; }

private:
    void decode(bool last);
    std::string release(bool last);

    std::vector<std::string> stops_;
    std::string raw_;      // bytes of a character that is not whole yet, at most 3 after feed()
    std::string waiting_;  // text that could become a stop string: shorter than the longest of them after feed()
    std::size_t given_bytes_ = 0;
    bool stopped_ = false;
};

}  // namespace shoal::engine_worker
