#include "cli/model_options.h"

#include "base/file.h"
#include "device/device.h"
#include "models/model.h"

const option shape_lines[SHAPE_LINES] = {
    {"preset", STRING_AT(shape_options, preset), "NAME", "a shape by name: tiny-1m, gpt2-124m, ...",
     .names = names_of_presets, .kept = true},
    {"family", STRING_AT(shape_options, family), "NAME", "gpt2, llama or convnet",
     .initial_help = "the preset's, or llama", .names = names_of_families, .kept = true},
    {"vocab-size", INT_AT(shape_options, vocab_size), "V", "entries of the embedding",
     .initial_help = "the tokenizer's", .range = AT_LEAST(1), .kept = true},
    {"layers", INT_AT(shape_options, layers), "L", "blocks", .range = AT_LEAST(1), .kept = true},
    {"heads", INT_AT(shape_options, heads), "H", "query heads", .range = AT_LEAST(1), .kept = true},
    {"kv-heads", INT_AT(shape_options, kv_heads), "K", "key and value heads", .initial_help = "as many as heads",
     .range = AT_LEAST(1), .kept = true},
    {"head-dim", INT_AT(shape_options, head_dim), "D", "width of a head", .initial_help = "dim / heads",
     .range = AT_LEAST(1), .kept = true},
    {"dim", INT_AT(shape_options, dim), "C", "width of the model", .range = AT_LEAST(1), .kept = true},
    {"ffn-dim", INT_AT(shape_options, ffn_dim), "F", "width inside the feed-forward part", .initial_help = "by family",
     .range = AT_LEAST(1), .kept = true},
    {"rope-theta", DOUBLE_AT(shape_options, rope_theta), NULL, "base of rotary positions", .initial_help = "by family",
     .range = MORE_THAN(0), .kept = true},
    {"norm-eps", DOUBLE_AT(shape_options, norm_eps), NULL, "epsilon of the norms", .initial_help = "by family",
     .range = MORE_THAN(0), .kept = true},
    {"init-std", DOUBLE_AT(shape_options, init_std), NULL, "standard deviation of fresh matrices",
     .initial_help = "by family", .range = MORE_THAN(0), .kept = true},
    {"tied", BOOL_AT(shape_options, tied), NULL, "the head is the embedding", .initial_help = "by family",
     .kept = true},
    {"bias", BOOL_AT(shape_options, bias), NULL, "linears have biases", .initial_help = "by family", .kept = true},
    {"post-norm", BOOL_AT(shape_options, post_norm), NULL, "norms after the residual sum (gpt2)", .kept = true},
    {"sinusoidal", BOOL_AT(shape_options, sinusoidal), NULL, "fixed sinusoidal positions (gpt2)", .kept = true},
};

static ingot_choice choice(const call *c, const char *name, bool value)
{
    return !option_given(c, name) ? INGOT_AS_FAMILY : value ? INGOT_YES : INGOT_NO;
}

ingot_model_options shape_model_options(const call *c, const shape_options *o)
{
    return (ingot_model_options){
        .preset = o->preset,
        .family = o->family,
        .vocab_size = o->vocab_size,
        .layers = o->layers,
        .heads = o->heads,
        .kv_heads = o->kv_heads,
        .head_dim = o->head_dim,
        .dim = o->dim,
        .ffn_dim = o->ffn_dim,
        .rope_theta = o->rope_theta,
        .norm_eps = o->norm_eps,
        .init_std = o->init_std,
        .tied = choice(c, "tied", o->tied),
        .bias = choice(c, "bias", o->bias),
        .post_norm = choice(c, "post-norm", o->post_norm),
        .sinusoidal = choice(c, "sinusoidal", o->sinusoidal),
    };
}

static const char *const levels[] = {"naive", "parallel",    "tiled", "tiled-parallel", "simd",
                                     "blas",  "avx512-bf16", "amx",   "best",           NULL};

static const char *const dtypes[] = {"float32", "bfloat16", "float16", NULL};

const option device_lines[DEVICE_LINES] = {
    {"device", STRING_AT(device_flags, device), "NAME", "auto, cuda, cpu, ref (float64 oracle) or null",
     .initial = "auto", .names = names_of_devices},
    {"cpu-level", CHOICE_AT(device_flags, cpu_level), "LEVEL", "how far up the ladder of CPU kernels to go",
     .initial = "best", .choices = levels},
    {"tuning", STRING_AT(device_flags, tuning), "FILE",
     "choices that ingot devices --tune measured; none: those of the levels",
     .initial_help = "this machine's, if tuned"},
    {"row-invariant", BOOL_AT(device_flags, row_invariant), NULL,
     "only kernels whose sums do not depend on how many rows run together"},
    {"tf32", BOOL_AT(device_flags, tf32), NULL, "float32 products may round what they multiply to 10 bits (cuda)"},
    {"overlap", BOOL_AT(device_flags, overlap), NULL,
     "kernels are launched while those before them end (cuda, sm_90 on); the same bits either way", .initial = "true"},
    {"step-by-step", BOOL_AT(device_flags, step_by_step), NULL,
     "wait for each kernel, so that an error of the device names the one that made it; slow"},
    {"most-memory", SIZE_AT(device_flags, most_memory), "BYTES",
     "the device hands out no more than this; 0: what it has", .initial = "0", .range = AT_LEAST(0)},
    {"persistent", INT_AT(device_flags, persistent), "STEPS",
     "so many small steps or more, of decoding or of a small model's way forward, are one launch; 0: as is fastest, "
     "-1: never (cuda)",
     .initial = "0", .range = BETWEEN(-1, 1000000)},
    {"prefer", STRING_AT(device_flags, prefer), "KERNEL,..",
     "kernels by name, used wherever they fit; `ingot devices --kernels` lists them"},
    {"kernel-cache", STRING_AT(device_flags, kernel_cache), "DIR",
     "where kernels compiled at run time are kept (cuda); none: nowhere", .initial_help = "$XDG_CACHE_HOME/ingot"},
    {"dtype", CHOICE_AT(device_flags, dtype), "DTYPE",
     "what is computed in: bfloat16 and float16 keep float32 masters, sums, losses and moments", .initial = "float32",
     .choices = dtypes},
};

bool device_flags_choose(device_flags *o, ingot_dtype d)
{
    for (int i = 0; dtypes[i]; i++) {
        if (strcmp(dtypes[i], ingot_dtype_name(d))) continue;
        o->dtype = i;
        return true;
    }
    return false;
}

/* Two rungs are instructions that multiply bfloat16 and nothing else. */
static status check_rung(const call *c, const device_flags *o)
{
    const char *level = levels[o->cpu_level];
    if ((strcmp(level, "avx512-bf16") && strcmp(level, "amx")) || !strcmp(dtypes[o->dtype], "bfloat16"))
        return INGOT_OK;
    return ingot_fail(c->ctx, INGOT_ERROR_ARGUMENT,
                      "--cpu-level %s multiplies bfloat16 only, and --dtype is %s; add --dtype bfloat16, or use "
                      "--cpu-level best",
                      level, dtypes[o->dtype]);
}

status device_flags_set_dtype(const device_flags *o, ingot_model *m)
{
    ingot_dtype d = INGOT_F32;
    ingot_dtype_parse(dtypes[o->dtype], &d);
    return ingot_model_set_dtype(m, d);
}

/* ---- choices that were measured ---- */

/* The user's folder for what can be made again. */
static const char *cache_path(const call *c)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache == '/') return arena_printf(c->arena, "%s/ingot", cache);
    return home && *home == '/' ? arena_printf(c->arena, "%s/.cache/ingot", home) : NULL;
}

const char *tuning_default_path(const call *c, const char *device)
{
    const char *folder = cache_path(c);
    return folder ? arena_printf(c->arena, "%s/tuning-%s.json", folder, device) : NULL;
}

const char *kernel_cache_path(const call *c, const char *given)
{
    if (given && !strcmp(given, "none")) return NULL;
    return given ? given : cache_path(c);
}

static status open_untuned(call *c, const device_flags *o, ingot_device **out)
{
    TRY(check_rung(c, o));
    const ingot_device_options options = {.level = levels[o->cpu_level],
                                          .row_invariant = o->row_invariant,
                                          .prefer = o->prefer,
                                          .tf32 = o->tf32,
                                          .no_overlap = !o->overlap,
                                          .step_by_step = o->step_by_step,
                                          .most_bytes = o->most_memory,
                                          .persistent = (int)o->persistent,
                                          .cache = kernel_cache_path(c, o->kernel_cache)};
    return ingot_device_open(c->ctx, o->device, &options, out);
}

/* A file that was not asked for by name: what does not fit this machine any more is left out, and said. */
static void read_if_fits(call *c, device *d, const char *path, const char *otherwise)
{
    if (!path || !file_exists(path) || d->level != LEVEL_BEST) return;
    if (device_read_tuning(d, path))
        log_line(c->ctx, INGOT_LOG_WARNING, "%s; %s", ingot_message(c->ctx), otherwise);
    else
        log_line(c->ctx, INGOT_LOG_INFO, "choices of kernels from %s", path);
}

status device_flags_open(call *c, const device_flags *o, ingot_device **out)
{
    TRY(open_untuned(c, o, out));
    if (o->tuning && !strcmp(o->tuning, "none")) return INGOT_OK;
    if (!o->tuning) {
        read_if_fits(c, *out, tuning_default_path(c, ingot_device_name(*out)), "its choices are not used");
        return INGOT_OK;
    }
    status s = device_read_tuning(*out, o->tuning);
    if (!s) return INGOT_OK;
    ingot_device_close(*out);
    *out = NULL;
    return s;
}

status device_flags_resume(call *c, const device_flags *o, const char *run, ingot_device **out)
{
    TRY(open_untuned(c, o, out));
    read_if_fits(c, *out, arena_printf(c->arena, "%s/tuning.json", run),
                 "the run goes on with other kernels: near to what it would have been, not the same");
    return INGOT_OK;
}

status device_keep_tuning(const ingot_device *d, const char *run)
{
    if (!d->tuning) return INGOT_OK;
    char *path = path_join(run, "tuning.json"), *place = device_place(d);
    status s = path && place ? tuning_write(d->ctx, path, place, d->tuning) : fail_memory(d->ctx, run, 64);
    free(path);
    free(place);
    return s;
}

/* ---- for completion ---- */

void names_of_presets(text *out)
{
    for (const model_family *const *f = model_families; *f; f++)
        for (const preset *shape = (*f)->presets; shape && shape->name; shape++) text_printf(out, " %s", shape->name);
}

void names_of_families(text *out)
{
    for (const model_family *const *f = model_families; *f; f++) text_printf(out, " %s", (*f)->name);
}

void names_of_devices(text *out)
{
    text_puts(out, " auto");
    for (const device_def *const *d = device_table; *d; d++) text_printf(out, " %s", (*d)->name);
}

void names_of_levels(text *out)
{
    for (const char *const *name = levels; *name; name++) text_printf(out, " %s", *name);
}

void names_of_dtypes(text *out)
{
    for (const char *const *name = dtypes; *name; name++) text_printf(out, " %s", *name);
}
