// The keys and values of one head of one layer, as they are kept: what attention reads and what a step adds.
#pragma once
#include <algorithm>

#include "vectors.hpp"

namespace qw {

// Where the rows of a layer are. Plain: keys, values (kv_heads, room, width). In 8 bits, as core/inference/kv_int8.py has
// them: keys int8, values (kv_heads, room, width + 8) bytes with step and lowest value behind each row, marks (kv_heads,
// room) bf16, the largest of each key, and sizes (kv_heads, width), what the channels of keys are divided by.
struct Cache {
    void *keys, *values, *marks;
    const float* sizes;
    int64_t room;
};

template <typename Stored>
class PlainHead {
   public:
    PlainHead(const Cache& cache, int head, int width)
        : keys_(static_cast<Stored*>(cache.keys) + head * cache.room * width),
          values_(static_cast<Stored*>(cache.values) + head * cache.room * width), width_(width) {}

    Floats key(int64_t token, int i) const { return load(keys_ + token * width_ + i); }
    Floats value(int64_t token, int i) const { return load(values_ + token * width_ + i); }
    float step(int64_t) const { return 1; }        // of its keys
    float value_step(int64_t) const { return 1; }  // value = step * code + lowest
    float lowest(int64_t) const { return 0; }
    void prepare(float*) const {}  // queries

    void put(int64_t token, const float* key, const float* value) {
        for (int i = 0; i < width_; i++) qw::put(keys_ + token * width_ + i, key[i]);
        for (int i = 0; i < width_; i++) qw::put(values_ + token * width_ + i, value[i]);
    }

   private:
    Stored *keys_, *values_;
    int width_;
};

class PackedHead {
   public:
    PackedHead(const Cache& cache, int head, int width)
        : keys_(static_cast<int8_t*>(cache.keys) + head * cache.room * width),
          values_(static_cast<uint8_t*>(cache.values) + head * cache.room * (width + MARKS)),
          marks_(static_cast<uint16_t*>(cache.marks) + head * cache.room), sizes_(cache.sizes + int64_t(head) * width),
          width_(width) {}

    Floats key(int64_t token, int i) const { return load(keys_ + token * width_ + i); }
    Floats value(int64_t token, int i) const { return load(row(token) + i); }
    float step(int64_t token) const { return one(marks_ + token); }
    float value_step(int64_t token) const { return mark(token, 0); }
    float lowest(int64_t token) const { return mark(token, 4); }
    void prepare(float* query) const {
        for (int i = 0; i < width_; i++) query[i] *= sizes_[i] / LEVELS;
    }

    void put(int64_t token, const float* key, const float* value) {
        float most = SMALLEST, low = value[0], high = value[0];
        for (int i = 0; i < width_; i++) {
            most = std::max(most, std::fabs(key[i] / sizes_[i]));
            low = std::min(low, value[i]), high = std::max(high, value[i]);
        }
        qw::put(marks_ + token, most);
        const float inverse = LEVELS / one(marks_ + token), steps = 255 / (high - low + 1e-8f), step = (high - low) / 255;
        for (int i = 0; i < width_; i++) {
            keys_[token * width_ + i] = int8_t(std::nearbyint(key[i] / sizes_[i] * inverse));
            row(token)[i] = uint8_t(std::nearbyint((value[i] - low) * steps));
        }
        std::memcpy(row(token) + width_, &step, 4);
        std::memcpy(row(token) + width_ + 4, &low, 4);
    }

   private:
    static constexpr int MARKS = 8;
    static constexpr float LEVELS = 127, SMALLEST = 1e-12f;

    uint8_t* row(int64_t token) const { return values_ + token * (width_ + MARKS); }
    float mark(int64_t token, int at) const {
        float found;
        std::memcpy(&found, row(token) + width_ + at, 4);
        return found;
    }

    int8_t* keys_;
    uint8_t* values_;
    uint16_t* marks_;
    const float* sizes_;
    int width_;
};

}  // namespace qw
