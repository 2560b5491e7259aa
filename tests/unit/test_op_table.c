/* The house's rule for ops, read off the table: each says what it means, can be tested, and either has a gradient or says
 * that it has none. */
#include "tests.h"
#include "graph/op.h"

#include <stdio.h>

static bool differentiable_input(const op_def *op)
{
    for (int i = 0; i < op_input_count(op); i++)
        if (op->inputs[i].takes != INTEGER && !op->inputs[i].not_differentiable) return true;
    return false;
}

static int complain(const op_def *op, const char *what)
{
    fprintf(stderr, "op %s: %s\n", op->name, what);
    return 1;
}

static bool takes_floats(const op_def *op)
{
    for (int i = 0; i < op_input_count(op); i++)
        if (op->inputs[i].takes != INTEGER) return true;
    return false;
}

/* Whether a float input is filled with something else than N(0, 1). */
static bool other_values(const op_def *op, const op_sample *s)
{
    bool other = s->values != VALUES_NORMAL;
    for (int i = 0; i < op_input_count(op); i++) other |= s->values_of[i] != VALUES_NORMAL;
    return other;
}

/* A dim of an input that is more than most vectors are long, and no multiple of them. */
static bool ragged(const op_def *op, const op_sample *s)
{
    for (int i = 0; i < op_input_count(op); i++)
        for (int d = 0; d < s->in[i].rank; d++)
            if (s->in[i].dim[d] > 30 && s->in[i].dim[d] % 32) return true;
    return false;
}

/* `ingot check` is as good as the samples: sizes and values, not one of each. */
static void test_samples(void **state)
{
    (void)state;
    int wrong = 0;
    for (const op_def *const *at = op_table; *at; at++) {
        const op_def *op = *at;
        bool has_other = false, has_ragged = false;
        if (op->traits & (OP_SOURCE | OP_UPDATE)) continue;
        for (size_t i = 0; i < op->sample_count; i++) {
            has_other |= other_values(op, &op->samples[i]);
            has_ragged |= ragged(op, &op->samples[i]);
        }
        if (op->sample_count < 2) wrong += complain(op, "has fewer than two samples");
        if (!op_input_count(op) || (op->traits & OP_RANDOM)) continue; /* sizes are attributes there */
        if (!has_ragged) wrong += complain(op, "has no sample of a ragged size above 30");
        if (takes_floats(op) && !has_other) wrong += complain(op, "has no sample of other values than N(0, 1)");
    }
    assert_int_equal(wrong, 0);
}

static void test_every_op(void **state)
{
    (void)state;
    int wrong = 0;
    assert_non_null(op_table[0]);
    for (const op_def *const *at = op_table; *at; at++) {
        const op_def *op = *at;
        assert_ptr_equal(op_find(op->name), op); /* also: names are unique */
        if (!op->doc || strlen(op->doc) < 5) wrong += complain(op, "has no doc");
        if (op->traits & OP_SOURCE) continue;
        if (!op->sample_count && !(op->traits & OP_UPDATE)) wrong += complain(op, "has no samples");
        bool primitive = op->traits & OP_PRIMITIVE;
        if (primitive == (op->lower || op->formula) && !(op->traits & (OP_VIEW | OP_EFFECT)))
            wrong += complain(op, "is a primitive and has a lower, or neither");
        bool gradient = op->grad || op->lower || op->formula || (op->traits & OP_NOT_DIFFERENTIABLE);
        if (!gradient && differentiable_input(op))
            wrong += complain(op, "has neither a gradient nor OP_NOT_DIFFERENTIABLE");
        if (op->grad && (op->traits & OP_NOT_DIFFERENTIABLE))
            wrong += complain(op, "has a gradient and OP_NOT_DIFFERENTIABLE");
    }
    assert_int_equal(wrong, 0);
    assert_null(op_find("no such op"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_op), cmocka_unit_test(test_samples)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
