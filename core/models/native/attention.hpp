// Attention of the queries of one token, over plain keys and values, in pieces: a key head and some tokens each.
//
// A piece leaves its largest score, the sum of e^(score - largest) and the values weighed by that; `join` puts the pieces
// of a head together. So any number of threads share one token's work, however few heads there are.
#pragma once
#include <algorithm>
#include <vector>

#include "rows.hpp"

namespace qw {

constexpr int SHORTEST_PIECE = 64, MOST_PIECES = 16;

// How the tokens are cut: by their number alone, so that a row gives the same whatever is computed beside it.
struct Pieces {
    int tokens, count;  // of a piece; for each key head
    static Pieces of(int length) {
        const int tokens = std::max(SHORTEST_PIECE, (length + MOST_PIECES - 1) / MOST_PIECES);
        return {tokens, (length + tokens - 1) / tokens};
    }
};

// What one piece found for one query head: `width` weighed values, then the largest score, then the sum.
inline int piece_size(int width) { return width + 2; }

// Over the tokens from `from` on; queries: (group, width), scaled and prepared; out: (group, ...) apart by `stride`.
template <typename Head>
void attend(const Head& head, int from, int tokens, int width, const float* queries, int group, float* out, int64_t stride,
            std::vector<float>& scores) {
    const int room = (tokens + LANES - 1) / LANES * LANES;
    if (int(scores.size()) < group * room) scores.resize(group * room);
    for (int t = 0; t < tokens; t++) {
        const float step = head.step(from + t);
        for (int g = 0; g < group; g++) {
            Floats sum{};
            for (int i = 0; i < width; i += LANES) sum += head.key(from + t, i) * load(queries + g * width + i);
            scores[g * room + t] = total(sum) * step;
        }
    }
    for (int g = 0; g < group; g++) {
        float *mine = &scores[g * room], *found = out + g * stride;
        const float largest = *std::max_element(mine, mine + tokens);
        std::fill(mine + tokens, mine + room, largest - 200);  // e^-87 each, which is nothing beside the 1 of the largest
        Floats sum{};
        for (int t = 0; t < room; t += LANES) {
            const Floats shares = exponential(load(mine + t) - largest);
            store(mine + t, shares);
            sum += shares;
        }
        found[width] = largest, found[width + 1] = total(sum);
        float low = 0;
        for (int t = 0; t < tokens; t++) low += mine[t] * head.lowest(from + t), mine[t] *= head.value_step(from + t);
        for (int i = 0; i < width; i += LANES) {
            Floats some = all(low), other{};
            int t = 0;
            for (; t + 1 < tokens; t += 2) {
                some += head.value(from + t, i) * mine[t];
                other += head.value(from + t + 1, i) * mine[t + 1];
            }
            if (t < tokens) some += head.value(from + t, i) * mine[t];
            store(found + i, some + other);
        }
    }
}

inline void join(const float* pieces, int count, int width, float* out) {
    const int size = piece_size(width);
    float largest = -1e30f, sum = 0;
    for (int p = 0; p < count; p++) largest = std::max(largest, pieces[p * size + width]);
    std::fill(out, out + width, 0.0f);
    for (int p = 0; p < count; p++) {
        const float* piece = pieces + p * size;
        const float share = std::exp(piece[width] - largest);
        sum += share * piece[width + 1];
        for (int i = 0; i < width; i += LANES) store(out + i, load(out + i) + load(piece + i) * share);
    }
    for (int i = 0; i < width; i += LANES) store(out + i, load(out + i) / sum);
}

}  // namespace qw
