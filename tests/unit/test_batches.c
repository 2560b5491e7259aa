/* Batches: each token predicted once, rows and segments as promised, exact resume, prefetch in order. */
#include "context.h"
#include "base/rng.h"
#include "data/batches.h"

#include <unistd.h>

enum { EOT = 0, TOKENS = 5000, ROWS = 3, LENGTH = 32, SIZE = ROWS * LENGTH };

static ingot_data *data;    /* of two shards, through a glob */
static int32_t all[TOKENS]; /* what they hold: EOT, then 1 .. 60 ids that tell their own place */
static int32_t token_bytes[TOKENS + 1];

static void write_shard(const char *path, const int32_t *ids, int64_t count)
{
    token_bin_writer *w;
    if (token_bin_create(ctx, path, 4, &w) || token_bin_add(w, ids, count) || token_bin_commit(w)) abort();
}

static int setup(void **state)
{
    (void)state;
    if (ingot_context_new(NULL, &ctx)) return 1;
    rng dice = rng_make(9, 0);
    for (int at = 0; at < TOKENS;) {
        int end = MIN(at + 2 + (int)rng_below(&dice, 60), TOKENS);
        all[at++] = EOT;
        for (; at < end; at++) all[at] = at;
    }
    for (int i = 1; i <= TOKENS; i++) token_bytes[i] = 1 + i % 5;
    write_shard("batches_0.bin", all, 1777);
    write_shard("batches_1.bin", all + 1777, TOKENS - 1777);
    return (int)ingot_data_open(ctx, "batches_?.bin", "train", &(ingot_data_options){.eot = EOT, .has_eot = 1}, &data);
}

static int teardown(void **state)
{
    (void)state;
    ingot_data_free(data);
    unlink("batches_0.bin");
    unlink("batches_1.bin");
    ingot_context_free(ctx);
    return 0;
}

typedef struct buffers {
    ingot_batch batch;
    int32_t tokens[SIZE], targets[SIZE], segment_start[SIZE], positions[SIZE];
} buffers;

static ingot_batch *with_buffers(buffers *b)
{
    b->batch = (ingot_batch){
        .tokens = b->tokens, .targets = b->targets, .segment_start = b->segment_start, .positions = b->positions};
    return &b->batch;
}

static ingot_batches *make(ingot_row_kind kind, int shuffle)
{
    ingot_batches *b;
    assert_int_equal(ingot_batches_new(data,
                                       &(ingot_batch_options){.rows = ROWS,
                                                              .length = LENGTH,
                                                              .kind = kind,
                                                              .shuffle = shuffle,
                                                              .seed = 7,
                                                              .vocab_size = TOKENS + 1,
                                                              .token_bytes = token_bytes},
                                       &b),
                     0);
    return b;
}

/* What must hold of every batch; counts how often each place of `all` is a target, EOTs aside. */
static void check_batch(const buffers *b, ingot_row_kind kind, int *predicted)
{
    int64_t targets = 0, bytes = 0;
    for (int i = 0; i < SIZE; i++) {
        int column = i % LENGTH, row = i - column;
        assert_in_range(b->segment_start[i], 0, column);
        assert_int_equal(b->positions[i], column - b->segment_start[i]);
        if (column) assert_true(b->segment_start[i] == b->segment_start[i - 1] || b->segment_start[i] == column);
        if (b->targets[i] < 0) continue;
        targets++;
        bytes += token_bytes[b->targets[i]];
        if (b->targets[i]) predicted[b->targets[i]]++;
        if (b->targets[i] && b->tokens[i])
            assert_int_equal(b->targets[i], b->tokens[i] + 1); /* ids tell their places */
        if (kind == INGOT_ROWS_STREAM) assert_int_equal(b->segment_start[i], 0);
        bool continues = column + 1 < LENGTH && b->segment_start[i + 1] == b->segment_start[i];
        if (continues && b->targets[i + 1] >= 0) assert_int_equal(b->tokens[i + 1], b->targets[i]);
        if (kind == INGOT_ROWS_DOCUMENT) {
            int first = b->tokens[row + b->segment_start[i]]; /* EOT, or the rest of a document longer than a row */
            assert_true(first == EOT || b->tokens[i] >= LENGTH);
            assert_true(b->tokens[i] != EOT || b->positions[i] == 0);
        }
    }
    assert_int_equal(targets, b->batch.target_count);
    assert_int_equal(bytes, b->batch.text_bytes);
}

static void evaluate(ingot_row_kind kind)
{
    int *predicted = calloc(TOKENS + 1, sizeof *predicted);
    ingot_batches *batches = make(kind, 0);
    buffers b;
    int64_t targets = 0;
    for (;;) {
        assert_int_equal(ingot_batches_next(batches, with_buffers(&b)), 0);
        check_batch(&b, kind, predicted);
        if (!b.batch.target_count) break;
        targets += b.batch.target_count;
    }
    for (int i = 0; i < TOKENS; i++) assert_int_equal(predicted[i], all[i] != EOT);
    assert_int_equal(targets,
                     kind == INGOT_ROWS_STREAM ? TOKENS - 1 : TOKENS); /* documents end by EOT, also the last */
    ingot_batches_free(batches);
    free(predicted);
}

static void test_evaluation_predicts_each_token_once(void **state)
{
    (void)state;
    evaluate(INGOT_ROWS_STREAM);
    evaluate(INGOT_ROWS_DOCUMENT);
}

static void train(ingot_row_kind kind)
{
    int *predicted = calloc(TOKENS + 1, sizeof *predicted);
    ingot_batches *batches = make(kind, 1);
    buffers b, first;
    int64_t rows = 0, positions = 0, targets = 0;
    for (;;) {
        assert_int_equal(ingot_batches_next(batches, with_buffers(&b)), 0);
        if (!rows) first = b;
        check_batch(&b, kind, predicted);
        rows += ROWS, positions += SIZE, targets += b.batch.target_count;
        if (b.batch.next.epoch == 3) break;
    }
    for (int i = 1; i < TOKENS; i++)
        if (all[i] != EOT) assert_in_range(predicted[i], kind == INGOT_ROWS_STREAM ? 0 : 3, 4);
    assert_true((double)targets / (double)positions > .93); /* packing wastes little */
    /* The second epoch is not the first one again. */
    assert_int_equal(ingot_batches_seek(batches, (ingot_batch_state){.epoch = 1}), 0);
    assert_int_equal(ingot_batches_next(batches, with_buffers(&b)), 0);
    assert_memory_not_equal(b.tokens, first.tokens, sizeof b.tokens);
    ingot_batches_free(batches);
    free(predicted);
}

static void test_training(void **state)
{
    (void)state;
    train(INGOT_ROWS_STREAM);
    train(INGOT_ROWS_DOCUMENT);
}

static void test_resume_is_exact(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        ingot_batches *batches = make((ingot_row_kind)kind, 1), *again = make((ingot_row_kind)kind, 1);
        for (int i = 0; i < 200; i++) {
            buffers one, two;
            assert_int_equal(ingot_batches_next(batches, with_buffers(&one)), 0);
            assert_int_equal(ingot_batches_next(again, with_buffers(&two)), 0);
            assert_memory_equal(one.tokens, two.tokens, sizeof one.tokens);
            assert_memory_equal(one.targets, two.targets, sizeof one.targets);
            assert_memory_equal(one.segment_start, two.segment_start, sizeof one.segment_start);
            assert_memory_equal(one.positions, two.positions, sizeof one.positions);
            if (i % 3) continue;
            ingot_batches_free(again);
            again = make((ingot_row_kind)kind, 1);
            assert_int_equal(ingot_batches_seek(again, one.batch.next), 0);
        }
        assert_int_not_equal(ingot_batches_seek(again, (ingot_batch_state){.group = 1 << 20}), 0);
        assert_int_not_equal(ingot_batches_seek(again, (ingot_batch_state){.row = 1 << 20}), 0);
        ingot_batches_free(again);
        ingot_batches_free(batches);
    }
}

static void test_prefetch(void **state)
{
    (void)state;
    ingot_batches *ahead = make(INGOT_ROWS_DOCUMENT, 1), *plain = make(INGOT_ROWS_DOCUMENT, 1);
    buffers ring[3], one;
    ingot_batch *batches[3];
    for (int i = 0; i < 3; i++) batches[i] = with_buffers(&ring[i]);
    ingot_prefetch *p;
    assert_int_equal(ingot_prefetch_start(ahead, batches, 3, &p), 0);
    for (int i = 0; i < 300; i++) {
        ingot_batch *taken;
        assert_int_equal(ingot_prefetch_take(p, &taken), 0);
        assert_int_equal(ingot_batches_next(plain, with_buffers(&one)), 0);
        assert_memory_equal(taken->tokens, one.tokens, sizeof one.tokens);
        assert_memory_equal(taken->targets, one.targets, sizeof one.targets);
        assert_memory_equal(&taken->next, &one.batch.next, sizeof one.batch.next);
        ingot_prefetch_give(p, taken);
    }
    ingot_batch *taken[3], *none;
    for (int i = 0; i < 3; i++) assert_int_equal(ingot_prefetch_take(p, &taken[i]), 0);
    assert_int_not_equal(ingot_prefetch_take(p, &none), 0);
    assert_non_null(strstr(ingot_message(ctx), "give one back"));
    ingot_prefetch_stop(p);
    ingot_batches_free(ahead);
    ingot_batches_free(plain);
}

/* An evaluation through prefetch ends, and an error of the thread reaches the caller with its words. */
static void test_prefetch_ends(void **state)
{
    (void)state;
    for (int bad = 0; bad < 2; bad++) {
        ingot_batches *b;
        const ingot_batch_options options = {.rows = ROWS, .length = LENGTH, .vocab_size = bad ? 3000 : TOKENS};
        assert_int_equal(ingot_batches_new(data, &options, &b), 0);
        buffers ring[2];
        ingot_batch *batches[2] = {with_buffers(&ring[0]), with_buffers(&ring[1])}, *taken;
        ingot_prefetch *p;
        assert_int_equal(ingot_prefetch_start(b, batches, 2, &p), 0);
        int64_t targets = 0;
        while (!ingot_prefetch_take(p, &taken)) {
            targets += taken->target_count;
            ingot_prefetch_give(p, taken);
        }
        assert_non_null(strstr(ingot_message(ctx), bad ? "the vocabulary has 3000 entries" : "no more batches"));
        if (!bad) assert_int_equal(targets, TOKENS - 1);
        ingot_prefetch_stop(p);
        ingot_batches_free(b);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    ingot_batches *b;
    ingot_data *unknown;
    assert_int_equal(ingot_data_open(ctx, "batches_0.bin", "train", NULL, &unknown), 0);
    assert_int_not_equal(
        ingot_batches_new(unknown, &(ingot_batch_options){.rows = 1, .length = 4, .kind = INGOT_ROWS_DOCUMENT}, &b), 0);
    assert_non_null(strstr(ingot_message(ctx), "use --rows stream"));
    assert_int_not_equal(ingot_batches_new(unknown, &(ingot_batch_options){.rows = 0, .length = 4}, &b), 0);
    assert_int_not_equal(ingot_data_read(unknown, 1770, 8, all), 0);
    ingot_data_free(unknown);
}

static void test_permute(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1, 2, 3, 4, 5, 16, 17, 1000};
    for (size_t n = 0; n < COUNT(counts); n++) {
        char *seen = calloc(counts[n], 1);
        uint64_t moved = 0;
        for (uint64_t i = 0; i < counts[n]; i++) {
            uint64_t to = permute(3, 1, i, counts[n]);
            assert_true(to < counts[n] && !seen[to]);
            seen[to] = 1;
            moved += to != i;
        }
        if (counts[n] == 1000) assert_true(moved > 980);
        free(seen);
    }
    uint64_t large = permute(3, 1, (UINT64_C(1) << 40) - 1, UINT64_C(1) << 40);
    assert_true(large < UINT64_C(1) << 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evaluation_predicts_each_token_once),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_resume_is_exact),
        cmocka_unit_test(test_prefetch),
        cmocka_unit_test(test_prefetch_ends),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_permute),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
