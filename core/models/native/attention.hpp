// Attention of the queries of one token, over plain keys and values, in pieces: a key head and some tokens each.
//
// A piece leaves its largest score, the sum of e^(score - largest) and the values weighed by that; `join` puts the pieces
// of a head together. So any number of threads share one token's work, however few heads there are.
#pragma once
#include <algorithm>
#include <type_traits>
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

// Of GROUP queries that share a key head: scores[g * room + t], the products of query g with token t.
template <int GROUP, typename Head>
void score(const Head& head, int from, int tokens, int width, const float* queries, float* scores, int room) {
    for (int t = 0; t < tokens; t++) {
        Floats sums[GROUP] = {};
        for (int i = 0; i < width; i += LANES) {
            const Floats key = head.key(from + t, i);
            for (int g = 0; g < GROUP; g++) sums[g] += key * load(queries + g * width + i);
        }
        const float step = head.step(from + t);
        for (int g = 0; g < GROUP; g++) scores[g * room + t] = total(sums[g]) * step;
    }
}

// out[g * stride ...] = lows[g] + the values of all tokens, weighed by shares[g * room + t].
template <int GROUP, typename Head>
void weigh(const Head& head, int from, int tokens, int width, const float* shares, int room, const float* lows, float* out,
           int64_t stride) {
    for (int i = 0; i < width; i += LANES) {
        Floats sums[GROUP], others[GROUP] = {};
        for (int g = 0; g < GROUP; g++) sums[g] = all(lows[g]);
        int t = 0;
        for (; t + 1 < tokens; t += 2) {
            const Floats value = head.value(from + t, i), next = head.value(from + t + 1, i);
            for (int g = 0; g < GROUP; g++) {
                sums[g] += value * shares[g * room + t];
                others[g] += next * shares[g * room + t + 1];
            }
        }
        if (t < tokens)
            for (int g = 0; g < GROUP; g++) sums[g] += head.value(from + t, i) * shares[g * room + t];
        for (int g = 0; g < GROUP; g++) store(out + g * stride + i, sums[g] + others[g]);
    }
}

// The queries of a group, as many at once as have registers.
template <typename Use>
void by_fours(int group, Use use) {
    int g = 0;
    for (; g + 4 <= group; g += 4) use(g, std::integral_constant<int, 4>());
    if (group - g == 3) use(g, std::integral_constant<int, 3>());
    if (group - g == 2) use(g, std::integral_constant<int, 2>());
    if (group - g == 1) use(g, std::integral_constant<int, 1>());
}

// Over the tokens from `from` on; queries: (group, width), scaled and prepared; out: (group, ...) apart by `stride`.
template <typename Head>
void attend(const Head& head, int from, int tokens, int width, const float* queries, int group, float* out, int64_t stride,
            std::vector<float>& scores) {
    const int room = (tokens + LANES - 1) / LANES * LANES;
    const int64_t after = int64_t(group) * room;  // of the scores: the steps and lowest values of the tokens, a sum for each g
    if (int64_t(scores.size()) < after + 2 * room + group) scores.resize(after + 2 * room + group);
    float *steps = &scores[after], *lowest = steps + room, *lows = lowest + room;
    for (int t = 0; t < tokens; t++) steps[t] = head.value_step(from + t), lowest[t] = head.lowest(from + t);
    std::fill(steps + tokens, steps + room, 0.0f);
    std::fill(lowest + tokens, lowest + room, 0.0f);
    by_fours(group, [&](int g, auto count) {
        score<count()>(head, from, tokens, width, queries + g * width, &scores[g * room], room);
    });
    for (int g = 0; g < group; g++) {
        float *mine = &scores[g * room], *found = out + g * stride;
        const float largest = *std::max_element(mine, mine + tokens);
        std::fill(mine + tokens, mine + room, largest - 200);  // e^-87 each, which is nothing beside the 1 of the largest
        Floats sum{}, low{};
        for (int t = 0; t < room; t += LANES) {
            const Floats shares = exponential(load(mine + t) - largest);
            sum += shares;
            low += shares * load(lowest + t);
            store(mine + t, shares * load(steps + t));
        }
        found[width] = largest, found[width + 1] = total(sum), lows[g] = total(low);
    }
    by_fours(group, [&](int g, auto count) {
        weigh<count()>(head, from, tokens, width, &scores[g * room], room, lows + g, out + g * stride, stride);
    });
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
