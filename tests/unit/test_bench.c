/* Names of processors from recorded texts, rows and files of results, verdicts, the table of rungs. */
#include "context.h"
#include "base/file.h"
#include "bench/compare.h"
#include "bench/energy.h"
#include "bench/identity.h"
#include "bench/ladder.h"
#include "bench/limits.h"
#include "bench/report.h"
#include "bench/timed.h"
#include "ingot/ops.h"

#include <stdio.h>

static void read_machine(const char *name, text *out)
{
    char path[256];
    snprintf(path, sizeof path, TEST_FILES "/unit/machines/%s", name);
    *out = (text){0};
    assert_int_equal(file_read_whole(ctx, path, 1 << 20, out), 0);
}

static void test_linux_processors(void **state)
{
    static const struct {
        const char *file, *family;
        int cores, logical;
        const char *has, *has_not; /* words of the instruction sets */
    } machines[] = {
        {"xeon_skylake.txt", "Xeon Skylake", 2, 4, "avx512f", "avx512_vnni"},
        {"xeon_cascade_lake.txt", "Xeon Cascade Lake", 2, 4, "avx512_vnni", "amx"},
        {"xeon_ice_lake.txt", "Xeon Ice Lake", 2, 4, "avx512_vnni", "amx"},
        {"xeon_sapphire_rapids.txt", "Xeon Sapphire Rapids", 2, 4, "amx_bf16", "sve"},
        {"xeon_emerald_rapids.txt", "Xeon Emerald Rapids", 2, 4, "avx512_bf16", "sve"},
        {"xeon_granite_rapids.txt", "Xeon Granite Rapids", 2, 4, "amx_tile", "sve"},
        {"core_raptor_lake.txt", "Core Raptor Lake", 24, 32, "avx_vnni", "avx512f"},
        {"epyc_naples.txt", "EPYC Naples (Zen)", 2, 4, "avx2", "avx512f"},
        {"epyc_rome.txt", "EPYC Rome (Zen 2)", 2, 4, "fma", "avx512f"},
        {"epyc_milan.txt", "EPYC Milan (Zen 3)", 2, 4, "f16c", "avx512f"},
        {"epyc_genoa.txt", "EPYC Genoa (Zen 4)", 4, 4, "avx512_bf16", "amx"},
        {"epyc_bergamo.txt", "EPYC Bergamo (Zen 4c)", 2, 4, "avx512_bf16", "amx"},
        {"epyc_turin.txt", "EPYC Turin (Zen 5)", 2, 2, "avx512_bf16", "amx"},
        {"epyc_turin_dense.txt", "EPYC Turin Dense (Zen 5c)", 2, 4, "avx512_bf16", "amx"},
        {"ryzen_zen4.txt", "Ryzen (Zen 4)", 16, 32, "avx512_bf16", "amx"},
        {"graviton.txt", "Graviton (Cortex-A72)", 4, 4, "asimd", "asimdhp"},
        {"graviton2.txt", "Graviton2 (Neoverse N1)", 4, 4, "asimddp", "sve"},
        {"graviton3.txt", "Graviton3 (Neoverse V1)", 4, 4, "bf16", "sve2"},
        {"graviton4.txt", "Graviton4 (Neoverse V2)", 4, 4, "sve2", "sme"},
        {"grace.txt", "Neoverse V2", 4, 4, "sve2", "sme"},
        {"ampere_altra.txt", "Neoverse N1", 4, 4, "asimdhp", "sve"},
        {"raspberry_pi_5.txt", "Cortex-A76", 4, 4, "asimddp", "sve"},
        {"unknown.txt", "unknown", 0, 1, "", "avx"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(machines); i++) {
        text file;
        char vendor[64] = "";
        cpu_identity cpu;
        read_machine(machines[i].file, &file);
        bool named = sscanf(file.at, "# vendor %63[^\n]", vendor) == 1;
        identity_parse_cpuinfo(file.at, named ? vendor : NULL, &cpu);
        assert_string_equal(cpu.family, machines[i].family);
        assert_int_equal(cpu.cores, machines[i].cores);
        assert_int_equal(cpu.logical, machines[i].logical);
        assert_non_null(strstr(cpu.isa, machines[i].has));
        assert_null(strstr(cpu.isa, machines[i].has_not));
        assert_true(*cpu.name);
        text_free(&file);
    }
}

static void test_apple(void **state)
{
    static const struct {
        const char *file, *family;
        int cores, fast;
        int64_t l2;
        const char *isa;
    } machines[] = {
        {"apple_m1.sysctl", "Apple M1", 8, 4, 12 << 20, "asimd asimdhp asimddp"},
        {"apple_m2_max.sysctl", "Apple M2 Max", 12, 8, 16 << 20, "asimd asimdhp asimddp bf16 i8mm"},
        {"apple_m4_pro.sysctl", "Apple M4 Pro", 14, 10, 16 << 20, "asimd asimdhp asimddp bf16 i8mm sme sme2"},
        {"intel_mac.sysctl", "unknown", 6, 0, 256 << 10, "avx2"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(machines); i++) {
        text file;
        cpu_identity cpu;
        read_machine(machines[i].file, &file);
        identity_parse_sysctl(file.at, &cpu);
        assert_string_equal(cpu.family, machines[i].family);
        assert_int_equal(cpu.cores, machines[i].cores);
        assert_int_equal(cpu.fast_cores, machines[i].fast);
        assert_int_equal(cpu.l2_bytes, machines[i].l2);
        assert_string_equal(cpu.isa, machines[i].isa);
        assert_true(cpu.memory_bytes >= 8ull << 30);
        text_free(&file);
    }
}

static void test_hostile_cpuinfo(void **state)
{
    cpu_identity cpu;
    (void)state;
    identity_parse_cpuinfo("", NULL, &cpu);
    assert_string_equal(cpu.family, "unknown");
    identity_parse_cpuinfo("model name", "", &cpu);
    identity_parse_cpuinfo("processor\nmodel name\t:", NULL, &cpu);
    assert_int_equal(cpu.logical, 1);
    char *longer = malloc(20001);
    memset(longer, 'x', 20000);
    memcpy(longer, "model name: ", 12);
    longer[20000] = 0;
    identity_parse_cpuinfo(longer, longer, &cpu);
    assert_int_equal(strlen(cpu.name), sizeof cpu.name - 1);
    identity_parse_sysctl(longer, &cpu);
    free(longer);
}

/* ---- rows ---- */

static json_t *row_of(const char *test, const double *ns, int count)
{
    double *copy = malloc(sizeof *copy * (size_t)count);
    for (int i = 0; i < count; i++) copy[i] = ns[i] * 1e-9;
    bench_stats stats;
    assert_int_equal(bench_stats_of(ctx, copy, count, &stats), 0);
    machine on = {.threads = 2, .cpu = {.name = "A", .family = "unknown"}};
    json_t *row = row_new("train", NULL, &on);
    row_set_text(row, "test", test);
    row_add_times(row, &stats);
    bench_stats_free(&stats);
    return row;
}

static void expect_verdict(const double *now, const double *before, int count, row_verdict wanted)
{
    double ratio, noise;
    json_t *a = row_of("t", now, count), *b = row_of("t", before, count);
    assert_int_equal(row_compare(a, b, 0.03, &ratio, &noise), wanted);
    json_decref(a);
    json_decref(b);
}

static void test_verdicts(void **state)
{
    static const double base[] = {100, 101, 99, 100, 102}, slow[] = {120, 121, 119, 120, 123},
                        little[] = {102, 103, 101, 102, 104}, wild[] = {60, 180, 120, 90, 150},
                        disturbed[] = {100, 160, 150, 155, 170}, one[] = {200}, two[] = {130, 190};
    (void)state;
    expect_verdict(slow, base, 5, ROW_SLOWER);
    expect_verdict(base, slow, 5, ROW_FASTER);
    expect_verdict(little, base, 5, ROW_SAME);    /* sure, but below the tolerance */
    expect_verdict(wild, base, 5, ROW_SAME);      /* large, but its noise is larger */
    expect_verdict(disturbed, base, 5, ROW_SAME); /* the fastest sample says that it was the machine */
    expect_verdict(one, base, 1, ROW_UNKNOWN);    /* nothing says how far apart two such samples lie */
    expect_verdict(two, base, 2, ROW_SAME);       /* of a few samples the range is the noise */
    expect_verdict(slow, base, 3, ROW_SLOWER);
}

static void expect_pair(json_t *a, json_t *b, bool wanted)
{
    json_t *rows = json_pack("[O]", b);
    assert_int_equal(rows_find(rows, a) == b, wanted);
    json_decref(rows);
}

/* Rows that differ in what was asked for are no pair; what differs is put into the second, and taken out again. */
static void test_keys(void **state)
{
    static const double ns[] = {1, 2, 3};
    static const char *const fields[] = {"kernel", "n_params", "image", "prefer", "row_invariant",
                                         "tf32",   "tuning",   "by",    "attrs",  "sample"};
    (void)state;
    json_t *a = row_of("t", ns, 3), *b = row_of("t", ns, 3);
    expect_pair(a, b, true);
    for (size_t i = 0; i < COUNT(fields); i++) {
        json_object_set_new(a, fields[i], i % 2 ? json_integer(1) : json_string("1"));
        json_object_set_new(b, fields[i], i % 2 ? json_integer(2) : json_string("2"));
        expect_pair(a, b, false);
        json_object_del(b, fields[i]);
        expect_pair(a, b, false);
        json_object_del(a, fields[i]);
    }
    json_object_set_new(b, "n_threads", json_integer(1)); /* other machines are compared */
    expect_pair(a, b, true);
    json_t *both = json_pack("[O, O]", b, a);
    assert_ptr_equal(rows_find(both, a), a); /* but the same one first */
    json_decref(both);
    json_decref(a);
    json_decref(b);
}

/* A share is of the limit that was seen last: a peak that was measured on a busy machine makes it too large. */
static void test_limits(void **state)
{
    (void)state;
    machine on = {.peak_flops = 10e9, .copy_bytes = 10e9}, seen = {.peak_flops = 20e9, .copy_bytes = 9e9};
    assert_float_equal(machine_raise(&on, &seen), 2, 1e-9);
    assert_float_equal(on.peak_flops, 20e9, 1);
    assert_float_equal(on.copy_bytes, 10e9, 1);
    static const char *const benches[] = {"train", "ladder", "ops", "profile"}, *const shares[] = {"mfu", "of_peak",
                                                                                                   "of_limit",
                                                                                                   "of_limit"};
    for (int i = 0; i < 4; i++) {
        json_t *row = json_pack("{s:s, s:s, s:s, s:f, s:f, s:f}", "bench", benches[i], "backend", "cpu", "dtype",
                                "float32", "gflops", 0.0005, "gb_per_s", 0.0002, "ms", 4.0),
               *rows = json_pack("[o]", row);
        row_add_limit(row, &(device_limit){1e6, 1e6, "a busy machine"});
        assert_float_equal(json_number_value(json_object_get(row, shares[i])), 0.5, 1e-6);
        if (i == 3) assert_float_equal(json_number_value(json_object_get(row, "above_limit_ms")), 2, 1e-6);
        machine here = {.peak_flops = 1e6, .copy_bytes = 1e6};
        assert_int_equal(limits_raise(ctx, &here, rows), 0); /* none is as slow as that, emulated or not */
        assert_true(json_number_value(json_object_get(row, shares[i])) < 0.45);
        json_decref(rows);
    }
}

/* What is asked of a device is in its rows. */
static void test_choices(void **state)
{
    (void)state;
    ingot_device *d;
    machine on = {.threads = 1};
    assert_int_equal(
        ingot_device_open(ctx, "cpu", &(ingot_device_options){.prefer = "matmul.naive", .row_invariant = 1}, &d), 0);
    json_t *row = row_new("train", d, &on);
    assert_string_equal(json_string_value(json_object_get(row, "prefer")), "matmul.naive");
    assert_true(json_is_true(json_object_get(row, "row_invariant")));
    assert_null(json_object_get(row, "tuning"));
    json_decref(row);
    ingot_device_close(d);
}

static void test_files_of_rows(void **state)
{
    static const double ns[] = {1, 2, 3};
    const char *path = "test_bench.json";
    (void)state;
    json_t *row = row_of("t", ns, 3), *other = row_of("u", ns, 3), *read;
    char *line = json_dumps(row, JSON_COMPACT), *second = json_dumps(other, JSON_COMPACT);
    static const char *const forms[] = {"%s\n%s\n", "[%s, %s]", "{\"results\": [%s, %s]}"};
    for (size_t i = 0; i < COUNT(forms); i++) {
        char file[4096];
        int length = snprintf(file, sizeof file, forms[i], line, second);
        assert_int_equal(rows_parse(ctx, path, file, (size_t)length, &read), 0);
        assert_int_equal(json_array_size(read), 2);
        json_decref(read);
        length = snprintf(file, sizeof file, forms[i], line, line); /* which one would be compared with? */
        assert_int_equal(rows_parse(ctx, path, file, (size_t)length, &read), INGOT_ERROR_FORMAT);
        assert_non_null(strstr(ingot_message(ctx), "two results of train t"));
    }
    free(second);
    json_decref(other);
    static const char *const bad[] = {
        "", "{}", "[1]", "nonsense", "{\"schema\": \"ingot-bench-999\"}", "[]", "{\"schema\": 3}"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(file_write_whole(ctx, path, bad[i], strlen(bad[i])), 0);
        assert_int_equal(rows_read(ctx, path, &read), INGOT_ERROR_FORMAT);
        assert_null(read);
    }
    assert_non_null(strstr(ingot_message(ctx), "schema"));
    remove(path);
    free(line);
    json_decref(row);
}

static void test_merged_machines(void **state)
{
    static const double ns[] = {100, 101, 99}, half[] = {50, 51, 49};
    (void)state;
    compare_file files[] = {{"a.json", json_array()}, {"b.json", json_array()}};
    json_array_append_new(files[0].rows, row_of("both", ns, 3));
    json_array_append_new(files[0].rows, row_of("first", ns, 3));
    json_array_append_new(files[1].rows, row_of("both", half, 3));
    json_array_append_new(files[1].rows, row_of("second", ns, 3));
    json_t *merged = compare_files(files, 2, 0.03), *row = json_array_get(merged, 0);
    assert_int_equal(json_array_size(merged), 3);
    assert_float_equal(json_number_value(json_object_get(row, "ratio 1")), 0.5, 0.01);
    assert_string_equal(json_string_value(json_object_get(row, "verdict 1")), "faster");
    assert_null(json_object_get(json_array_get(merged, 2), "ms 0"));
    text name = {0}; /* equal machines: the file tells */
    compare_name(files, 2, 1, &name);
    assert_string_equal(name.at, "A, 2 threads (b.json)");
    text_free(&name);
    json_decref(merged);
    json_decref(files[0].rows);
    json_decref(files[1].rows);
}

/* ---- the ladder ---- */

/* "Expertise 3, effort 40 lines": what the file says is what the table says. */
/* Lines that are neither empty nor comment. */
static int code_lines(const char *at)
{
    int lines = 0;
    bool code = false, comment = false;
    for (; *at; at++) {
        if (!comment && at[0] == '/' && at[1] == '*') comment = true;
        if (!comment && at[0] == '/' && at[1] == '/') at += strcspn(at, "\n");
        if (!*at) break;
        if (*at == '\n') {
            lines += code;
            code = false;
        } else if (!comment && *at != ' ') {
            code = true;
        }
        if (comment && at[0] == '*' && at[1] == '/') {
            comment = false;
            at++;
        }
    }
    return lines + code;
}

/* What the first of the files says of a rung, and what all of them have. false: the sources are not here. */
static bool read_rung(const rung *r, text *says, int *lines)
{
    char path[512];
    *lines = 0;
    for (const char *name = r->files; *name; name += strspn(name, " ")) {
        text file = {0};
        int length = (int)strcspn(name, " ");
        snprintf(path, sizeof path, TEST_FILES "/../src/ops/matmul/%.*s", length, name);
        name += length;
        if (!file_exists(path)) return false; /* tests carried elsewhere */
        assert_int_equal(file_read_whole(ctx, path, 1 << 20, &file), 0);
        *lines += code_lines(file.at);
        if (!says->at) text_puts(says, file.at);
        text_free(&file);
    }
    return true;
}

static void expect_words(const rung *r, const char *says, const char *format, double number)
{
    char words[64];
    snprintf(words, sizeof words, format, number);
    if (!strstr(says, words)) fail_msg("%s does not say %s", r->files, words);
}

static void test_rungs_say_what_their_files_say(void **state)
{
    (void)state;
    for (int i = 0; i < rung_count; i++) {
        const rung *r = &rungs[i];
        bool more = i + 1 < rung_count && !strcmp(r->files, rungs[i + 1].files); /* of this file */
        text says = {0};
        int lines;
        if (read_rung(r, &says, &lines)) {
            expect_words(r, says.at, "xpertise %g", r->expertise);
            expect_words(r, says.at, "%g lines", r->lines);
            expect_words(r, says.at, "%g hours", r->hours);
            if (r->lines > lines * 1.2 || r->lines < lines * (more ? 0.7 : 0.8))
                fail_msg("%s have %d lines of code, not %d", r->files, lines, r->lines);
        }
        text_free(&says);
    }
}

static void test_small_ladder(void **state)
{
    static const int64_t sizes[] = {16, 32};
    static const dtype dtypes[] = {INGOT_F32};
    static const char *const devices[] = {"cpu"};
    const ladder_plan plan = {.sizes = sizes,
                              .size_count = 2,
                              .dtypes = dtypes,
                              .dtype_count = 1,
                              .devices = devices,
                              .device_count = 1,
                              .effort = {.repetitions = 3},
                              .cap = 1};
    machine on = {.threads = 1, .peak_flops = 1e12};
    json_t *rows = json_array(), *row;
    size_t i;
    int winners = 0, timed = 0;
    (void)state;
    assert_int_equal(bench_ladder(ctx, &plan, &on, rows), 0);
    json_array_foreach(rows, i, row)
    {
        winners += json_is_true(json_object_get(row, "winner"));
        timed += json_object_get(row, "median_ns") != NULL;
        assert_true(json_is_string(json_object_get(row, "available")));
    }
    assert_int_equal(json_array_size(rows), 2 * (size_t)rung_count);
    assert_int_equal(winners, 2);
    assert_true(timed >= 10); /* naive to simd at both sizes */
    assert_float_equal(json_number_value(json_object_get(json_array_get(rows, 0), "speedup")), 1, 1e-9);
    json_decref(rows);
}

/* What would take longer than the cap is estimated and says so. */
static void test_ladder_estimates(void **state)
{
    static const int64_t sizes[] = {64, 4096};
    static const dtype dtypes[] = {INGOT_F32};
    static const char *const devices[] = {"cpu"};
    const ladder_plan plan = {.sizes = sizes,
                              .size_count = 2,
                              .dtypes = dtypes,
                              .dtype_count = 1,
                              .devices = devices,
                              .device_count = 1,
                              .effort = {.repetitions = 3},
                              .cap = 1e-3};
    machine on = {.threads = 1, .peak_flops = 1e12};
    json_t *rows = json_array();
    (void)state;
    assert_int_equal(bench_ladder(ctx, &plan, &on, rows), 0);
    const json_t *large = json_array_get(rows, 1);
    assert_true(json_is_true(json_object_get(large, "estimated")));
    assert_null(json_object_get(large, "median_ns"));
    assert_false(json_is_true(json_object_get(large, "winner")));
    assert_true(json_number_value(json_object_get(large, "ms")) > 1);
    json_decref(rows);
}

/* Where a curve overtakes another: 10 ns and 40 ns against 20 and 20. */
static void test_crossings(void **state)
{
    static const struct {
        const char *rung;
        double size, ns;
    } points[] = {{"slow start", 100, 20}, {"slow start", 400, 20}, {"quick start", 100, 10}, {"quick start", 400, 40}};
    json_t *rows = json_array();
    (void)state;
    for (size_t i = 0; i < COUNT(points); i++) {
        json_t *row = row_of("p", &points[i].ns, 1);
        row_set_text(row, "rung", points[i].rung);
        row_set_text(row, "backend", "cpu");
        row_set_text(row, "dtype", "float32");
        json_object_set_new(row, "size", json_integer((json_int_t)points[i].size));
        json_array_append_new(rows, row);
    }
    text out = {0};
    ladder_crossings(rows, &out);
    assert_string_equal(out.at,
                        "float32: from about 200 on slow start is ahead of quick start (0.50x at 100, 2.00x at 400)\n");
    text_free(&out);
    json_decref(rows);
}

/* A program cut into parts gives what it gives whole, and a time for each. */
static void test_parts_of_a_program(void **state)
{
    ingot_device *d;
    ingot_program *p;
    (void)state;
    assert_int_equal(ingot_device_open(ctx, "cpu", NULL, &d), 0);
    ingot_build *b = ingot_build_new(ctx, "parts");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(3, 3));
    ingot_output(b, "y", ingot_sum(b, ingot_softmax(b, ingot_matmul(b, x, x)), -1, 0));
    assert_int_equal(ingot_compile(b, d, NULL, &p), 0);
    assert_true(p->main.count >= 3);
    float in[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, out[3] = {0};
    int64_t ends[] = {1, p->main.count}, whole[] = {p->main.count};
    for (int parts = 2; parts >= 0; parts--) {
        assert_int_equal(program_time_groups(p, parts == 2 ? ends : whole, parts), 0);
        memset(out, 0, sizeof out);
        assert_int_equal(ingot_write(p, "x", in, sizeof in), 0);
        assert_int_equal(ingot_run(p, NULL), 0);
        assert_int_equal(ingot_read(p, "y", out, sizeof out), 0);
        for (int i = 0; i < 3; i++) assert_float_equal(out[i], 1, 1e-5);
        for (int i = 0; i < parts; i++) assert_true(p->group_ns[i] > 0);
    }
    ingot_program_free(p);
    ingot_device_close(d);
}

static void write_number(const char *path, const char *number)
{
    assert_int_equal(file_write_whole(ctx, path, number, strlen(number)), 0);
}

static void test_joules(void **state)
{
    energy_counter e;
    (void)state;
    energy_open(&e, "nowhere");
    assert_true(energy_joules(&e) < 0);
    directory_create(ctx, "test_rapl/intel-rapl:0");
    write_number("test_rapl/intel-rapl:0/energy_uj", "9000000\n");
    write_number("test_rapl/intel-rapl:0/max_energy_range_uj", "10000000\n");
    energy_open(&e, "test_rapl");
    write_number("test_rapl/intel-rapl:0/energy_uj", "9500000\n");
    assert_float_equal(energy_joules(&e), 0.5, 1e-9);
    write_number("test_rapl/intel-rapl:0/energy_uj", "500000\n"); /* it began anew */
    assert_float_equal(energy_joules(&e), 1, 1e-9);
    directory_remove(ctx, "test_rapl");
}

static void test_machine(void **state)
{
    machine on;
    (void)state;
    assert_int_equal(machine_measure(ctx, &on), 0);
    assert_true(on.peak_flops > 1e6);
    assert_true(on.peak_flops_f64 > 1e6);
    assert_true(on.copy_bytes > 1e6 && on.read_bytes > 1e6); /* under an emulator too */
    assert_true(on.cpu.logical > 0 && on.cpu.memory_bytes > 0);
}

/* Rows of one result may have different fields: every line has all columns. */
static void test_csv(void **state)
{
    (void)state;
    text out = {0};
    json_t *rows = json_pack("[{s:s, s:i}, {s:s, s:[i], s:b, s:f}]", "op", "launch", "calls", 1, "op", "a \"b\", c",
                             "list", 1, "winner", 1, "us", 2.5);
    report_print(rows, REPORT_CSV, NULL, 0, &out);
    assert_string_equal(out.at, "\"op\",\"calls\",\"winner\",\"us\"\n"
                                "\"launch\",\"1\",\"\",\"\"\n"
                                "\"a \"\"b\"\", c\",\"\",\"yes\",\"2.5\"\n");
    text_free(&out);
    json_decref(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linux_processors),
        cmocka_unit_test(test_apple),
        cmocka_unit_test(test_hostile_cpuinfo),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_files_of_rows),
        cmocka_unit_test(test_merged_machines),
        cmocka_unit_test(test_rungs_say_what_their_files_say),
        cmocka_unit_test(test_small_ladder),
        cmocka_unit_test(test_ladder_estimates),
        cmocka_unit_test(test_crossings),
        cmocka_unit_test(test_parts_of_a_program),
        cmocka_unit_test(test_joules),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_machine),
    };
    if (ingot_context_new(NULL, &ctx)) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ingot_context_free(ctx);
    return failed;
}
