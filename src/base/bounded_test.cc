#include "base/bounded.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <deque>
#include <map>

namespace shoal {
namespace {

RC_GTEST_PROP(BoundedQueue, BehavesAsAQueueThatRefusesTheItemTooMany, (const std::vector<bool>& pushes)) {
    const auto max = *rc::gen::inRange<std::size_t>(0, 8);
    BoundedQueue<std::size_t> queue(max);
    std::deque<std::size_t> twin;
    for (std::size_t i = 0; i < pushes.size(); ++i) {
        if (pushes[i]) {
            const bool room = twin.size() < max;
            RC_ASSERT(queue.push(i) == room);
            if (room) twin.push_back(i);
        } else if (!twin.empty()) {
            RC_ASSERT(queue.pop() == twin.front());
            twin.pop_front();
        }
        RC_ASSERT(queue.size() == twin.size());
        RC_ASSERT(queue.full() == (twin.size() >= max));
        RC_ASSERT(queue.empty() == twin.empty());
    }
}

TEST(BoundedQueue, TakingFromAnEmptyOneStopsTheProcess) {
    BoundedQueue<int> queue(1);
    EXPECT_DEATH(queue.pop(), "internal error");
}

TEST(BoundedQueue, EraseIfMakesRoom) {
    BoundedQueue<int> queue(3);
    for (int i : {1, 2, 3}) ASSERT_TRUE(queue.push(i));
    EXPECT_FALSE(queue.push(4));
    EXPECT_EQ(queue.erase_if([](int i) { return i != 2; }), 2U);
    EXPECT_TRUE(queue.push(5));
    EXPECT_EQ(queue.pop(), 2);
    EXPECT_EQ(queue.pop(), 5);
}

RC_GTEST_PROP(BoundedMap, BehavesAsAMapThatRefusesTheKeyTooMany, (const std::vector<std::uint8_t>& keys)) {
    const auto max = *rc::gen::inRange<std::size_t>(0, 8);
    BoundedMap<int, std::size_t> map(max);
    std::map<int, std::size_t> twin;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        const int key = keys[i] % 16;
        if (keys[i] >= 192) {
            RC_ASSERT(map.erase(key) == (twin.erase(key) > 0));
        } else {
            const bool taken = twin.size() < max && !twin.contains(key);
            const std::size_t* at = map.insert(key, i);
            RC_ASSERT((at != nullptr) == taken);
            if (taken) twin[key] = i;
        }
        RC_ASSERT(map.size() == twin.size());
        RC_ASSERT(map.full() == (twin.size() >= max));
        const auto* found = map.find(key);
        RC_ASSERT((found != nullptr) == twin.contains(key));
        if (found != nullptr) RC_ASSERT(*found == twin[key]);
    }
}

TEST(BoundedMap, InsertDoesNotReplace) {
    BoundedMap<int, int> map(2);
    ASSERT_NE(map.insert(1, 10), nullptr);
    EXPECT_EQ(map.insert(1, 20), nullptr);
    EXPECT_EQ(*map.find(1), 10);
}

}  // namespace
}  // namespace shoal
