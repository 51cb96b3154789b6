/* Compiled forests (layout: pipeline_lib/forest/layout.py): check a file, sum its trees for a row, explain one output.
 *
 * forest_sum applies bit vectors: every node whose test a row fails strikes out the leaves of its left subtree; the
 * first leaf that is left is the tree's. Nodes are read in order of feature and threshold, so the walk of a tree with
 * its unpredictable branches never happens. Source: Lucchese et al., "QuickScorer", SIGIR 2015.
 * Forests that bit vectors cannot hold (over 64 leaves, categories, zero as missing) are walked.
 *
 * Everything forest_check accepts is safe to use, whatever the bytes mean: all indices stay inside the file, every walk
 * ends. No libc: the object runs on any x86-64 or aarch64 Linux. Little-endian, 8-byte aligned input.
 */
#include <stdint.h>

#define LAYOUT 1
#define ZERO_RANGE 1e-35f /* LightGBM's kZeroThreshold: what is not above it is zero */
#define CATEGORICAL 1
#define DEFAULT_LEFT 2
#define MISSING_ZERO 1
#define MISSING_NAN 2

typedef struct {
    char magic[8];
    uint32_t version, mask_bits, outputs, width, trees, leaves, categories, words, objective, names;
    double parameter;
    uint64_t reserved;
} Header;

typedef struct {
    union {
        float threshold;
        uint32_t category;
    } at;
    float value;
    uint16_t feature;
    uint8_t decision, zero;
    int16_t left, right; /* >= 0: node of this tree; negative: leaf ~child */
} Node;

typedef struct {
    const Header *head;
    const double *leaf;
    const void *mask;
    const Node *node;
    const uint32_t *first_leaf; /* [trees + 1]; the nodes of tree i begin at first_leaf[i] - i */
    const float *threshold;     /* [nodes], by feature, NaN's direction, threshold */
    const uint32_t *start;      /* [2 * width + 1]: per feature the nodes where NaN goes left, then right */
    const uint32_t *category;   /* [categories + 1] into words */
    const uint32_t *word;
    const uint16_t *tree; /* [nodes], of the sorted nodes */
    uint64_t bytes;
} Forest;

static uint64_t padded(uint64_t bytes) { return (bytes + 7) & ~(uint64_t)7; }

static Forest opened(const uint8_t *data) {
    const Header *h = (const Header *)data;
    const uint64_t nodes = (uint64_t)h->leaves - h->trees, fast = h->mask_bits ? nodes : 0;
    const uint64_t starts = h->mask_bits ? 2 * (uint64_t)h->width + 1 : 0;
    Forest f = {.head = h};
    uint64_t at = sizeof(Header);
    f.leaf = (const double *)(data + at), at += 8 * (uint64_t)h->leaves;
    f.mask = data + at, at += padded(fast * (h->mask_bits / 8));
    f.node = (const Node *)(data + at), at += sizeof(Node) * nodes;
    f.first_leaf = (const uint32_t *)(data + at), at += padded(4 * ((uint64_t)h->trees + 1));
    f.threshold = (const float *)(data + at), at += padded(4 * fast);
    f.start = (const uint32_t *)(data + at), at += padded(4 * starts);
    f.category = (const uint32_t *)(data + at), at += padded(4 * ((uint64_t)h->categories + 1));
    f.word = (const uint32_t *)(data + at), at += padded(4 * (uint64_t)h->words);
    f.tree = (const uint16_t *)(data + at), at += padded(2 * fast);
    f.bytes = at + h->names;
    return f;
}

static int rising(const uint32_t *edges, uint64_t count, uint32_t last) {
    if (edges[0] != 0 || edges[count] != last) return 0;
    for (uint64_t i = 0; i < count; i++)
        if (edges[i] > edges[i + 1]) return 0;
    return 1;
}

static int child_fits(int child, int64_t at, int64_t leaves) {
    return child >= 0 ? child > at && child < leaves - 1 : ~child < leaves;
}

/* Which layout this object reads. */
int64_t forest_layout(void) { return LAYOUT; }

/* 0, or the number of the promise that is broken (layout.PROMISES). */
int64_t forest_check(const uint8_t *data, uint64_t bytes) {
    if (bytes < sizeof(Header)) return 1;
    const Header *h = (const Header *)data;
    if (h->trees == 0 || h->leaves < h->trees || h->outputs == 0 || h->trees % h->outputs) return 2;
    if (h->width == 0 || h->width > 65535 || (h->mask_bits != 0 && h->mask_bits != 32 && h->mask_bits != 64)) return 3;
    if (h->mask_bits && (h->trees > 65536 || h->categories)) return 3;
    const Forest f = opened(data);
    if (f.bytes != bytes) return 4;
    if (!rising(f.first_leaf, h->trees, h->leaves) || !rising(f.category, h->categories, h->words)) return 5;
    for (uint64_t i = 0; i < h->trees; i++) {
        const int64_t leaves = (int64_t)f.first_leaf[i + 1] - f.first_leaf[i];
        if (leaves < 1 || leaves > 32767 || (h->mask_bits && leaves > h->mask_bits)) return 5;
        const Node *nodes = f.node + (f.first_leaf[i] - i);
        for (int64_t k = 0; k < leaves - 1; k++) {
            const Node *n = nodes + k;
            if (!child_fits(n->left, k, leaves) || !child_fits(n->right, k, leaves)) return 6;
            if (n->feature >= h->width) return 7;
            if ((n->decision & CATEGORICAL) && n->at.category >= h->categories) return 8;
        }
    }
    if (!h->mask_bits) return 0;
    const uint32_t nodes = h->leaves - h->trees;
    if (!rising(f.start, 2 * (uint64_t)h->width, nodes)) return 9;
    for (uint32_t k = 0; k < nodes; k++)
        if (f.tree[k] >= h->trees) return 9;
    return 0;
}

static float as_read(float x) { return x <= ZERO_RANGE && x >= -ZERO_RANGE ? 0.0f : x; }

/* Each loop is written for 32 and for 64 leaves. Returns 0, or 10 when a tree has no leaf left. */
#define STRIKE(NAME, WORD, FIRST)                                                                                      \
    static int64_t NAME(const Forest *f, const float *row, double *out, WORD *open) {                                  \
        const WORD *mask = f->mask;                                                                                    \
        const uint32_t trees = f->head->trees, outputs = f->head->outputs;                                             \
        for (uint32_t i = 0; i < trees; i++)                                                                           \
            open[i] = (WORD)-1 >> (8 * sizeof(WORD) - (f->first_leaf[i + 1] - f->first_leaf[i]));                      \
        for (uint32_t j = 0; j < f->head->width; j++) {                                                                \
            const float x = as_read(row[j]);                                                                           \
            const uint32_t *s = f->start + 2 * j;                                                                      \
            if (x != x) {                                                                                              \
                for (uint32_t k = s[1]; k < s[2]; k++) open[f->tree[k]] &= mask[k];                                    \
            } else {                                                                                                   \
                for (uint32_t k = s[0]; k < s[1] && f->threshold[k] < x; k++) open[f->tree[k]] &= mask[k];             \
                for (uint32_t k = s[1]; k < s[2] && f->threshold[k] < x; k++) open[f->tree[k]] &= mask[k];             \
            }                                                                                                          \
        }                                                                                                              \
        for (uint32_t i = 0, o = 0; i < trees; i++, o = o + 1 == outputs ? 0 : o + 1) {                                \
            if (!open[i]) return 10;                                                                                   \
            out[o] += f->leaf[f->first_leaf[i] + (uint32_t)FIRST(open[i])];                                            \
        }                                                                                                              \
        return 0;                                                                                                      \
    }
STRIKE(strike32, uint32_t, __builtin_ctz)
STRIKE(strike64, uint64_t, __builtin_ctzll)

static int goes_left(const Forest *f, const Node *n, float value) {
    float x = as_read(value);
    const int missing = (n->decision >> 2) & 3;
    if (n->decision & CATEGORICAL) {
        if (!(x > -1.0f && x < 2147483648.0f)) return 0;
        const uint32_t code = (uint32_t)(int32_t)x;
        const uint32_t first = f->category[n->at.category], end = f->category[n->at.category + 1];
        return code / 32 < end - first && ((f->word[first + code / 32] >> (code % 32)) & 1);
    }
    if (x != x && missing != MISSING_NAN) x = 0.0f;
    if ((missing == MISSING_ZERO && x == 0.0f) || (missing == MISSING_NAN && x != x)) return n->decision & DEFAULT_LEFT;
    return x <= n->at.threshold;
}

/* Value of tree i; what each split on the path changed is added to credit, and the root's value to bias. */
static double walked(const Forest *f, uint32_t i, const float *row, double *credit, double *bias) {
    const uint32_t leaf = f->first_leaf[i];
    const Node *nodes = f->node + (leaf - i);
    if (f->first_leaf[i + 1] - leaf == 1) {
        if (bias) *bias += f->leaf[leaf];
        return f->leaf[leaf];
    }
    double value = nodes[0].value;
    if (bias) *bias += value;
    for (int child = 0; child >= 0;) {
        const Node *n = nodes + child;
        child = goes_left(f, n, row[n->feature]) ? n->left : n->right;
        const double after = child >= 0 ? nodes[child].value : f->leaf[leaf + (uint32_t)~child];
        if (credit) credit[n->feature] += after - value;
        value = after;
    }
    return value;
}

/* Raw outputs [outputs] of a row [width]; open is room for trees x mask_bits. 0, or the broken promise. */
int64_t forest_sum(const uint8_t *data, const float *row, double *out, void *open) {
    const Forest f = opened(data);
    for (uint32_t o = 0; o < f.head->outputs; o++) out[o] = 0.0;
    if (f.head->mask_bits == 32) return strike32(&f, row, out, open);
    if (f.head->mask_bits == 64) return strike64(&f, row, out, open);
    for (uint32_t i = 0; i < f.head->trees; i++) out[i % f.head->outputs] += walked(&f, i, row, 0, 0);
    return 0;
}

/* Bias and one credit per feature [width] of the raw score of one output. */
double forest_credit(const uint8_t *data, const float *row, uint32_t output, double *credit) {
    const Forest f = opened(data);
    double bias = 0.0;
    for (uint32_t j = 0; j < f.head->width; j++) credit[j] = 0.0;
    for (uint32_t i = output; i < f.head->trees; i += f.head->outputs) walked(&f, i, row, credit, &bias);
    return bias;
}
