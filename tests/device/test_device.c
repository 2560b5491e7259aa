/* A device as programs, the trainer and applications rely on it: running ahead, flat memory, limits, ops with a kernel of
 * their own, faults. INGOT_TEST_DEVICE names it (cpu); `./dev test --device cuda` runs this on a GPU. With
 * INGOT_TEST_SHARED=1 others use the device too, and its own count of memory says nothing.
 */
#define _GNU_SOURCE
#include "context.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/system_memory.h"
#include "check/check.h"
#include "device/device.h"
#include "ingot/custom.h"
#include "ingot/data.h"
#include "ingot/tokenizer.h"
#include "train/step.h"

#include <math.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROWS = 64, IN = 8, HIDDEN = 32, WEIGHTS = IN * HIDDEN + HIDDEN, BATCHES = 12 };

static const char *device_name = "cpu", *self;

/* ---- an op of ours ---- */

static void snake_lower(ingot_build *b, const double *a, ingot_value *const *in, ingot_value **out)
{
    ingot_value *s = ingot_square(b, ingot_sin(b, ingot_mul_scalar(b, in[0], a[0])));
    out[0] = ingot_add(b, in[0], ingot_mul_scalar(b, s, 1 / a[0]));
}

static const char snake_cuda[] = //
    "extern \"C\" __global__ void snake(const ingot_call call)\n"
    "{\n"
    "    const float *x = (const float *)call.in[0].data, a = (float)call.numbers[0];\n"
    "    float *y = (float *)call.out[0].data;\n"
    "    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < call.out[0].count;\n"
    "         i += gridDim.x * (long long)blockDim.x) {\n"
    "        float s = sinf(a * x[i]);\n"
    "        y[i] = x[i] + s * s / a;\n"
    "    }\n"
    "}\n";

/* Writes far behind its output. */
static const char wild_cuda[] = //
    "extern \"C\" __global__ void wild(const ingot_call call)\n"
    "{\n"
    "    ((float *)call.out[0].data)[call.out[0].count + (1ll << 40)] = 1;\n"
    "}\n";

static const ingot_custom_def snake = {
    .name = "snake", .inputs = 1, .outputs = 1, .numbers = 1, .lower = snake_lower, .cuda = snake_cuda};

/* ---- a small network ---- */

typedef struct network {
    ingot_custom_op *op; /* NULL: tanh */
} network;

static ingot_loss loss_of(void *user, ingot_build *b, ingot_value *rng)
{
    const network *n = user;
    const double a = 2;
    (void)rng;
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(ROWS, IN));
    ingot_value *y = ingot_input(b, "y", INGOT_F32, INGOT_SHAPE(ROWS, 1)), *h;
    ingot_value *w1 = ingot_state_in(b, "w1", INGOT_F32, INGOT_SHAPE(IN, HIDDEN), "weight.decay");
    ingot_value *w2 = ingot_state_in(b, "w2", INGOT_F32, INGOT_SHAPE(HIDDEN, 1), "weight.decay");
    h = ingot_matmul(b, x, w1);
    if (n->op)
        ingot_custom(b, n->op, &a, &h, &h);
    else
        h = ingot_tanh(b, h);
    ingot_value *error = ingot_sub(b, ingot_matmul(b, h, w2), y);
    return (ingot_loss){.sum = ingot_sum_all(b, ingot_square(b, error)),
                        .count = ingot_constant(b, ROWS, INGOT_F32, INGOT_SCALAR)};
}

typedef struct batches {
    float x[BATCHES][ROWS * IN], y[BATCHES][ROWS];
    ingot_feed feeds[BATCHES][2];
} batches;

static void fill_batches(batches *all)
{
    rng r = rng_make(7, 0);
    for (int k = 0; k < BATCHES; k++) {
        for (int i = 0; i < ROWS; i++) {
            for (int j = 0; j < IN; j++) all->x[k][i * IN + j] = (float)rng_normal(&r);
            all->y[k][i] = sinf(all->x[k][i * IN]) - 0.5f * all->x[k][i * IN + 1];
        }
        all->feeds[k][0] = (ingot_feed){"x", all->x[k], sizeof all->x[k]};
        all->feeds[k][1] = (ingot_feed){"y", all->y[k], sizeof all->y[k]};
    }
}

static ingot_device *open_device(const ingot_device_options *options)
{
    ingot_device *d;
    OK(ingot_device_open(ctx, device_name, options, &d));
    return d;
}

static ingot_stepper *open_stepper(ingot_device *d, network *n, bool loss_scaling, int ahead)
{
    ingot_stepper *s;
    float weights[WEIGHTS];
    rng r = rng_make(3, 1);
    for (int i = 0; i < WEIGHTS; i++) weights[i] = (float)(0.3 * rng_normal(&r));
    ingot_optimizer how = ingot_optimizer_defaults(1e-2, 1000);
    OK(ingot_stepper_new(d, NULL, &(ingot_task){.loss = loss_of, .user = n, .loss_scaling = loss_scaling}, &how, &s));
    OK(ingot_store_write(ingot_stepper_store(s), "w1", weights, IN * HIDDEN * sizeof(float)));
    OK(ingot_store_write(ingot_stepper_store(s), "w2", weights + IN * HIDDEN, HIDDEN * sizeof(float)));
    OK(stepper_run_ahead(s, ahead));
    return s;
}

static void read_weights(ingot_stepper *s, float *out)
{
    OK(ingot_store_read(ingot_stepper_store(s), "w1", out, IN * HIDDEN * sizeof(float)));
    OK(ingot_store_read(ingot_stepper_store(s), "w2", out + IN * HIDDEN, HIDDEN * sizeof(float)));
}

/* Steps 0 .. count - 1, one batch each, as many under way as may be; the status of the first that fails. */
static status run_steps(ingot_stepper *s, const batches *all, int count, double *losses)
{
    ingot_step_result r;
    for (int submitted = 0, done = 0; done < count; done++) {
        while (submitted < count && s->pending_count <= s->ahead)
            TRY(stepper_submit(s, all->feeds[submitted++ % BATCHES], 2, 1));
        TRY(stepper_collect(s, &r));
        losses[done] = r.loss;
    }
    return INGOT_OK;
}

/* ---- running ahead ---- */

static void test_ahead_changes_nothing(void **state)
{
    (void)state;
    static batches all;
    enum { STEPS = 40 };
    double losses[2][STEPS];
    float weights[2][WEIGHTS];
    fill_batches(&all);
    ingot_device *d = open_device(NULL);
    for (int ahead = 1; ahead <= STEPPER_MOST_AHEAD; ahead += 3) {
        for (int i = 0; i < 2; i++) {
            ingot_stepper *s = open_stepper(d, &(network){0}, false, i ? ahead : 0);
            OK(run_steps(s, &all, STEPS, losses[i]));
            read_weights(s, weights[i]);
            ingot_stepper_free(s);
        }
        assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
        assert_memory_equal(weights[0], weights[1], sizeof weights[0]);
        assert_true(losses[0][STEPS - 1] < losses[0][0]);
    }
    ingot_device_close(d);
}

/* What was submitted behind a step that is not finite changes nothing, and the stepper goes on from there. */
static void test_bad_step_halts(void **state)
{
    (void)state;
    static batches all;
    enum { BAD = 5 };
    double losses[BATCHES];
    float good[WEIGHTS], after[WEIGHTS];
    ingot_step_result r;
    fill_batches(&all);
    ingot_device *d = open_device(NULL);
    ingot_stepper *s = open_stepper(d, &(network){0}, false, 0);
    OK(run_steps(s, &all, BAD, losses));
    read_weights(s, good);
    ingot_stepper_free(s);
    all.x[BAD][3] = NAN;
    s = open_stepper(d, &(network){0}, false, 4);
    assert_int_equal(run_steps(s, &all, BATCHES, losses), INGOT_ERROR_NOT_FINITE);
    if (!strstr(ingot_message(ctx), "step 6 gave") || !strstr(ingot_message(ctx), "no weight was changed"))
        fail_msg("the message: %s", ingot_message(ctx));
    read_weights(s, after);
    assert_memory_equal(good, after, sizeof good);
    OK(ingot_stepper_step(s, all.feeds[0], 2, 1, &r));
    assert_int_equal(r.step, BAD + 1);
    ingot_stepper_free(s);
    ingot_device_close(d);
}

/* A step whose scaled gradients overflow is repeated before those that were submitted behind it. */
static void test_overflow_repeats(void **state)
{
    (void)state;
    static batches all;
    double losses[2][BATCHES];
    float weights[2][WEIGHTS], scale[2][2];
    fill_batches(&all);
    all.y[4][0] = 1e17f;
    ingot_device *d = open_device(NULL);
    for (int i = 0; i < 2; i++) {
        ingot_stepper *s = open_stepper(d, &(network){0}, true, i ? 3 : 0);
        OK(run_steps(s, &all, BATCHES, losses[i]));
        read_weights(s, weights[i]);
        OK(ingot_store_read(ingot_stepper_store(s), LOSS_SCALE_STATE, scale[i], sizeof scale[i]));
        ingot_stepper_free(s);
    }
    assert_true(scale[0][0] < LOSS_SCALE_FIRST);
    assert_memory_equal(scale[0], scale[1], sizeof scale[0]);
    assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
    assert_memory_equal(weights[0], weights[1], sizeof weights[0]);
    ingot_device_close(d);
}

/* Inputs by staging: all of them, some of them, the same again; results of a kilobyte and of megabytes. */
static void test_staged_program(void **state)
{
    (void)state;
    ingot_device *d = open_device(NULL);
    for (int64_t n = 64; n <= 1 << 20; n <<= 14) {
        ingot_build *b = ingot_build_new(ctx, "staged");
        ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(n)),
                    *k = ingot_input(b, "k", INGOT_F32, INGOT_SHAPE(1));
        ingot_output(b, "y", ingot_mul(b, x, ingot_expand(b, k, INGOT_SHAPE(n))));
        ingot_program *p;
        OK(ingot_compile(b, d, NULL, &p));
        OK(program_stage(p, 3));
        float *values = malloc((size_t)n * sizeof *values);
        float factor = 1;
        for (int run = 0; run < 12; run++) {
            bool both = run < 6, again = run == 9;
            for (int64_t i = 0; i < n && (both || run % 2); i++) values[i] = (float)(i % 100 + run);
            if (both || run % 2 == 0) factor = (float)(run + 1);
            if ((both || run % 2) && !again) OK(ingot_write(p, "x", values, n * (int64_t)sizeof *values));
            if (both || run % 2 == 0) OK(ingot_write(p, "k", &factor, sizeof factor));
            if (again) OK(ingot_write(p, "x", values, n * (int64_t)sizeof *values));
            const void *host;
            OK(program_run_staged(p, &host));
            const float *y = host;
            for (int64_t i = 0; i < n; i++)
                if (y[i] != values[i] * factor)
                    fail_msg("run %d: element %lld of %lld is %g, not %g", run, (long long)i, (long long)n,
                             (double)y[i], (double)(values[i] * factor));
        }
        free(values);
        ingot_program_free(p);
    }
    ingot_device_close(d);
}

/* A step of one batch is one submission, and none waits for the one before it. */
static void test_submissions(void **state)
{
    (void)state;
    static batches all;
    double losses[110];
    fill_batches(&all);
    ingot_device *d = open_device(NULL);
    ingot_stepper *s = open_stepper(d, &(network){0}, false, 2);
    OK(run_steps(s, &all, 10, losses));
    int64_t submissions = d->counts.submissions, waits = d->counts.waits, allocations = d->counts.allocations;
    OK(run_steps(s, &all, 100, losses));
    printf("100 steps: %lld submissions, %lld waits\n", (long long)(d->counts.submissions - submissions),
           (long long)(d->counts.waits - waits));
    assert_int_equal(d->counts.allocations, allocations);
    if (d->def->staging) {
        assert_int_equal(d->counts.submissions - submissions, 100);
        assert_true(d->counts.waits - waits <= 100);
    }
    ingot_stepper_free(s);
    ingot_device_close(d);
}

/* ---- memory ---- */

static void test_flat_over_steps(void **state)
{
    (void)state;
    static batches all;
    static double losses[1000];
    fill_batches(&all);
    ingot_device *d = open_device(NULL);
    ingot_stepper *s = open_stepper(d, &(network){0}, false, 2);
    OK(run_steps(s, &all, 10, losses));
    int64_t taken = d->taken_bytes;
    uint64_t before = device_memory_in_use(d);
    OK(run_steps(s, &all, 1000, losses));
    uint64_t after = device_memory_in_use(d);
    assert_int_equal(d->taken_bytes, taken);
    printf("1000 steps: memory in use %+lld bytes\n", (long long)after - (long long)before);
    if (d->def->memory_in_use && !getenv("INGOT_TEST_SHARED")) assert_int_equal(after, before);
    ingot_stepper_free(s);
    assert_int_equal(d->taken_bytes, 0);
    ingot_device_close(d);
}

static void test_flat_over_cycles(void **state)
{
    (void)state;
    static batches all;
    double losses[3];
    uint64_t early = 0, late = 0, resident = 0;
    fill_batches(&all);
    for (int cycle = 0; cycle < 100; cycle++) {
        ingot_device *d = open_device(NULL);
        ingot_stepper *s = open_stepper(d, &(network){0}, false, 2);
        OK(run_steps(s, &all, 3, losses));
        ingot_stepper_free(s);
        if (cycle == 9) early = device_memory_in_use(d), resident = memory_resident();
        if (cycle == 99) late = device_memory_in_use(d);
        ingot_device_close(d);
    }
    printf("from the 10th cycle to the 100th: memory in use %+lld bytes, resident %+lld\n",
           (long long)late - (long long)early, (long long)memory_resident() - (long long)resident);
    bool own = strcmp(device_name, "cpu") != 0;
    if (own && !getenv("INGOT_TEST_SHARED")) assert_int_equal(late, early);
}

static void test_limits(void **state)
{
    (void)state;
    static batches all;
    double losses[3];
    ingot_stepper *s;
    allocation a;
    ingot_optimizer how = ingot_optimizer_defaults(1e-2, 10);
    fill_batches(&all);
    ingot_device *d = open_device(&(ingot_device_options){.most_bytes = 1000});
    network n = {0};
    assert_int_equal(ingot_stepper_new(d, NULL, &(ingot_task){.loss = loss_of, .user = &n}, &how, &s),
                     INGOT_ERROR_MEMORY);
    assert_non_null(strstr(ingot_message(ctx), "--most-memory"));
    assert_int_equal(d->taken_bytes, 0);
    ingot_device_close(d);

    d = open_device(NULL);
    assert_int_equal(device_alloc(d, INT64_C(1) << 50, &a), INGOT_ERROR_MEMORY);
    printf("a buffer of 1 PB: %s\n", ingot_message(ctx));
    assert_int_equal(a.bytes, 0);
    assert_int_equal(d->taken_bytes, 0);
    s = open_stepper(d, &n, false, 2); /* and the device goes on */
    OK(run_steps(s, &all, 3, losses));
    ingot_stepper_free(s);
    ingot_device_close(d);
}

/* ---- ops of applications ---- */

static void build_snake(check_graph *g, const void *user)
{
    const double a = 1.7;
    ingot_value *x = check_input(g, "x", INGOT_F32, INGOT_SHAPE(33, 257), (check_fill){0}), *y;
    ingot_custom(check_builder(g), user, &a, &x, &y);
    check_output(g, "y", y);
}

static void test_own_kernel(void **state)
{
    (void)state;
    ingot_custom_op *op;
    check_report report = {0};
    OK(ingot_custom_op_new(ctx, &snake, &op));
    const check_subject subject = {
        .name = "snake", .build = build_snake, .user = op, .differentiable = true, .any_layout = true};
    OK(check_subject_run(ctx, &(check_options){.device = device_name, .seed = 1}, &subject, &report));
    if (report.failures) fail_msg("%s", report.rows.at[0].failure);
    check_report_free(&report);

    static batches all;
    double losses[40];
    fill_batches(&all);
    ingot_device *d = open_device(NULL);
    ingot_stepper *s = open_stepper(d, &(network){op}, false, 2);
    bool found = false;
    for (int64_t i = 0; i < s->first->main.count; i++)
        found |= !strcmp(s->first->main.steps[i].kernel->name, "custom.cuda");
    assert_int_equal(found, !strcmp(device_name, "cuda"));
    OK(run_steps(s, &all, 40, losses));
    assert_true(losses[39] < losses[0]);
    ingot_stepper_free(s);
    ingot_device_close(d);
    ingot_custom_op_free(op);
}

static void expect_refusal(const char *source, const char *words)
{
    ingot_custom_def def = snake;
    ingot_custom_op *op;
    ingot_stepper *s;
    ingot_optimizer how = ingot_optimizer_defaults(1e-2, 10);
    def.cuda = source;
    OK(ingot_custom_op_new(ctx, &def, &op));
    ingot_device *d = open_device(NULL);
    network n = {op};
    status failed = ingot_stepper_new(d, NULL, &(ingot_task){.loss = loss_of, .user = &n}, &how, &s);
    if (d->custom) {
        assert_int_equal(failed, INGOT_ERROR_ARGUMENT);
        printf("%s\n", ingot_message(ctx));
        if (!strstr(ingot_message(ctx), words)) fail_msg("'%s' lacks '%s'", ingot_message(ctx), words);
    } else {
        assert_int_equal(failed, INGOT_OK); /* the text is for another device */
        ingot_stepper_free(s);
    }
    ingot_device_close(d);
    ingot_custom_op_free(op);
}

static void test_source_is_refused(void **state)
{
    (void)state;
    expect_refusal("extern \"C\" __global__ void snake(const ingot_call call)\n{\n    nonsense;\n}\n", "snake.cu(3)");
    expect_refusal("extern \"C\" __global__ void other(const ingot_call call) {}\n", "must define");
    ingot_custom_def def = snake;
    ingot_custom_op *op;
    def.name = "two words";
    assert_int_equal(ingot_custom_op_new(ctx, &def, &op), INGOT_ERROR_ARGUMENT);
}

/* ---- faults ---- */

/* In a process of its own: after a fault nothing can be done with a GPU any more. 0: it failed with these words. */
static int fault(bool step_by_step)
{
    static batches all;
    double losses[20];
    ingot_custom_def def = snake;
    ingot_custom_op *op;
    ingot_device *d;
    def.name = "wild";
    def.cuda = wild_cuda;
    fill_batches(&all);
    if (ingot_device_open(ctx, device_name, &(ingot_device_options){.step_by_step = step_by_step}, &d)) return 2;
    if (ingot_custom_op_new(ctx, &def, &op)) return 3;
    network n = {op};
    ingot_stepper *s = open_stepper(d, &n, false, 2);
    status failed = run_steps(s, &all, 20, losses);
    printf("%s\n", ingot_message(ctx));
    bool named = strstr(ingot_message(ctx), "custom op wild") != NULL;
    if (step_by_step) named &= strstr(ingot_message(ctx), "kernel custom.cuda of op wild") != NULL;
    status again = ingot_stepper_step(s, all.feeds[0], 2, 1, NULL);
    bool sticks = strstr(ingot_message(ctx), "custom op wild") != NULL;
    ingot_stepper_free(s);
    ingot_custom_op_free(op);
    ingot_device_close(d);
    return !(failed == INGOT_ERROR_DEVICE && again == INGOT_ERROR_DEVICE && named && sticks);
}

static void test_faults(void **state)
{
    (void)state;
    if (strcmp(device_name, "cuda")) skip();
    for (int by_step = 0; by_step < 2; by_step++) {
        fflush(NULL);
        pid_t child = fork();
        if (!child) execl(self, self, by_step ? "fault-by-step" : "fault", (char *)NULL);
        int ended = 0;
        assert_int_equal(waitpid(child, &ended, 0), child);
        assert_true(WIFEXITED(ended));
        assert_int_equal(WEXITSTATUS(ended), 0);
    }
}

/* ---- a run whose device is lost ---- */

extern const device_def device_cpu;
static bool is_lost;

static status run_until_lost(device *d, const work *w, void *compiled)
{
    return is_lost ? ingot_fail(d->ctx, INGOT_ERROR_DEVICE, "the device fell off the bus")
                   : device_cpu.run(d, w, compiled);
}

static ingot_status lose_at_25(void *user, const ingot_train_event *e)
{
    (void)user;
    is_lost = e->kind == INGOT_TRAIN_STEP && e->result.step == 25;
    return INGOT_OK;
}

static void make_data(const char *folder, char *data, size_t room, int *vocab_size)
{
    char text[256], tokens[256];
    const char *file = text;
    ingot_tokenizer *t;
    snprintf(text, sizeof text, "%s/text.txt", folder);
    snprintf(tokens, sizeof tokens, "%s/tok.json", folder);
    snprintf(data, room, "%s/data", folder);
    OK(ingot_stories_make(ctx, text, 1, 60000));
    OK(ingot_tokenizer_train_corpus(ctx, &(ingot_tokenizer_training){.vocab_size = 300},
                                    &(ingot_corpus_options){.inputs = &file, .input_count = 1}, &t));
    OK(ingot_tokenizer_save(t, tokens));
    *vocab_size = ingot_tokenizer_vocab_size(t);
    ingot_tokenizer_free(t);
    OK(ingot_data_prepare(
        ctx, &(ingot_prepare_options){.inputs = &file, .input_count = 1, .tokenizer = tokens, .output = data}, NULL));
}

/* Trains to the end, or to what ends it. */
static status train(const char *from, const ingot_model_options *shape, const device_def *def,
                    const ingot_train_options *how)
{
    ingot_model *m;
    ingot_trainer *t;
    ingot_device *d;
    OK(from ? ingot_model_load(ctx, from, &m) : ingot_model_new(ctx, shape, &m));
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    d->def = def;
    OK(ingot_trainer_new(d, m, how, &t));
    status s = ingot_trainer_run(t);
    if (s) { /* nothing of it may be saved: steps that were under way may have changed the weights */
        char why[900];
        snprintf(why, sizeof why, "%s", ingot_message(ctx));
        assert_int_equal(ingot_trainer_save(t), INGOT_ERROR_ARGUMENT);
        assert_int_equal(ingot_trainer_run(t), INGOT_ERROR_ARGUMENT);
        ingot_fail(ctx, s, "%s", why);
    }
    ingot_trainer_free(t);
    ingot_model_free(m);
    ingot_device_close(d);
    return s;
}

static uint64_t sum_of(const char *folder, const char *file)
{
    char path[400];
    text all = {0};
    snprintf(path, sizeof path, "%s/last/%s", folder, file);
    OK(file_read_whole(ctx, path, 1 << 24, &all));
    uint64_t sum = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < all.length; i++) sum = (sum ^ (unsigned char)all.at[i]) * 1099511628211u;
    text_free(&all);
    return sum;
}

/* What was saved stays whole, the message says where, and a device that is there goes on with it. On the CPU. */
static void test_lost_device(void **state)
{
    (void)state;
    char folder[] = "/tmp/ingot-lost-XXXXXX", data[256], lost[256], whole[256];
    assert_non_null(mkdtemp(folder));
    snprintf(lost, sizeof lost, "%s/lost", folder);
    snprintf(whole, sizeof whole, "%s/whole", folder);
    ingot_model_options shape = {.family = "llama", .layers = 1, .heads = 2, .kv_heads = 1, .dim = 16, .context = 16};
    int vocab_size;
    make_data(folder, data, sizeof data, &vocab_size);
    shape.vocab_size = vocab_size;
    device_def failing = device_cpu;
    failing.run = run_until_lost;
    ingot_train_options how = ingot_train_defaults();
    how.data = data, how.output = lost, how.steps = 40, how.save_every = 10, how.ahead = 2, how.seed = 1;
    how.optimizer = ingot_optimizer_defaults(1e-2, how.steps);
    how.event = lose_at_25;
    assert_int_equal(train(NULL, &shape, &failing, &how), INGOT_ERROR_DEVICE);
    if (!strstr(ingot_message(ctx), "the device fell off the bus. The last good checkpoint is ") ||
        !strstr(ingot_message(ctx), "/lost/last, of step 20"))
        fail_msg("the message: %s", ingot_message(ctx));
    how.event = NULL, how.resume = 1;
    OK(train(lost, NULL, &device_cpu, &how));
    how.resume = 0, how.output = whole;
    OK(train(NULL, &shape, &device_cpu, &how));
    assert_int_equal(sum_of(lost, "model.safetensors"), sum_of(whole, "model.safetensors"));
    assert_int_equal(sum_of(lost, "optimizer.safetensors"), sum_of(whole, "optimizer.safetensors"));
    OK(directory_remove(ctx, folder));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ahead_changes_nothing),
                                       cmocka_unit_test(test_bad_step_halts),
                                       cmocka_unit_test(test_overflow_repeats),
                                       cmocka_unit_test(test_staged_program),
                                       cmocka_unit_test(test_submissions),
                                       cmocka_unit_test(test_own_kernel),
                                       cmocka_unit_test(test_source_is_refused),
                                       cmocka_unit_test(test_flat_over_steps),
                                       cmocka_unit_test(test_flat_over_cycles),
                                       cmocka_unit_test(test_limits),
                                       cmocka_unit_test(test_faults),
                                       cmocka_unit_test(test_lost_device)};
    self = "/proc/self/exe";
    if (getenv("INGOT_TEST_DEVICE")) device_name = getenv("INGOT_TEST_DEVICE");
    if (argc > 1) return context_open(NULL) ? 4 : fault(!strcmp(argv[1], "fault-by-step"));
    ingot_device *d;
    if (context_open(NULL)) return 4;
    if (ingot_device_open(ctx, device_name, NULL, &d)) {
        printf("FAILED: %s\n", ingot_message(ctx)); /* who names a device has seen that it is there */
        return 1;
    }
    ingot_device_close(d);
    context_close(NULL);
    if (getenv("INGOT_TEST_FILTER")) cmocka_set_test_filter(getenv("INGOT_TEST_FILTER")); /* "test_flat*" */
    return cmocka_run_group_tests(tests, context_open, context_close);
}
