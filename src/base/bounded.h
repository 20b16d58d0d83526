// Containers that refuse to grow past a written number.
#pragma once

#include <cstddef>
#include <deque>
#include <unordered_map>
#include <utility>

#include "base/assert.h"

namespace shoal {

// First in, first out, at most `max` items. push() says whether there was room.
template <typename T>
class BoundedQueue {
public:
    explicit BoundedQueue(std::size_t max) : max_(max) {}
    [[nodiscard]] bool push(T item) {
        if (items_.size() >= max_) return false;
        items_.push_back(std::move(item));
        return true;
    }
    T pop() {
        ASSERT(!items_.empty());
        T item = std::move(items_.front());
        items_.pop_front();
        return item;
    }
    void drop_front() { items_.pop_front(); }
    T& front() { return items_.front(); }
    const T& front() const { return items_.front(); }
    bool empty() const { return items_.empty(); }
    bool full() const { return items_.size() >= max_; }
    std::size_t size() const { return items_.size(); }
    void clear() { items_.clear(); }
    auto begin() { return items_.begin(); }
    auto end() { return items_.end(); }
    template <typename Predicate>
    std::size_t erase_if(Predicate predicate) {
        return std::erase_if(items_, predicate);
    }

private:
    std::deque<T> items_;
    std::size_t max_;
};

// A hash map of at most `max` entries. insert() gives nullptr when full or when the key is there already.
template <typename K, typename V>
class BoundedMap {
public:
    explicit BoundedMap(std::size_t max) : max_(max) {}
    [[nodiscard]] V* insert(const K& key, V value) {
        if (items_.size() >= max_) return nullptr;
        const auto [at, fresh] = items_.try_emplace(key, std::move(value));
        return fresh ? &at->second : nullptr;
    }
    V* find(const K& key) {
        const auto at = items_.find(key);
        return at == items_.end() ? nullptr : &at->second;
    }
    const V* find(const K& key) const {
        const auto at = items_.find(key);
        return at == items_.end() ? nullptr : &at->second;
    }
    bool contains(const K& key) const { return items_.contains(key); }
    bool erase(const K& key) { return items_.erase(key) > 0; }
    bool full() const { return items_.size() >= max_; }
    bool empty() const { return items_.empty(); }
    std::size_t size() const { return items_.size(); }
    auto begin() { return items_.begin(); }
    auto end() { return items_.end(); }
    auto begin() const { return items_.begin(); }
    auto end() const { return items_.end(); }
    // The predicate sees std::pair<const K, V>&.
    template <typename Predicate>
    std::size_t erase_if(Predicate predicate) {
        return std::erase_if(items_, predicate);
    }

private:
    std::unordered_map<K, V> items_;
    std::size_t max_;
};

}  // namespace shoal
