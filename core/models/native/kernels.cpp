// What Python calls, by ctypes: see structures.py for the types and library.py for how this is built.
#include "step.hpp"

using namespace qw;

extern "C" {

// The size of each structure, so that a layout that parted from structures.py is found before it is used.
int32_t qw_size(int32_t which) {
    const size_t sizes[] = {sizeof(Piece), sizeof(Linear), sizeof(Layer), sizeof(Model), sizeof(Cache), sizeof(Place)};
    return int32_t(sizes[which]);
}

int32_t qw_has_f16() { return HAS_F16; }

// out (count, outputs) = x (count, inputs) by the weights, which are of 4 or 8 bits.
void qw_product(const Linear* by, const float* x, int32_t count, float* out, int32_t threads) {
    by->kind == INT8 ? product<INT8>(*by, x, count, out, threads) : product<INT4>(*by, x, count, out, threads);
}

// One token of each of `count` places: x (count, hidden) are their embeddings and are used up, their keys and values are
// written, logits (wanted, vocabulary) are those of the last. Places of one sequence see the rows of those before.
void qw_step(const Model* model, const Place* places, int32_t count, float* x, float* logits, int32_t wanted) {
    Step(*model, places, count, x, logits, wanted).run();
}

}  // extern "C"
