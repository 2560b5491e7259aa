/* The option tables: kinds, sources and their order, messages, and run.yaml there and back. */
#define _GNU_SOURCE
#include "tests.h"
#include "base/file.h"
#include "cli/options.h"

#include <stdio.h>
#include <unistd.h>

typedef struct shape {
    int64_t layers;
} shape;

typedef struct values {
    int64_t steps, bytes, seed;
    double lr;
    bool tied, clean;
    int family;
    const char *output, *prompt;
    string_list files, field;
    shape shape;
} values;

static const char *const families[] = {"gpt2", "llama", NULL};
static const option shape_table[] = {
    {"layers", INT_AT(shape, layers), "N", "blocks", .initial = "4", .range = BETWEEN(1, 512)},
};
static const option table[] = {
    {"steps", INT_AT(values, steps), "N", "steps", .short_name = "s", .initial = "200", .range = AT_LEAST(1)},
    {"bytes", SIZE_AT(values, bytes), NULL, "size"},
    {"seed", INT_AT(values, seed), "N", "seed", .initial_help = "drawn"},
    {"lr", DOUBLE_AT(values, lr), "X", "rate", .initial = "1e-3", .range = MORE_THAN(0)},
    {"tied", BOOL_AT(values, tied), NULL, "tied", .initial = "true"},
    {"clean", BOOL_AT(values, clean), NULL, "clean", .transient = true},
    {"family", CHOICE_AT(values, family), NULL, "family", .initial = "llama", .choices = families},
    {"output", STRING_AT(values, output), "DIR", "output", .short_name = "ngl", .required = true},
    {"prompt", STRING_AT(values, prompt), "TEXT", "prompt"},
    {"field", LIST_AT(values, field), "NAME", "fields"},
    {"files", LIST_AT(values, files), "FILE", "files", .positional = true},
};

typedef struct fixture {
    option_set set;
    values v;
} fixture;

static status parse(fixture *f, const char *line)
{
    static char words[40][128];
    char *argv[40];
    int argc = 0;
    for (const char *at = line; *at; at += *at == ' ') {
        size_t length = strcspn(at, " ");
        snprintf(words[argc], sizeof words[0], "%.*s", (int)length, at);
        argv[argc] = words[argc];
        argc++;
        at += length;
    }
    bool help;
    return options_command_line(&f->set, argc, argv, &help);
}

static void start(fixture *f)
{
    memset(f, 0, sizeof *f);
    f->set.command = "ingot test";
    assert_int_equal(ingot_context_new(NULL, &f->set.ctx), 0);
    f->set.arena = arena_new();
    const option_table main_table = {NULL, OPTIONS(table), 0},
                       shapes = {"Shape", OPTIONS(shape_table), offsetof(values, shape)};
    assert_int_equal(options_add(&f->set, &main_table, &f->v), 0);
    assert_int_equal(options_add(&f->set, &shapes, &f->v), 0);
}

static void stop(fixture *f)
{
    ARRAY_FREE(&f->set.slots);
    arena_free(f->set.arena);
    ingot_context_free(f->set.ctx);
}

static void accepted(const char *line, void (*check)(const values *v))
{
    fixture f;
    start(&f);
    if (parse(&f, line)) fail_msg("%s: %s", line, ingot_message(f.set.ctx));
    check(&f.v);
    stop(&f);
}

static void refused(const char *line, const char *message)
{
    fixture f;
    start(&f);
    status s = parse(&f, line);
    if (!s) s = options_check(&f.set);
    assert_int_equal(s, INGOT_ERROR_ARGUMENT);
    assert_string_equal(ingot_message(f.set.ctx), message);
    stop(&f);
}

static void check_defaults(const values *v)
{
    assert_int_equal(v->steps, 200);
    assert_true(v->lr == 1e-3 && v->tied && v->family == 1 && v->shape.layers == 4);
    assert_null(v->output);
}

static void check_given(const values *v)
{
    assert_int_equal(v->steps, 7);
    assert_int_equal(v->bytes, 64 * 1024);
    assert_true(v->lr == 0.25 && !v->tied && v->clean && v->family == 0 && v->shape.layers == 12);
    assert_string_equal(v->output, "run");
    assert_int_equal(v->files.count, 3);
    assert_string_equal(v->files.at[1], "-");
    assert_string_equal(v->files.at[2], "--b");
    assert_int_equal(v->field.count, 2);
    assert_string_equal(v->field.at[1], "b=c");
}

static void check_size(const values *v)
{
    assert_int_equal(v->bytes, 1500000);
}

static void test_values(void **state)
{
    (void)state;
    accepted("", check_defaults);
    accepted("-s 7 --bytes 64Ki --lr=.25 --no-tied --clean --family gpt2 -ngl run --field a --field=b=c --layers 12 "
             "a.txt - -- --b",
             check_given);
    accepted("--bytes 1.5MB", check_size);
}

static void test_messages(void **state)
{
    (void)state;
    refused("", "ingot test needs --output DIR: output");
    refused("--stepss 3", "ingot test has no flag --stepss; did you mean --steps?");
    refused("--steps", "--steps needs a value");
    refused("--steps 3x", "--steps: '3x' is not a whole number");
    refused("--steps 99999999999999999999", "--steps: '99999999999999999999' is not a number of 64 bits");
    refused("--steps 0", "--steps: 0 is too small; it must be at least 1");
    refused("--lr 0", "--lr: 0 is too small; it must be more than 0");
    refused("--lr nan", "--lr: nan is not a number");
    refused("--layers 1000", "--layers: 1000 is too large; it must be at most 512");
    refused("--family lama", "--family: 'lama' is not one of gpt2, llama; did you mean llama?");
    refused("--bytes -3", "--bytes: '-3' is not a size; write 512, 10k, 1.5M, 2G or 64Ki");
    refused("--bytes 9999999T", "--bytes: '9999999T' is not a size of 64 bits");
    refused("--tied=maybe", "--tied: 'maybe' is not true or false");
    refused("--no-steps", "ingot test has no flag --no-steps; did you mean --steps?");
}

static char *write_file(fixture *f, const char *content)
{
    char *path = arena_printf(f->set.arena, "options-%d.yaml", (int)getpid());
    assert_int_equal(file_write_whole(f->set.ctx, path, content, strlen(content)), 0);
    return path;
}

static void test_order_of_sources(void **state)
{
    (void)state;
    fixture f;
    start(&f);
    setenv("INGOT_LR", "0.5", 1);
    setenv("INGOT_STEPS", "5", 1);
    assert_int_equal(parse(&f, "--steps 9"), 0);
    assert_int_equal(options_environment(&f.set), 0);
    char *path = write_file(&f, "steps: 1\nlr: 0.1\nseed: 3\noutput: 'a b'\nfiles: [x, \"y: z\"]\nprompt: ~\n");
    if (options_config(&f.set, path)) fail_msg("%s", ingot_message(f.set.ctx));
    unlink(path);
    unsetenv("INGOT_LR");
    unsetenv("INGOT_STEPS");
    assert_int_equal(f.v.steps, 9);
    assert_true(f.v.lr == 0.5);
    assert_int_equal(f.v.seed, 3);
    assert_string_equal(f.v.output, "a b");
    assert_null(f.v.prompt);
    assert_int_equal(f.v.files.count, 2);
    assert_string_equal(f.v.files.at[1], "y: z");
    stop(&f);
}

static void config_refused(const char *yaml, const char *message)
{
    fixture f;
    start(&f);
    char *path = write_file(&f, yaml);
    assert_int_not_equal(options_config(&f.set, path), 0);
    unlink(path);
    const char *got = ingot_message(f.set.ctx);
    if (!strstr(got, message)) fail_msg("'%s' gave '%s', not '%s'", yaml, got, message);
    stop(&f);
}

static void test_bad_config(void **state)
{
    (void)state;
    config_refused("steps: 1\nlayer: 3\n", "line 2: ingot test has no option 'layer'; did you mean layers?");
    config_refused("steps: 0\n", "line 1: steps: 0 is too small");
    config_refused("steps: [1, 2]\n", "a list, where one value belongs");
    config_refused("steps: {a: b}\n", "line 1: expected `flag: value`");
    config_refused("- steps\n", "expected `flag: value`");
    config_refused("steps: 1\nsteps: 2\n", "line 2: this key was given before");
    config_refused("lr: *x\n", "line 1");
    config_refused("lr: \"0.1\n", "line");
    config_refused("steps: 1\n--- \nsteps: 2\n", "more than one YAML document");
    config_refused("output: \"a\\0b\"\n", "NUL byte");
}

static void test_run_yaml_round_trip(void **state)
{
    (void)state;
    static const char *const prompts[] = {
        "true", "", "two\nlines: yes", "  - #x", "~", "caf\xc3\xa9 \xf0\x9f\x90\xb1", "'\"\\", "12"};
    for (size_t i = 0; i < COUNT(prompts); i++) {
        fixture f, g;
        start(&f), start(&g);
        assert_int_equal(parse(&f, "--lr 0.1 --output run --clean --field a --field null x"), 0);
        f.v.prompt = prompts[i];
        f.v.seed = 1234567890123456789;
        f.v.lr = 0.1 + 0.2;
        char *path = write_file(&f, "");
        assert_int_equal(options_write(&f.set, path), 0);
        if (options_config(&g.set, path)) fail_msg("%s", ingot_message(g.set.ctx));
        unlink(path);
        assert_string_equal(g.v.prompt, prompts[i]);
        assert_true(g.v.lr == 0.1 + 0.2 && g.v.seed == f.v.seed && !g.v.clean && g.v.tied);
        assert_int_equal(g.v.bytes, 0);
        assert_int_equal(options_find(&g.set, "bytes")->source, FROM_NOWHERE);
        assert_string_equal(g.v.field.at[1], "null");
        assert_string_equal(g.v.files.at[0], "x");
        stop(&f), stop(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_bad_config),
        cmocka_unit_test(test_order_of_sources),
        cmocka_unit_test(test_run_yaml_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
