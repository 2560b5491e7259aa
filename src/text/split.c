/* Splitters and cutters: recognising known patterns, and walking through the steps of the others. */
#include "text/split.h"
#include "text/utf8.h"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define MODERN(numbers)                                                                                                \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" numbers                                              \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define REGEX_STEP(string)                                                                                             \
    {                                                                                                                  \
        .kind = STEP_REGEX, .pattern = (string), .length = sizeof(string) - 1                                          \
    }

struct splitter {
    split_known known;
    int count;
    split_kind kinds[SPLIT_STEPS];
    regex *regexes[SPLIT_STEPS];
};

static const struct {
    split_known known;
    const char *name;
    int count;
    split_step steps[2];
} known_patterns[] = {
    {SPLIT_GPT2, "gpt-2", 1, {REGEX_STEP(GPT2)}},
    {SPLIT_LLAMA_BPE, "llama-bpe", 1, {REGEX_STEP(MODERN("\\p{N}{1,3}"))}},
    {SPLIT_QWEN2, "qwen2", 1, {REGEX_STEP(MODERN("\\p{N}"))}},
    {SPLIT_SMOLLM, "smollm", 2, {{.kind = STEP_DIGITS_ALONE}, REGEX_STEP(GPT2)}},
};

const char *split_known_name(split_known known)
{
    for (size_t i = 0; i < COUNT(known_patterns); i++)
        if (known_patterns[i].known == known) return known_patterns[i].name;
    return NULL;
}

const char *const *split_known_names(void)
{
    static const char *const names[] = {"gpt-2", "llama-bpe", "qwen2", "smollm", NULL};
    return names;
}

int split_known_steps(const char *name, split_step *out)
{
    for (size_t i = 0; i < COUNT(known_patterns); i++) {
        if (strcmp(known_patterns[i].name, name)) continue;
        memcpy(out, known_patterns[i].steps, sizeof known_patterns[i].steps);
        return known_patterns[i].count;
    }
    return 0;
}

static bool same_step(const split_step *a, const split_step *b)
{
    return a->kind == b->kind && a->length == b->length && (!a->length || !memcmp(a->pattern, b->pattern, a->length));
}

static split_known recognise(const split_step *steps, int count)
{
    for (size_t i = 0; i < COUNT(known_patterns); i++) {
        if (known_patterns[i].count != count) continue;
        bool same = true;
        for (int j = 0; j < count; j++) same = same && same_step(&steps[j], &known_patterns[i].steps[j]);
        if (same) return known_patterns[i].known;
    }
    return SPLIT_BY_STEPS;
}

status splitter_new_by_steps(context *ctx, const split_step *steps, int count, splitter **out)
{
    *out = NULL;
    if (count > SPLIT_STEPS)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED, "a pre-tokenizer of %d steps: at most %d are supported", count,
                          SPLIT_STEPS);
    splitter *s = calloc(1, sizeof *s);
    if (!s) return fail_memory(ctx, "a pre-tokenizer", sizeof *s);
    for (int i = 0; i < count; i++) {
        s->kinds[i] = steps[i].kind;
        s->count = i + 1;
        if (steps[i].kind != STEP_REGEX && steps[i].kind != STEP_LITERAL) continue;
        status failed =
            regex_new(ctx, steps[i].pattern, steps[i].length, steps[i].kind == STEP_LITERAL, &s->regexes[i]);
        if (!failed) continue;
        splitter_free(s);
        return failed;
    }
    *out = s;
    return INGOT_OK;
}

status splitter_new(context *ctx, const split_step *steps, int count, splitter **out)
{
    split_known known = recognise(steps, count);
    if (known == SPLIT_BY_STEPS) return splitter_new_by_steps(ctx, steps, count, out);
    *out = calloc(1, sizeof **out);
    if (!*out) return fail_memory(ctx, "a pre-tokenizer", sizeof **out);
    (*out)->known = known;
    return INGOT_OK;
}

void splitter_free(splitter *s)
{
    if (!s) return;
    for (int i = 0; i < s->count; i++) regex_free(s->regexes[i]);
    free(s);
}

split_known splitter_known(const splitter *s)
{
    return s->known;
}

status cutter_init(cutter *c, context *ctx, const splitter *s)
{
    *c = (cutter){.splitter = s, .ctx = ctx};
    return s->known == SPLIT_BY_STEPS ? regex_scratch_new(ctx, &c->scratch) : INGOT_OK;
}

void cutter_free(cutter *c)
{
    regex_scratch_free(c->scratch);
    *c = (cutter){0};
}

void cutter_start(cutter *c, const uint8_t *bytes, size_t length)
{
    c->bytes = bytes;
    c->length = length;
    c->at = c->stretch_end = 0;
    if (c->splitter->known == SPLIT_BY_STEPS) memset(c->end, 0, sizeof c->end);
}

/* The end of the run of numbers (or of anything else) at `at`, which may be cut to its first number. */
static size_t cut_digits(const uint8_t *bytes, size_t at, size_t end, bool alone)
{
    size_t i = at, length;
    bool number = class_of(utf8_decode(bytes + at, &length)) == CLASS_NUMBER;
    for (i += length; i < end && !(number && alone); i += length)
        if ((class_of(utf8_decode(bytes + i, &length)) == CLASS_NUMBER) != number) break;
    return i;
}

/* Sets start[level] and end[level] to the piece of the first `level` steps that begins at c->at. */
static status piece_at(cutter *c, int level)
{
    if (level == 0 || c->end[level] > c->at) return INGOT_OK;
    TRY(piece_at(c, level - 1));
    const splitter *s = c->splitter;
    size_t base = c->start[level - 1], limit = c->end[level - 1];
    c->start[level] = c->at;
    if (!s->regexes[level - 1]) {
        c->end[level] = cut_digits(c->bytes, c->at, limit, s->kinds[level - 1] == STEP_DIGITS_ALONE);
        return INGOT_OK;
    }
    size_t from, to;
    TRY(regex_find(s->regexes[level - 1], c->scratch, c->ctx, c->bytes + base, limit - base, c->at - base, &from, &to));
    c->end[level] = base + (base + from > c->at ? from : to);
    return INGOT_OK;
}

static status cut_steps(cutter *c, size_t ends[CUT_WORDS], int *count)
{
    int level = c->splitter->count;
    while (*count < CUT_WORDS && c->at < c->stretch_end) {
        TRY(piece_at(c, level));
        ends[(*count)++] = c->at = c->end[level];
    }
    return INGOT_OK;
}

status cutter_next(cutter *c, size_t ends[CUT_WORDS], int *count)
{
    *count = 0;
    if (c->at == c->length) return INGOT_OK;
    if (c->at == c->stretch_end) {
        size_t valid = utf8_valid(c->bytes + c->at, c->length - c->at);
        if (!valid) {
            do c->at++;
            while (c->at < c->length && !utf8_sequence(c->bytes + c->at, c->length - c->at));
            c->stretch_end = c->at;
            ends[(*count)++] = c->at;
            return INGOT_OK;
        }
        c->stretch_end = c->at + valid;
        c->start[0] = c->at;
        c->end[0] = c->stretch_end;
    }
    if (c->splitter->known == SPLIT_BY_STEPS) return cut_steps(c, ends, count);
    *count = cut_known(c->splitter->known, c->bytes, c->at, c->stretch_end, ends);
    c->at = ends[*count - 1];
    return INGOT_OK;
}
