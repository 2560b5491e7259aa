/* Models trained a little, saved and loaded again: whole ones, adapters, pictures; dropout and freezing on the way. */
#include "context.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "ingot/train.h"
#include "models/model.h"

#include <math.h>
#include <stdio.h>

enum { B = 2, T = 8, V = 31 };
static ingot_device *device;

static int setup(void **state)
{
    (void)state;
    if (ingot_context_new(&(ingot_context_options){.threads = 2}, &ctx)) return 1;
    return ingot_device_open(ctx, "cpu", NULL, &device);
}

static int teardown(void **state)
{
    (void)state;
    ingot_device_close(device);
    ingot_context_free(ctx);
    return 0;
}

typedef struct fixture {
    ingot_model *model;
    ingot_store *store;
    ingot_stepper *stepper;
    int32_t tokens[B * T], targets[B * T];
    double dropout;
} fixture;

static ingot_loss loss_of(void *user, ingot_build *b, ingot_value *rng)
{
    fixture *f = user;
    ingot_training t = ingot_model_training(
        f->model, b, &(ingot_training_options){.batch = B, .length = T, .rng = rng, .dropout = f->dropout});
    return (ingot_loss){.sum = t.loss, .count = t.count};
}

static void open_stepper(fixture *f)
{
    ingot_optimizer how = ingot_optimizer_defaults(1e-2, 100);
    OK(ingot_store_new(device, &f->store));
    OK(ingot_stepper_new(device, f->store, &(ingot_task){.loss = loss_of, .user = f}, &how, &f->stepper));
    for (int i = 0; i < B * T; i++) f->tokens[i] = i * 7 % V, f->targets[i] = (i * 7 + 7) % V;
}

static void close_fixture(fixture *f)
{
    ingot_stepper_free(f->stepper);
    ingot_store_free(f->store);
    ingot_model_free(f->model);
}

static double evaluate(fixture *f)
{
    ingot_feed feeds[] = {{"tokens", f->tokens, sizeof f->tokens}, {"targets", f->targets, sizeof f->targets}};
    ingot_step_result r;
    OK(ingot_stepper_evaluate(f->stepper, feeds, 2, &r));
    return r.loss;
}

static void train(fixture *f, int steps)
{
    ingot_feed feeds[] = {{"tokens", f->tokens, sizeof f->tokens}, {"targets", f->targets, sizeof f->targets}};
    ingot_step_result r;
    for (int i = 0; i < steps; i++) OK(ingot_stepper_step(f->stepper, feeds, 2, 1, &r));
}

static void round_trip(const ingot_model_options *o)
{
    fixture f = {0}, g = {0};
    OK(ingot_model_new(ctx, o, &f.model));
    open_stepper(&f);
    OK(ingot_model_init(f.model, f.store, 5));
    double before = evaluate(&f);
    assert_true(fabs(before - log(V)) < 0.3); /* fresh weights know nothing */
    train(&f, 30);
    double after = evaluate(&f);
    assert_true(after < 0.5 * before);
    OK(ingot_model_save(f.model, f.store, "model_files", NULL));
    OK(ingot_model_load(ctx, "model_files", &g.model));
    open_stepper(&g);
    OK(ingot_model_read(g.model, g.store, 0));
    assert_true(evaluate(&g) == after);
    close_fixture(&f);
    close_fixture(&g);
    OK(directory_remove(ctx, "model_files"));
}

static void test_round_trips(void **state)
{
    (void)state;
    const ingot_model_options made[] = {
        {.family = "llama", .vocab_size = V, .layers = 2, .dim = 24, .heads = 3, .kv_heads = 1, .context = T},
        {.family = "gpt2", .vocab_size = V, .layers = 2, .dim = 24, .heads = 3, .context = T},
        {.family = "gpt2",
         .vocab_size = V,
         .layers = 2,
         .dim = 24,
         .heads = 2,
         .context = T,
         .bias = INGOT_NO,
         .post_norm = INGOT_YES,
         .sinusoidal = INGOT_YES,
         .tied = INGOT_NO},
    };
    for (size_t i = 0; i < COUNT(made); i++) round_trip(&made[i]);
}

static void copy_states(fixture *f, const char *name, float *out, int64_t count)
{
    OK(ingot_store_read(f->store, name, out, count * 4));
}

/* Adapters over a saved base: they begin as nothing, learn alone, and come back from a PEFT directory. */
static void lora_round_trip(const char *family, const char *frozen, int64_t count, double dropout)
{
    fixture f = {0}, g = {0}, h = {0};
    static float before[4096], after[4096];
    assert_true(count <= 4096);
    OK(ingot_model_new(
        ctx,
        &(ingot_model_options){.family = family, .vocab_size = V, .layers = 2, .dim = 24, .heads = 3, .context = T},
        &f.model));
    open_stepper(&f);
    OK(ingot_model_init(f.model, f.store, 5));
    double base = evaluate(&f);
    OK(ingot_model_save(f.model, f.store, "model_base", NULL));

    OK(ingot_model_load(ctx, "model_base", &g.model));
    OK(ingot_model_add_lora(g.model, &(ingot_lora_options){.rank = 4, .dropout = dropout}));
    open_stepper(&g);
    OK(ingot_model_read(g.model, g.store, 9));
    assert_float_equal(evaluate(&g), base, 1e-6 * base);
    copy_states(&g, frozen, before, count);
    train(&g, 30);
    copy_states(&g, frozen, after, count);
    assert_memory_equal(before, after, (size_t)count * 4);
    double learnt = evaluate(&g);
    assert_true(learnt < 0.9 * base);
    OK(ingot_model_save(g.model, g.store, "model_adapter", NULL));

    OK(ingot_model_load(ctx, "model_adapter", &h.model));
    open_stepper(&h);
    OK(ingot_model_read(h.model, h.store, 0));
    assert_true(evaluate(&h) == learnt);
    close_fixture(&f);
    close_fixture(&g);
    close_fixture(&h);
    OK(directory_remove(ctx, "model_base"));
    OK(directory_remove(ctx, "model_adapter"));
}

static void test_lora(void **state)
{
    (void)state;
    lora_round_trip("llama", "model.layers.1.mlp.down_proj.weight", 24 * 64, 0);
    lora_round_trip("llama", "model.layers.1.mlp.down_proj.weight", 24 * 64, 0.1);
    lora_round_trip("gpt2", "transformer.h.1.mlp.c_proj.weight", 24 * 96, 0);
}

static void test_adapter_refused(void **state)
{
    (void)state;
    static const struct {
        const char *config, *words;
    } bad[] = {
        {"{\"peft_type\": \"IA3\", \"base_model_name_or_path\": \".\"}", "peft_type"},
        {"{\"r\": 0, \"target_modules\": \"all-linear\", \"base_model_name_or_path\": \".\"}", " r "},
        {"{\"use_dora\": true, \"target_modules\": \"all-linear\", \"base_model_name_or_path\": \".\"}", "use_dora"},
        {"{\"target_modules\": [\"q_proj\"], \"rank_pattern\": {\"x\": 3}, \"base_model_name_or_path\": \".\"}",
         "rank_pattern"},
        {"{\"target_modules\": [3], \"base_model_name_or_path\": \".\"}", "target_modules"},
        {"{\"target_modules\": \"all-linear\"}", "base_model_name_or_path is missing"},
        {"{\"target_modules\": \"all-linear\", \"base_model_name_or_path\": \"nobody/nothing\"}", "no such directory"},
    };
    ingot_model *m;
    OK(directory_create(ctx, "model_bad"));
    for (size_t i = 0; i < COUNT(bad); i++) {
        OK(file_write_whole(ctx, "model_bad/adapter_config.json", bad[i].config, strlen(bad[i].config)));
        assert_int_not_equal(ingot_model_load(ctx, "model_bad", &m), INGOT_OK);
        if (!strstr(ingot_message(ctx), bad[i].words))
            fail_msg("\"%s\" does not say \"%s\"", ingot_message(ctx), bad[i].words);
    }
    OK(directory_remove(ctx, "model_bad"));
}

/* ---- files as others write them ---- */

typedef struct other_file {
    const archive *archive;
    const char *cut; /* taken off the front of names */
} other_file;

/* Writes the tensors from `first` up to `last` of a golden model to `path`, renamed and with extra ones. */
static void write_part(const other_file *f, const char *path, int64_t first, int64_t last, const char *extra)
{
    safetensors_writer *w;
    const int64_t one[] = {1};
    OK(safetensors_create(ctx, path, &w));
    safetensors_metadata(w, "format", "pt");
    for (int64_t i = first; i < last; i++) {
        const archive_tensor *t = archive_at(f->archive, i);
        size_t cut = strncmp(t->name, f->cut, strlen(f->cut)) ? 0 : strlen(f->cut);
        safetensors_declare(w, t->name + cut, t->dtype, t->dims, t->shape);
    }
    if (extra) safetensors_declare(w, extra, INGOT_F32, 1, one);
    for (int64_t i = first; i < last; i++) {
        const archive_tensor *t = archive_at(f->archive, i);
        OK(safetensors_append(w, t->bytes, t->byte_count));
    }
    if (extra) OK(safetensors_append(w, &(float){1}, 4));
    OK(safetensors_commit(w));
}

static void copy_config(const char *from)
{
    text t = {0};
    char path[512];
    snprintf(path, sizeof path, TEST_FILES "/golden/families/%s/config.json", from);
    OK(file_read_whole(ctx, path, 1 << 20, &t));
    OK(file_write_whole(ctx, "model_other/config.json", t.at, t.length));
    text_free(&t);
}

static void open_golden(const char *name, archive **a)
{
    char path[512];
    snprintf(path, sizeof path, TEST_FILES "/golden/families/%s/model.safetensors", name);
    OK(archive_open(ctx, path, a));
    OK(directory_create(ctx, "model_other"));
    copy_config(name);
}

static void loads(const char *words)
{
    ingot_model *m;
    status s = ingot_model_load(ctx, "model_other", &m);
    if (!words && s) fail_msg("%s", ingot_message(ctx));
    if (words && !s) fail_msg("a file was taken that should be refused with \"%s\"", words);
    if (words && !strstr(ingot_message(ctx), words)) fail_msg("\"%s\" does not say \"%s\"", ingot_message(ctx), words);
    ingot_model_free(m);
}

/* The hub's gpt2 has no "transformer." and carries its masks; a tied head may be stored too. */
static void test_other_names(void **state)
{
    (void)state;
    archive *a;
    open_golden("gpt2", &a);
    other_file f = {.archive = a, .cut = "transformer."};
    const char *path = "model_other/model.safetensors";
    write_part(&f, path, 0, archive_count(a), "h.0.attn.bias");
    loads(NULL);
    write_part(&f, path, 0, archive_count(a), "lm_head.weight");
    loads(NULL);
    write_part(&f, path, 0, archive_count(a), "h.0.attn.c_attn.scale");
    loads("tensor h.0.attn.c_attn.scale is none of a gpt2 model");
    write_part(&f, path, 1, archive_count(a), NULL);
    loads("is missing");
    f.cut = "transformer.h.";
    write_part(&f, path, 0, archive_count(a), NULL);
    loads("transformer.h.0.");
    archive_close(a);
    OK(directory_remove(ctx, "model_other"));
}

static void test_shards(void **state)
{
    (void)state;
    archive *a;
    open_golden("llama-untied", &a);
    other_file f = {.archive = a, .cut = "none"};
    int64_t half = archive_count(a) / 2;
    write_part(&f, "model_other/model-00001-of-00002.safetensors", 0, half, NULL);
    write_part(&f, "model_other/model-00002-of-00002.safetensors", half, archive_count(a), NULL);
    json_t *map = json_object();
    for (int64_t i = 0; i < archive_count(a); i++)
        json_object_set_new(
            map, archive_at(a, i)->name,
            json_string(i < half ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors"));
    json_t *index = json_pack("{s:{s:i}, s:o}", "metadata", "total_size", 0, "weight_map", map);
    OK(json_write_file(ctx, "model_other/model.safetensors.index.json", index));
    json_decref(index);
    archive_close(a);
    loads(NULL);
    assert_int_equal(remove("model_other/model-00002-of-00002.safetensors"), 0);
    loads("model-00002-of-00002.safetensors");
    OK(directory_remove(ctx, "model_other"));
}

/* ---- pictures ---- */

enum { PICTURES = 8, SIDE = 32 };

static ingot_loss image_loss(void *user, ingot_build *b, ingot_value *rng)
{
    ingot_training t = ingot_model_training(user, b, &(ingot_training_options){.batch = PICTURES, .rng = rng});
    return (ingot_loss){.sum = t.loss, .count = t.count};
}

static void test_convnet(void **state)
{
    (void)state;
    static float pixels[PICTURES * SIDE * SIDE * 3];
    int32_t labels[PICTURES];
    for (int i = 0; i < PICTURES; i++) {
        labels[i] = i % 2; /* stripes across, or down */
        for (int at = 0; at < SIDE * SIDE * 3; at++) {
            int row = at / 3 / SIDE, column = at / 3 % SIDE;
            pixels[i * SIDE * SIDE * 3 + at] = (float)((i % 2 ? row : column) / 2 % 2);
        }
    }
    ingot_model *m;
    OK(ingot_model_new(ctx, &(ingot_model_options){.family = "convnet", .dim = 4, .layers = 2, .classes = 2}, &m));
    ingot_store *store;
    ingot_stepper *s;
    ingot_optimizer how = ingot_optimizer_defaults(3e-3, 100);
    OK(ingot_store_new(device, &store));
    OK(ingot_stepper_new(device, store, &(ingot_task){.loss = image_loss, .user = m}, &how, &s));
    OK(ingot_model_init(m, store, 3));
    ingot_feed feeds[] = {{"images", pixels, sizeof pixels}, {"targets", labels, sizeof labels}};
    ingot_step_result r;
    for (int i = 0; i < 30; i++) OK(ingot_stepper_step(s, feeds, 2, 1, &r));
    assert_true(r.loss < 0.05);
    OK(ingot_model_save(m, store, "model_pictures", NULL));
    ingot_stepper_free(s);
    ingot_store_free(store);
    ingot_model_free(m);
    OK(ingot_model_load(ctx, "model_pictures", &m));
    assert_int_equal(ingot_model_describe(m).classes, 2);
    ingot_model_free(m);
    OK(directory_remove(ctx, "model_pictures"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_lora),   cmocka_unit_test(test_adapter_refused),
        cmocka_unit_test(test_other_names), cmocka_unit_test(test_shards), cmocka_unit_test(test_convnet),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
