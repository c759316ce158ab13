// One token of some sequences, or some tokens of one, through a dense decoder: a step of core/inference/dense.py in a call.
//
// Few rows are normed and rounded by every thread for itself, so that they only meet where one needs another's part: five
// times a layer. Many rows are shared out for that too.
#pragma once
#include <memory>

#include "attention.hpp"
#include "products.hpp"

namespace qw {

constexpr int MOST_JOINED = 3, WIDEST_HEAD = 512, FEW = 4;

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

// Where a token is. cos, sin: (width), the first half of the sine negative; query_scale: 1 for none; caches: of all layers.
struct Place {
    const Cache* caches;
    const float *cos, *sin;
    float query_scale;
    int32_t position, rows_kind;  // INT8: see Cache
};

class Step {
   public:
    Step(const Model& model, const Place* places, int count, float* x, float* logits, int wanted)
        : m_(model), places_(places), count_(count), wanted_(wanted), x_(x), logits_(logits),
          qkv_width_((model.heads + 2 * model.kv_heads) * model.width), qkv_(int64_t(count) * qkv_width_),
          inner_(int64_t(count) * model.intermediate) {
        int64_t found = 0;
        for (int r = 0; r < count; r++) {
            pieces_.push_back(Pieces::of(places[r].position + 1));
            begins_.push_back(found);
            found += int64_t(model.heads) * pieces_[r].count * piece_size(model.width);
            for (int piece = 0; piece < pieces_[r].count; piece++)
                for (int kv = 0; kv < model.kv_heads; kv++) items_.push_back({r, kv, piece});
        }
        found_.resize(found);
        if (count <= FEW) return;
        normed_.resize(int64_t(count) * model.hidden);
        attended_.resize(int64_t(count) * model.heads * model.width);
        rounded_.fit(int64_t(count) * std::max({model.hidden, model.intermediate, model.heads * model.width}));
    }

    void run() {
        const std::function<void(int)> work = [this](int thread) { through(thread); };
        pool().run(m_.threads, work);
    }

   private:
    struct Item {
        int row, kv, piece;
    };

    // What a thread needs for itself.
    struct Own {
        std::vector<float> normed, attended, queries, scores, outputs, others;  // the last two: tiles
        Input input;
    };

    static Floats* tiles_in(std::vector<float>& values) { return reinterpret_cast<Floats*>(values.data()); }

    void through(int thread) {
        static thread_local Own own;
        if (count_ <= FEW) {
            own.normed.resize(int64_t(count_) * m_.hidden);
            own.attended.resize(int64_t(count_) * m_.heads * m_.width);
        }
        own.queries.resize(int64_t(m_.heads) * m_.width);
        own.outputs.resize(int64_t(count_) * TILE), own.others.resize(int64_t(count_) * TILE);
        for (int number = 0; number < m_.layer_count; number++) {
            const Layer& layer = m_.layers[number];
            take_normed(layer.attention_norm, layer.qkv[0], own, thread);
            apply(layer.qkv, MOST_JOINED, count_, own, thread, qkv_.data(), qkv_width_);
            pool().meet();
            if (count_ > 1) keep_all(layer, number, thread), pool().meet();
            attend_all(layer, number, own, thread);
            pool().meet();
            take(layer.out, own.attended, attended_, own, thread, [&](int r, float* to) { gather(r, to); });
            add_to_x(layer.out, own, thread);
            pool().meet();
            take_normed(layer.mlp_norm, layer.gate_up[0], own, thread);
            gate(layer.gate_up, own, thread);
            pool().meet();
            take(layer.down, inner_, inner_, own, thread, [](int, float*) {});
            add_to_x(layer.down, own, thread);
            pool().meet();
        }
        if (wanted_ == count_) {
            take_normed(m_.final_norm, m_.head, own, thread);
        } else {
            own.normed.resize(int64_t(wanted_) * m_.hidden);
            for (int64_t r = 0; r < wanted_; r++)
                norm(x_ + (count_ - wanted_ + r) * m_.hidden, m_.final_norm, m_.least, m_.hidden, &own.normed[r * m_.hidden]);
            own.input.take(own.normed.data(), wanted_, m_.head);
        }
        apply(&m_.head, 1, wanted_, own, thread, logits_, m_.head.outputs);
    }

    void take_normed(const float* weight, const Linear& by, Own& own, int thread) {
        take(by, own.normed, normed_, own, thread, [&](int64_t r, float* to) {
            norm(x_ + r * m_.hidden, weight, m_.least, m_.hidden, to);
        });
    }

    // The rows that `make` makes become the input of `by`: all of them in this thread, or its share of them for all.
    template <typename Make>
    void take(const Linear& by, std::vector<float>& own_rows, std::vector<float>& shared, Own& own, int thread, Make make) {
        if (count_ <= FEW) {
            for (int64_t r = 0; r < count_; r++) make(r, &own_rows[r * by.inputs]);
            return own.input.take(own_rows.data(), count_, by);
        }
        const Share mine = share(count_, thread, m_.threads);
        for (int64_t r = mine.start; r < mine.stop; r++) {
            make(r, &shared[r * by.inputs]);
            rounded_.take(shared.data(), r, by);
        }
        pool().meet();
        own.input.look(shared.data(), count_, rounded_);
    }

    void apply(const Linear* joined, int most, int count, Own& own, int thread, float* out, int64_t stride) {
        for (int j = 0; j < most && joined[j].inputs; out += joined[j].outputs, j++) {
            const Share mine = share(tiles(joined[j]), thread, m_.threads);
            for (int t = mine.start; t < mine.stop; t++) {
                own.input.by(joined[j], t, tiles_in(own.outputs));
                for (int r = 0; r < count; r++) put_tile(out + r * stride, joined[j].outputs, t, load(&own.outputs[r * TILE]));
            }
        }
    }

    void add_to_x(const Linear& by, Own& own, int thread) {
        const Share mine = share(tiles(by), thread, m_.threads);
        for (int t = mine.start; t < mine.stop; t++) {
            own.input.by(by, t, tiles_in(own.outputs));
            for (int64_t r = 0; r < count_; r++)
                for (int n = t * TILE; n < std::min(t * TILE + TILE, by.outputs); n++)
                    x_[r * m_.hidden + n] += own.outputs[r * TILE + n - t * TILE];
        }
    }

    // inner = silu(gate) * up. The tiles of both that belong together fall to one thread.
    void gate(const Linear* joined, Own& own, int thread) {
        const bool is_one = joined[1].inputs == 0;  // gate and up in one, the width a whole number of tiles
        const Linear& up = is_one ? joined[0] : joined[1];
        const int count = (m_.intermediate + TILE - 1) / TILE, after = is_one ? count : 0;
        const Share mine = share(count, thread, m_.threads);
        for (int t = mine.start; t < mine.stop; t++) {
            own.input.by(joined[0], t, tiles_in(own.outputs));
            own.input.by(up, t + after, tiles_in(own.others));
            for (int64_t r = 0; r < count_; r++)
                put_tile(&inner_[r * m_.intermediate], m_.intermediate, t, silu(load(&own.outputs[r * TILE])) * load(&own.others[r * TILE]));
        }
    }

    void turn(const float* from, const float* weight, const Place& place, float* to) const {
        const int width = m_.width, half = width / 2;
        const float* x = from;
        float normed[WIDEST_HEAD];
        if (weight) norm(from, weight, m_.head_least, width, normed), x = normed;
        for (int i = 0; i < half; i++) to[i] = x[i] * place.cos[i] + x[i + half] * place.sin[i];
        for (int i = half; i < width; i++) to[i] = x[i] * place.cos[i] + x[i - half] * place.sin[i];
    }

    void turn_queries(const Layer& layer, const Item& item, int group, float* queries) const {
        const Place& place = places_[item.row];
        const float scale = place.query_scale / std::sqrt(float(m_.width));
        for (int g = 0; g < group; g++) {
            const int64_t head = item.kv * group + g;
            const float* weight = layer.head_norm ? layer.head_norm + head * m_.width : nullptr;
            turn(&qkv_[int64_t(item.row) * qkv_width_ + head * m_.width], weight, place, queries + g * m_.width);
            for (int i = 0; i < m_.width; i++) queries[g * m_.width + i] *= scale;
        }
    }

    void keep_all(const Layer& layer, int number, int thread) {
        const Share mine = share(count_ * m_.kv_heads, thread, m_.threads);
        for (int i = mine.start; i < mine.stop; i++) {
            const Item item{i / m_.kv_heads, i % m_.kv_heads, 0};
            with_rows(item, number, [&](auto& rows) { keep(layer, item, rows); });
        }
    }

    void attend_all(const Layer& layer, int number, Own& own, int thread) {
        const int width = m_.width, group = m_.heads / m_.kv_heads;
        const Share mine = share(int(items_.size()), thread, m_.threads);
        for (int i = mine.start; i < mine.stop; i++) {
            const Item& item = items_[i];
            const Pieces& pieces = pieces_[item.row];
            const int end = places_[item.row].position + 1;
            const int from = item.piece * pieces.tokens, until = std::min(from + pieces.tokens, end);
            const int64_t stride = int64_t(pieces.count) * piece_size(width);
            float* out = &found_[begins_[item.row] + int64_t(item.kv) * group * stride + int64_t(item.piece) * piece_size(width)];
            turn_queries(layer, item, group, own.queries.data());
            with_rows(item, number, [&](auto& rows) {
                for (int g = 0; g < group; g++) rows.prepare(own.queries.data() + g * width);
                if (count_ == 1 && until == end) keep(layer, item, rows);
                attend(rows, from, until - from, width, own.queries.data(), group, out, stride, own.scores);
            });
        }
    }

    template <typename Use>
    void with_rows(const Item& item, int layer, Use use) {
        const Place& place = places_[item.row];
        const Cache& cache = place.caches[layer];
        switch (place.rows_kind) {
            case INT8: { PackedHead rows(cache, item.kv, m_.width); return use(rows); }
            case BF16: { PlainHead<uint16_t> rows(cache, item.kv, m_.width); return use(rows); }
            case F16: { PlainHead<Half> rows(cache, item.kv, m_.width); return use(rows); }
            default: { PlainHead<float> rows(cache, item.kv, m_.width); return use(rows); }
        }
    }

    template <typename Head>
    void keep(const Layer& layer, const Item& item, Head& rows) const {
        const int64_t head = m_.heads + item.kv;
        const float* given = &qkv_[int64_t(item.row) * qkv_width_];
        float turned[WIDEST_HEAD];
        const float* weight = layer.head_norm ? layer.head_norm + head * m_.width : nullptr;
        turn(given + head * m_.width, weight, places_[item.row], turned);
        rows.put(places_[item.row].position, turned, given + (head + m_.kv_heads) * m_.width);
    }

    void gather(int row, float* to) const {
        const int64_t stride = int64_t(pieces_[row].count) * piece_size(m_.width);
        for (int64_t head = 0; head < m_.heads; head++)
            join(&found_[begins_[row] + head * stride], pieces_[row].count, m_.width, to + head * m_.width);
    }

    const Model& m_;
    const Place* places_;
    const int count_, wanted_;
    float *x_, *logits_;
    const int qkv_width_;
    std::vector<Pieces> pieces_;
    std::vector<int64_t> begins_;
    std::vector<Item> items_;
    std::vector<float> qkv_, inner_, found_, normed_, attended_;  // the last two: of many rows
    Rounded rounded_;
};

}  // namespace qw
