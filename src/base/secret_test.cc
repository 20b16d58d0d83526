#include "base/secret.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <memory>
#include <new>
#include <type_traits>

#include "base/log.h"

namespace shoal {
namespace {

// No way from a secret to text: what the logger's interface relies on.
static_assert(!std::is_convertible_v<Plaintext, std::string_view>);
static_assert(!std::is_convertible_v<TokenIds, std::string_view>);
static_assert(!std::is_convertible_v<Key32, std::string_view>);
static_assert(!std::is_copy_constructible_v<Key32> && std::is_move_constructible_v<Key32>);
static_assert(!std::is_convertible_v<std::string, Plaintext>);

const std::string short_text = "tiny secret";  // lives inside std::string
const std::string long_text(100, 's');         // lives on the heap

// Memory that outlives the object in it, so that the test may look at what is left.
template <typename T>
class Stage {
public:
    template <typename... Args>
    explicit Stage(Args&&... args) : object_(new (memory_) T(std::forward<Args>(args)...)) {}
    T& operator*() { return *object_; }
    void destroy() { std::destroy_at(object_); }
    bool holds(std::string_view text) const { return as_text(memory_).find(text) != std::string_view::npos; }

private:
    alignas(T) std::uint8_t memory_[sizeof(T)] = {};
    T* object_;
};

TEST(Secret, WipeSetsEveryByte) {
    Bytes bytes(33, 7);
    wipe(bytes.data(), bytes.size());
    EXPECT_EQ(bytes, Bytes(33));
    wipe(nullptr, 0);
}

TEST(Secret, AKeyIsGoneFromTheSourceOfAMoveAndAfterDestruction) {
    ByteArray<32> raw;
    raw.fill(0x5A);
    Stage<Key32> from(raw);
    Key32 to = std::move(*from);
    EXPECT_EQ((*from).expose(), ByteArray<32>{});
    EXPECT_EQ(to.expose(), raw);
    EXPECT_EQ(to.clone().expose(), raw);
    Stage<Key32> staged(to.clone());
    EXPECT_TRUE(staged.holds(as_text(raw)));
    staged.destroy();
    EXPECT_FALSE(staged.holds("\x5A"));
}

TEST(Secret, AShortTextIsGoneAfterMoveClearAndDestruction) {
    Stage<Plaintext> moved(short_text);
    ASSERT_TRUE(moved.holds(short_text));
    const Plaintext to = std::move(*moved);
    EXPECT_FALSE(moved.holds(short_text));
    EXPECT_EQ(to.expose(), short_text);
    moved.destroy();

    Stage<Plaintext> cleared(short_text);
    (*cleared).clear();
    EXPECT_FALSE(cleared.holds(short_text));
    cleared.destroy();

    Stage<Plaintext> destroyed(short_text);
    destroyed.destroy();
    EXPECT_FALSE(destroyed.holds(short_text));
}

TEST(Secret, AShortTextIsGoneWhenAnotherIsAssignedOrGrownOverIt) {
    Stage<Plaintext> assigned(short_text);
    *assigned = Plaintext(std::string("x"));
    EXPECT_FALSE(assigned.holds(short_text.substr(1)));
    assigned.destroy();

    Stage<Plaintext> copied(short_text);
    const Plaintext other(std::string("x"));
    *copied = other;
    EXPECT_FALSE(copied.holds(short_text.substr(1)));
    copied.destroy();

    Stage<Plaintext> grown(short_text);
    (*grown).append(long_text);
    EXPECT_FALSE(grown.holds(short_text.substr(0, 8)));
    EXPECT_EQ((*grown).expose(), short_text + long_text);
    grown.destroy();
}

TEST(Secret, TheStringThatATextIsMadeOfIsTakenOver) {
    std::string source = short_text;
    const Plaintext text(std::move(source));
    EXPECT_TRUE(source.empty());  // NOLINT(bugprone-use-after-move): what is left is the point
    EXPECT_EQ(std::string_view(source.data(), short_text.size()).find(short_text), std::string_view::npos);
    EXPECT_EQ(text.expose(), short_text);
}

TEST(Secret, AssigningATextToItselfKeepsIt) {
    Plaintext text(short_text);
    Plaintext& same = text;
    text = same;
    EXPECT_EQ(text.expose(), short_text);
    text = std::move(same);
    EXPECT_EQ(text.expose(), short_text);
}

RC_GTEST_PROP(Secret, AppendingPiecesGivesTheWhole, (const std::vector<std::string>& pieces)) {
    Plaintext text;
    std::string twin;
    for (const auto& piece : pieces) {
        text.append(piece);
        twin += piece;
    }
    RC_ASSERT(text.expose() == twin);
    const Plaintext copy = text;
    RC_ASSERT(copy == text);
}

TEST(Secret, TokensAreGoneWhenCleared) {
    TokenIds tokens({1, 2, 3});
    const std::int32_t* at = tokens.expose().data();
    tokens.clear();
    EXPECT_EQ(at[0], 0);  // the capacity stays, so the memory is still the vector's
    TokenIds other({4, 5});
    other = TokenIds({6});
    EXPECT_EQ(other.expose(), std::vector<std::int32_t>{6});
}

}  // namespace
}  // namespace shoal
