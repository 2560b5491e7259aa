/* Families against transformers: logits, also of rows over a cache, loss, every gradient, ten losses with AdamW. tests/reference/make_families.py
 * made the files. */
#include "tests.h"
#include "formats/archive.h"
#include "ingot/ops.h"
#include "ingot/train.h"

#include <math.h>
#include <stdio.h>

static const char *const cases[] = {"gpt2",         "gpt2-untied",  "gpt2-packed",
                                    "llama-tied",   "llama-untied", "llama-bias-scaled",
                                    "llama-packed", "gpt2-adapter", "llama-adapter"};

/* PyTorch computed in f64, but llama's norms and rotations in f32 even so; `cpu` computes in f32. */
static const struct {
    const char *device, *level;
    double tolerance; /* of the largest element of a tensor */
} places[] = {{"ref", NULL, 4e-6}, {"cpu", "naive", 2e-5}, {"cpu", "best", 2e-5}};

enum { B = 2, T = 13, MOST = 67 * 24 + 2 * B * T * 67 };

typedef struct fixture {
    ingot_context *ctx;
    const char *name;
    ingot_model *model;
    archive *expected;
    ingot_device *device;
    double tolerance;
} fixture;

static const archive_tensor *expected(const fixture *f, const char *name)
{
    const archive_tensor *t = archive_find(f->expected, name);
    if (!t) fail_msg("%s: expected.safetensors has no %s", f->name, name);
    return t;
}

static void write_input(fixture *f, ingot_program *p, const char *name)
{
    int32_t data[B * T];
    OK_OF(f->ctx, archive_read(f->expected, expected(f, name), INGOT_I32, data));
    OK_OF(f->ctx, ingot_write(p, name, data, sizeof data));
}

static void compare(fixture *f, ingot_program *p, const char *name)
{
    static float got[MOST];
    static double wanted[MOST];
    const archive_tensor *t = expected(f, name);
    assert_true(t->elements <= MOST);
    OK_OF(f->ctx, archive_read(f->expected, t, INGOT_F64, wanted));
    OK_OF(f->ctx, ingot_read(p, name, got, t->elements * 4));
    double largest = 0, error = 0;
    for (int64_t i = 0; i < t->elements; i++) {
        largest = fmax(largest, fabs(wanted[i]));
        error = fmax(error, isfinite(got[i]) ? fabs(got[i] - wanted[i]) : INFINITY);
    }
    if (!(largest > 0)) fail_msg("%s: the expected %s is all zeros", f->name, name);
    if (!(error <= f->tolerance * largest))
        fail_msg("%s on %s: %s is off by %g of %g", f->name, ingot_device_name(f->device), name, error, largest);
}

static ingot_training training_graph(fixture *f, ingot_build *b, int logits)
{
    int packed = archive_find(f->expected, "segment_start") != NULL;
    return ingot_model_training(
        f->model, b, &(ingot_training_options){.batch = B, .length = T, .segments = packed, .logits = logits});
}

static const char *grad_name(fixture *f, int64_t index, char out[128])
{
    snprintf(out, 128, "grad.%s", ingot_model_parameter(f->model, index).name);
    return out;
}

/* Logits (1) or only losses (-1), and gradients of one batch. */
static void check_gradients(fixture *f, int logits)
{
    ingot_build *b = ingot_build_new(f->ctx, f->name);
    ingot_training t = training_graph(f, b, logits);
    int64_t count = ingot_model_describe(f->model).tensors, at[64];
    ingot_value *params[64], *grads[64];
    char name[128];
    assert_true(count <= 64);
    int learning = 0;
    for (int64_t i = 0; i < count; i++) {
        ingot_parameter p = ingot_model_parameter(f->model, i);
        if (p.trainable) params[learning] = ingot_state_in(b, p.name, p.dtype, p.shape, p.group), at[learning++] = i;
    }
    ingot_gradients(b, t.loss, params, learning, grads);
    assert_int_equal(t.logits != NULL, logits > 0);
    if (t.logits) ingot_output(b, "logits", t.logits);
    ingot_output(b, "loss", t.loss);
    ingot_output(b, "count", ingot_cast(b, t.count, INGOT_F32));
    for (int i = 0; i < learning; i++) ingot_output(b, grad_name(f, at[i], name), grads[i]);
    ingot_store *store;
    ingot_program *p;
    OK_OF(f->ctx, ingot_store_new(f->device, &store));
    OK_OF(f->ctx, ingot_compile(b, f->device, &(ingot_compile_options){.store = store}, &p));
    OK_OF(f->ctx, ingot_model_read(f->model, store, 0));
    write_input(f, p, "tokens");
    write_input(f, p, "targets");
    if (archive_find(f->expected, "segment_start")) {
        write_input(f, p, "segment_start");
        write_input(f, p, "positions");
    }
    OK_OF(f->ctx, ingot_run(p, NULL));
    if (logits > 0) compare(f, p, "logits");
    compare(f, p, "loss");
    compare(f, p, "count");
    for (int i = 0; i < learning; i++) compare(f, p, grad_name(f, at[i], name));
    ingot_program_free(p);
    ingot_store_free(store);
}

static ingot_loss loss_of(void *user, ingot_build *b, ingot_value *rng)
{
    (void)rng;
    ingot_training t = training_graph(user, b, 0);
    return (ingot_loss){.sum = t.loss, .count = t.count};
}

static void check_ten_losses(fixture *f)
{
    static const char *const names[] = {"tokens", "targets", "segment_start", "positions"};
    int32_t data[4][B * T];
    ingot_feed feeds[4];
    int count = archive_find(f->expected, "segment_start") ? 4 : 2;
    for (int i = 0; i < count; i++) {
        OK_OF(f->ctx, archive_read(f->expected, expected(f, names[i]), INGOT_I32, data[i]));
        feeds[i] = (ingot_feed){names[i], data[i], sizeof data[i]};
    }
    ingot_optimizer how = ingot_optimizer_defaults(1e-3, 10);
    how.clip = 0;
    how.schedule.kind = INGOT_CONSTANT;
    ingot_store *store;
    ingot_stepper *s;
    OK_OF(f->ctx, ingot_store_new(f->device, &store));
    OK_OF(f->ctx, ingot_stepper_new(f->device, store, &(ingot_task){.loss = loss_of, .user = f}, &how, &s));
    OK_OF(f->ctx, ingot_model_read(f->model, store, 0));
    double wanted[10];
    OK_OF(f->ctx, archive_read(f->expected, expected(f, "losses"), INGOT_F64, wanted));
    for (int i = 0; i < 10; i++) {
        ingot_step_result r;
        OK_OF(f->ctx, ingot_stepper_step(s, feeds, count, 1, &r));
        if (!(fabs(r.loss - wanted[i]) <= 10 * f->tolerance * wanted[i]))
            fail_msg("%s on %s: loss %d is %.9g, not %.9g", f->name, ingot_device_name(f->device), i, r.loss,
                     wanted[i]);
    }
    ingot_stepper_free(s);
    ingot_store_free(store);
}

/* ---- the same logits from rows over a cache ---- */

enum { ROWS = 16, PAGE = 4, PER_SEQUENCE = 4, PAGES = 9 };

/* Runs tokens [first[s], first[s] + count[s]) of each sequence, the rows of the two mixed, and compares their logits. */
static void run_rows(fixture *f, ingot_program *p, const int32_t *tokens, const float *wanted, const int *first,
                     const int *count)
{
    static const int32_t table[B * PER_SEQUENCE] = {7, 2, 0, 5, 1, 8, 3, 6}; /* no page lies where it would by itself */
    static float logits[ROWS * 67];
    int32_t in[4][ROWS], rows = 0;
    memset(in, -1, sizeof in);
    for (int i = 0; i < T; i++)
        for (int s = 0; s < B; s++) {
            int at = first[s] + i;
            if (i >= count[s]) continue;
            in[0][rows] = tokens[s * T + at], in[1][rows] = at, in[2][rows] = s;
            in[3][rows++] = table[s * PER_SEQUENCE + at / PAGE] * PAGE + at % PAGE;
        }
    static const char *const names[] = {"tokens", "position", "sequence", "slot"};
    for (int i = 0; i < 4; i++) OK_OF(f->ctx, ingot_write(p, names[i], in[i], sizeof in[i]));
    OK_OF(f->ctx, ingot_write(p, "block_table", table, sizeof table));
    OK_OF(f->ctx, ingot_run(p, NULL));
    OK_OF(f->ctx, ingot_read(p, "logits", logits, sizeof logits));
    for (int row = 0; row < rows; row++)
        for (int v = 0; v < 67; v++) {
            double expects = wanted[(in[2][row] * T + in[1][row]) * 67 + v];
            if (!(fabs(logits[row * 67 + v] - expects) <= f->tolerance * 10))
                fail_msg("%s on %s: row %d gives token %d %g, not %g", f->name, ingot_device_name(f->device), row, v,
                         logits[row * 67 + v], expects);
        }
}

static void check_rows(fixture *f)
{
    if (archive_find(f->expected, "segment_start")) return;
    int32_t tokens[B * T];
    static float wanted[B * T * 67];
    OK_OF(f->ctx, archive_read(f->expected, expected(f, "tokens"), INGOT_I32, tokens));
    OK_OF(f->ctx, archive_read(f->expected, expected(f, "logits"), INGOT_F32, wanted));
    ingot_build *b = ingot_build_new(f->ctx, f->name);
    ingot_rows_options o = {
        .rows = ROWS, .sequences = B, .pages_per_sequence = PER_SEQUENCE, .page_size = PAGE, .pages = PAGES};
    ingot_output(b, "logits", ingot_model_rows(f->model, b, &o));
    ingot_store *store;
    ingot_program *p;
    OK_OF(f->ctx, ingot_store_new(f->device, &store));
    OK_OF(f->ctx, ingot_compile(b, f->device, &(ingot_compile_options){.store = store}, &p));
    OK_OF(f->ctx, ingot_model_read(f->model, store, 0));
    run_rows(f, p, tokens, wanted, (int[]){0, 0}, (int[]){9, 5});
    run_rows(f, p, tokens, wanted, (int[]){9, 5}, (int[]){1, 7});
    for (int i = 0; i < 3; i++) run_rows(f, p, tokens, wanted, (int[]){10 + i, 12}, (int[]){1, !i});
    ingot_program_free(p);
    ingot_store_free(store);
}

/* Adapters merged into their base give the same logits as beside it. */
static void check_merged(fixture *f)
{
    ingot_model_info info = ingot_model_describe(f->model);
    if (info.trainable == info.parameters) return;
    ingot_model *adapted = f->model;
    OK_OF(f->ctx, ingot_model_convert(adapted, "merged", NULL));
    OK_OF(f->ctx, ingot_model_load(f->ctx, "merged", &f->model));
    info = ingot_model_describe(f->model);
    assert_true(info.trainable == info.parameters);
    check_rows(f);
    ingot_model_free(f->model);
    f->model = adapted;
    OK_OF(f->ctx, directory_remove(f->ctx, "merged"));
}

static void check_case(ingot_context *ctx, const char *name)
{
    char path[512];
    fixture f = {.ctx = ctx, .name = name};
    snprintf(path, sizeof path, TEST_FILES "/golden/families/%s", name);
    OK(ingot_model_load(ctx, path, &f.model));
    snprintf(path, sizeof path, TEST_FILES "/golden/families/%s/expected.safetensors", name);
    OK(archive_open(ctx, path, &f.expected));
    for (size_t i = 0; i < COUNT(places); i++) {
        f.tolerance = places[i].tolerance;
        OK(ingot_device_open(ctx, places[i].device, &(ingot_device_options){.level = places[i].level}, &f.device));
        check_gradients(&f, 1);
        check_gradients(&f, -1);
        check_ten_losses(&f);
        check_rows(&f);
        check_merged(&f);
        ingot_device_close(f.device);
    }
    archive_close(f.expected);
    ingot_model_free(f.model);
}

static void test_families(void **state)
{
    (void)state;
    ingot_context *ctx;
    assert_int_equal(ingot_context_new(&(ingot_context_options){.threads = 2}, &ctx), INGOT_OK);
    for (size_t i = 0; i < COUNT(cases); i++) check_case(ctx, cases[i]);
    ingot_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_families)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
