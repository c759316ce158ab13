// One token through a dense decoder: what core/inference/dense.py does for a step, in one call.
//
// Every thread norms and rounds for itself what all have written, so that they only meet where one needs another's part:
// five times a layer.
#pragma once
#include <memory>

#include "attention.hpp"
#include "products.hpp"

namespace qw {

constexpr int MOST_JOINED = 3;

struct Layer {
    Linear qkv[MOST_JOINED], gate_up[MOST_JOINED], out, down;  // those joined come one after the other; inputs 0: none
    const float *attention_norm, *mlp_norm, *head_norm;        // head_norm: (heads + kv_heads, width) or null
};

struct Model {
    const Layer* layers;
    const float* final_norm;
    Linear head;
    int32_t layer_count, hidden, intermediate, heads, kv_heads, width, threads;
    float least, head_least;  // width times epsilon, of the norms
};

// cos, sin: (width), the first half of the sine negative; query_scale: 1 for none.
struct Place {
    const float *cos, *sin;
    float query_scale;
    int32_t position, rows_kind;  // INT8: see Cache
};

class Step {
   public:
    Step(const Model& model, const Place& place, const Cache* caches, float* x, float* logits)
        : m_(model), place_(place), caches_(caches), x_(x), logits_(logits),
          pieces_(Pieces::of(place.position + 1, model.kv_heads, model.threads)),
          qkv_(int64_t(model.heads + 2 * model.kv_heads) * model.width), inner_(padded(model.intermediate)),
          found_(int64_t(model.heads) * pieces_.count * piece_size(model.width)) {}

    void run() {
        const std::function<void(int)> work = [this](int thread) {
            switch (place_.rows_kind) {
                case INT8: return through<PackedHead>(thread);
                case BF16: return through<PlainHead<uint16_t>>(thread);
                case F16: return through<PlainHead<Half>>(thread);
                default: return through<PlainHead<float>>(thread);
            }
        };
        pool().run(m_.threads, work);
    }

   private:
    // What a thread needs for itself.
    struct Own {
        std::vector<float> normed, attended, queries, scores;
        Input input;
    };

    static int64_t padded(int64_t count) { return (count + TILE - 1) / TILE * TILE; }

    template <typename Head>
    void through(int thread) {
        static thread_local Own own;
        own.normed.resize(padded(std::max(m_.hidden, m_.intermediate)));
        own.attended.resize(int64_t(m_.heads) * m_.width);
        own.queries.resize(own.attended.size());
        for (int number = 0; number < m_.layer_count; number++) {
            const Layer& layer = m_.layers[number];
            norm(x_, layer.attention_norm, m_.least, m_.hidden, own.normed.data());
            apply(layer.qkv, own, thread, qkv_.data());
            pool().meet();
            attend_all<Head>(layer, caches_[number], own, thread);
            pool().meet();
            gather(own);
            add_to_x(layer.out, own.attended.data(), own, thread);
            pool().meet();
            norm(x_, layer.mlp_norm, m_.least, m_.hidden, own.normed.data());
            gate(layer.gate_up, own, thread);
            pool().meet();
            add_to_x(layer.down, inner_.data(), own, thread);
            pool().meet();
        }
        norm(x_, m_.final_norm, m_.least, m_.hidden, own.normed.data());
        apply(&m_.head, own, thread, logits_, 1);
    }

    void apply(const Linear* joined, Own& own, int thread, float* out, int most = MOST_JOINED) {
        for (int j = 0; j < most && joined[j].inputs; out += joined[j].outputs, j++) {
            if (j == 0) own.input.take(own.normed.data(), joined[0]);
            const Share mine = share(tiles(joined[j]), thread, m_.threads);
            for (int t = mine.start; t < mine.stop; t++) put_tile(out, joined[j].outputs, t, own.input.by(joined[j], t));
        }
    }

    void add_to_x(const Linear& by, const float* x, Own& own, int thread) {
        own.input.take(x, by);
        const Share mine = share(tiles(by), thread, m_.threads);
        for (int t = mine.start; t < mine.stop; t++) {
            const Floats found = own.input.by(by, t);
            for (int n = t * TILE; n < std::min(t * TILE + TILE, by.outputs); n++) x_[n] += found[n - t * TILE];
        }
    }

    // inner = silu(gate) * up. The tiles of both that belong together fall to one thread.
    void gate(const Linear* joined, Own& own, int thread) {
        own.input.take(own.normed.data(), joined[0]);
        const bool is_one = joined[1].inputs == 0;  // gate and up in one, the width a whole number of tiles
        const Linear& up = is_one ? joined[0] : joined[1];
        const int count = (m_.intermediate + TILE - 1) / TILE, after = is_one ? count : 0;
        const Share mine = share(count, thread, m_.threads);
        for (int t = mine.start; t < mine.stop; t++)
            put_tile(inner_.data(), m_.intermediate, t, silu(own.input.by(joined[0], t)) * own.input.by(up, t + after));
    }

    // Rotated, and rounded as it is kept.
    void turn(const float* from, const float* weight, float* to) const {
        const int width = m_.width, half = width / 2;
        const float* x = from;
        float normed[512];
        if (weight) norm(from, weight, m_.head_least, width, normed), x = normed;
        for (int i = 0; i < width; i++) to[i] = x[i] * place_.cos[i] + x[(i + half) % width] * place_.sin[i];
    }

    template <typename Head>
    void attend_all(const Layer& layer, const Cache& cache, Own& own, int thread) {
        const int width = m_.width, group = m_.heads / m_.kv_heads, last = place_.position;
        const Share mine = share(m_.kv_heads * pieces_.count, thread, m_.threads);
        int turned = -1;
        for (int item = mine.start; item < mine.stop; item++) {
            const int kv = item / pieces_.count, piece = item % pieces_.count;
            const int from = piece * pieces_.tokens, until = std::min(from + pieces_.tokens, last + 1);
            float* queries = own.queries.data();
            Head head(cache, kv, width);
            if (turned != kv) {
                turn_queries(layer, kv, group, queries), turned = kv;
                for (int g = 0; g < group; g++) head.prepare(queries + g * width);
            }
            if (until == last + 1) keep(layer, kv, head);
            const int64_t stride = int64_t(pieces_.count) * piece_size(width);
            float* out = &found_[int64_t(kv) * group * stride + int64_t(piece) * piece_size(width)];
            attend(head, from, until - from, width, queries, group, out, stride, own.scores);
        }
    }

    void turn_queries(const Layer& layer, int kv, int group, float* queries) const {
        const float scale = place_.query_scale / std::sqrt(float(m_.width));
        for (int g = 0; g < group; g++) {
            const int head = kv * group + g;
            const float* weight = layer.head_norm ? layer.head_norm + int64_t(head) * m_.width : nullptr;
            turn(&qkv_[int64_t(head) * m_.width], weight, queries + g * m_.width);
            for (int i = 0; i < m_.width; i++) queries[g * m_.width + i] *= scale;
        }
    }

    template <typename Head>
    void keep(const Layer& layer, int kv, Head& rows) const {
        const int64_t head = m_.heads + kv;
        float turned[512];
        turn(&qkv_[head * m_.width], layer.head_norm ? layer.head_norm + head * m_.width : nullptr, turned);
        rows.put(place_.position, turned, &qkv_[(head + m_.kv_heads) * m_.width]);
    }

    void gather(Own& own) const {
        const int64_t stride = int64_t(pieces_.count) * piece_size(m_.width);
        for (int head = 0; head < m_.heads; head++)
            join(&found_[head * stride], pieces_.count, m_.width, &own.attended[int64_t(head) * m_.width]);
    }

    const Model& m_;
    const Place& place_;
    const Cache* caches_;
    float *x_, *logits_;
    const Pieces pieces_;
    std::vector<float> qkv_, inner_, found_;
};

}  // namespace qw
