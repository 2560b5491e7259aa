/* Reading tokenizer.json. The file is hostile: every type is checked, and what cannot be followed exactly is refused. */
#define _GNU_SOURCE
#include "base/file.h"
#include "formats/json.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#define MOST_BYTES ((int64_t)JSON_MOST_BYTES) /* the largest real ones have 35 MB */

typedef struct reading {
    context *ctx;
    arena *arena;
    const char *name;
    const json_t *root, *model, *vocab;
    tokenizer_parts parts;
} reading;

static status broken(const reading *r, const char *where, const char *expected)
{
    return ingot_fail(r->ctx, INGOT_ERROR_FORMAT, "%s: %s should be %s", r->name, where, expected);
}

static status unsupported(const reading *r, const char *what, const char *value)
{
    return ingot_fail(r->ctx, INGOT_ERROR_UNSUPPORTED, "%s: %s \"%.80s\" is not supported; Ingot reads byte-level BPE",
                      r->name, what, value);
}

static status out_of_memory(const reading *r)
{
    return fail_memory(r->ctx, r->name, 0);
}

static const char *type_of(const json_t *value)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    return type ? type : "";
}

static bool is_set(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value) && !json_is_false(value);
}

/* ---- vocabulary and merges ---- */

static status read_id(const reading *r, const char *spelling, const json_t *value, int *id)
{
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    if (number < 0 || number >= TOKENIZER_MOST_IDS)
        return ingot_fail(r->ctx, INGOT_ERROR_FORMAT, "%s: the id of \"%.80s\" should be a whole number from 0 to %d",
                          r->name, spelling, TOKENIZER_MOST_IDS - 1);
    *id = (int)number;
    return INGOT_OK;
}

static status read_vocab(reading *r, size_t added_count)
{
    const char *key;
    size_t key_length;
    json_t *value, *vocab = (json_t *)(uintptr_t)r->vocab;
    int highest = -1, id = 0;
    json_object_keylen_foreach(vocab, key, key_length, value)
    {
        TRY(read_id(r, key, value, &id));
        highest = MAX(highest, id);
    }
    if ((size_t)(highest + 1) > json_object_size(vocab) + added_count)
        return ingot_fail(
            r->ctx, INGOT_ERROR_FORMAT,
            "%s: ids go up to %d, but there are only %zu entries and %zu added tokens: some ids have none", r->name,
            highest, json_object_size(vocab), added_count);
    const char **spellings = ARENA_ARRAY(r->arena, const char *, highest + 1);
    size_t *lengths = ARENA_ARRAY(r->arena, size_t, highest + 1);
    if (!spellings || !lengths) return out_of_memory(r);
    json_object_keylen_foreach(vocab, key, key_length, value)
    {
        id = (int)json_integer_value(value);
        if (spellings[id])
            return ingot_fail(r->ctx, INGOT_ERROR_FORMAT, "%s: \"%.80s\" and \"%.80s\" have the same id %d", r->name,
                              spellings[id], key, id);
        spellings[id] = key;
        lengths[id] = key_length;
    }
    r->parts.spellings = spellings;
    r->parts.spelling_lengths = lengths;
    r->parts.vocab_size = highest + 1;
    return INGOT_OK;
}

static status merge_part(const reading *r, size_t rank, const char *spelling, size_t length, int32_t *id)
{
    const json_t *value = json_object_getn(r->vocab, spelling, length);
    if (!value)
        return ingot_fail(r->ctx, INGOT_ERROR_FORMAT, "%s: merge %zu has \"%.*s\", which is not in the vocabulary",
                          r->name, rank, (int)MIN(length, 80u), spelling);
    *id = (int32_t)json_integer_value(value);
    return INGOT_OK;
}

/* A merge is "left right" or ["left", "right"]. */
static status read_merge(const reading *r, size_t rank, const json_t *merge, int32_t ids[2])
{
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        for (size_t i = 0; i < 2; i++) {
            const json_t *part = json_array_get(merge, i);
            if (!json_is_string(part)) break;
            TRY(merge_part(r, rank, json_string_value(part), json_string_length(part), &ids[i]));
            if (i == 1) return INGOT_OK;
        }
    } else if (json_is_string(merge)) {
        const char *at = json_string_value(merge), *end = at + json_string_length(merge);
        const char *space = memchr(at, ' ', (size_t)(end - at));
        if (space && !memchr(space + 1, ' ', (size_t)(end - space - 1))) {
            TRY(merge_part(r, rank, at, (size_t)(space - at), &ids[0]));
            return merge_part(r, rank, space + 1, (size_t)(end - space - 1), &ids[1]);
        }
    }
    return ingot_fail(r->ctx, INGOT_ERROR_FORMAT, "%s: merge %zu should be \"left right\" or [\"left\", \"right\"]",
                      r->name, rank);
}

static status read_merges(reading *r)
{
    const json_t *merges = json_object_get(r->model, "merges");
    if (!json_is_array(merges)) return broken(r, "model.merges", "an array");
    size_t count = json_array_size(merges);
    int32_t(*ids)[2] = arena_alloc(r->arena, (count + 1) * sizeof *ids);
    if (!ids) return out_of_memory(r);
    for (size_t i = 0; i < count; i++) {
        const json_t *merge = json_array_get(merges, i);
        const char *line = i == 0 && json_is_string(merge) ? json_string_value(merge) : "";
        if (!strncmp(line, "#version", 8)) continue; /* the first line of merges.txt, carried along by some files */
        TRY(read_merge(r, i, merge, ids[r->parts.merge_count]));
        r->parts.merge_count++;
    }
    r->parts.merges = (const int32_t(*)[2])ids;
    return INGOT_OK;
}

static status read_model(reading *r, size_t added_count)
{
    r->model = json_object_get(r->root, "model");
    r->vocab = json_object_get(r->model, "vocab");
    if (!json_is_object(r->model)) return broken(r, "model", "an object");
    const char *type = type_of(r->model);
    if (*type && strcmp(type, "BPE")) return unsupported(r, "a model of type", type);
    if (!json_is_object(r->vocab)) return broken(r, "model.vocab", "an object from tokens to ids");
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < COUNT(affixes); i++) {
        const char *affix = json_string_value(json_object_get(r->model, affixes[i]));
        if (affix && *affix) return unsupported(r, affixes[i], affix);
    }
    const json_t *dropout = json_object_get(r->model, "dropout");
    if (json_is_number(dropout) && json_number_value(dropout) != 0)
        log_line(r->ctx, INGOT_LOG_WARNING, "%s: merge dropout is left out: encoding is never random here", r->name);
    r->parts.ignore_merges = json_is_true(json_object_get(r->model, "ignore_merges"));
    r->parts.unknown = json_string_value(json_object_get(r->model, "unk_token"));
    TRY(read_vocab(r, added_count));
    return read_merges(r);
}

/* ---- added tokens ---- */

static status read_added(reading *r)
{
    const json_t *list = json_object_get(r->root, "added_tokens");
    if (!list || json_is_null(list)) return INGOT_OK;
    if (!json_is_array(list)) return broken(r, "added_tokens", "an array");
    size_t count = json_array_size(list);
    if (count >= TOKENIZER_MOST_IDS) return broken(r, "added_tokens", "shorter");
    added_token *tokens = ARENA_ARRAY(r->arena, added_token, count + 1);
    if (!tokens) return out_of_memory(r);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i), *content = json_object_get(item, "content");
        if (!json_string_length(content)) return broken(r, "each added token's content", "a string that is not empty");
        added_token *token = &tokens[i];
        token->content = json_string_value(content);
        token->length = json_string_length(content);
        TRY(read_id(r, token->content, json_object_get(item, "id"), &token->id));
        token->special = is_set(item, "special");
        token->normalized = json_object_get(item, "normalized") ? is_set(item, "normalized") : !token->special;
        token->single_word = is_set(item, "single_word");
        token->lstrip = is_set(item, "lstrip");
        token->rstrip = is_set(item, "rstrip");
    }
    r->parts.added = tokens;
    r->parts.added_count = (int)count;
    return INGOT_OK;
}

/* ---- normalizer and pre-tokenizer ---- */

static status read_normalizer(reading *r, const json_t *n, int depth)
{
    static const char *const forms[] = {"", "NFC", "NFD", "NFKC", "NFKD"}; /* in the order of normal_form */
    if (!n || json_is_null(n)) return INGOT_OK;
    const char *type = type_of(n);
    if (!strcmp(type, "Sequence") && depth < 4) {
        const json_t *list = json_object_get(n, "normalizers");
        if (!json_is_array(list)) return broken(r, "normalizer.normalizers", "an array");
        for (size_t i = 0; i < json_array_size(list); i++) TRY(read_normalizer(r, json_array_get(list, i), depth + 1));
        return INGOT_OK;
    }
    for (size_t i = 1; i < COUNT(forms); i++) {
        if (strcmp(type, forms[i])) continue;
        if (r->parts.normal != NORMAL_NONE) return unsupported(r, "a second normalizer", type);
        r->parts.normal = (normal_form)i;
        return INGOT_OK;
    }
    return unsupported(r, "a normalizer of type", type);
}

static status add_step(reading *r, split_step step)
{
    if (r->parts.step_count == SPLIT_STEPS) return unsupported(r, "a pre-tokenizer of so many steps as", "Sequence");
    r->parts.steps[r->parts.step_count++] = step;
    return INGOT_OK;
}

/* Pieces must keep every byte, so matches may be cut out ("Isolated") but not dropped. A pattern that matches what is
 * to be kept ("Removed", inverted: cl100k's conversions) matches everything, so isolating is the same. */
static status read_split(reading *r, const json_t *p)
{
    const char *behavior = json_string_value(json_object_get(p, "behavior"));
    bool inverted = is_set(p, "invert");
    if (!behavior) return broken(r, "the pre-tokenizer's behavior", "a string");
    if (strcmp(behavior, "Isolated") && !(inverted && !strcmp(behavior, "Removed")))
        return unsupported(r, "a pre-tokenizer that splits with behavior", behavior);
    const json_t *pattern = json_object_get(p, "pattern"), *expression = json_object_get(pattern, "Regex");
    const json_t *value = expression ? expression : json_object_get(pattern, "String");
    if (!json_is_string(value))
        return broken(r, "the pre-tokenizer's pattern", "{\"Regex\": \"...\"} or {\"String\": \"...\"}");
    return add_step(r, (split_step){.kind = expression ? STEP_REGEX : STEP_LITERAL,
                                    .pattern = json_string_value(value),
                                    .length = json_string_length(value)});
}

static status read_byte_level(reading *r, const json_t *p)
{
    if (is_set(p, "add_prefix_space")) return unsupported(r, "a pre-tokenizer with", "add_prefix_space");
    const json_t *use_regex = json_object_get(p, "use_regex");
    if (json_is_false(use_regex)) return INGOT_OK;
    split_step gpt2[SPLIT_STEPS];
    split_known_steps("gpt-2", gpt2);
    return add_step(r, gpt2[0]);
}

static status read_pre_tokenizer(reading *r, const json_t *p, int depth, bool *byte_level)
{
    const char *type = type_of(p);
    if (*byte_level) return unsupported(r, "after ByteLevel, a pre-tokenizer of type", type);
    if (!strcmp(type, "Sequence") && depth < 4) {
        const json_t *list = json_object_get(p, "pretokenizers");
        if (!json_is_array(list)) return broken(r, "pre_tokenizer.pretokenizers", "an array");
        for (size_t i = 0; i < json_array_size(list); i++)
            TRY(read_pre_tokenizer(r, json_array_get(list, i), depth + 1, byte_level));
        return INGOT_OK;
    }
    if (!strcmp(type, "Split")) return read_split(r, p);
    if (!strcmp(type, "Digits"))
        return add_step(
            r, (split_step){.kind = is_set(p, "individual_digits") ? STEP_DIGITS_ALONE : STEP_DIGITS_TOGETHER});
    if (strcmp(type, "ByteLevel")) return unsupported(r, "a pre-tokenizer of type", *type ? type : "null");
    *byte_level = true;
    return read_byte_level(r, p);
}

/* ---- the file ---- */

static status keep_json(reading *r, const char *key, const char **out)
{
    const json_t *value = json_object_get(r->root, key);
    if (!value || json_is_null(value)) return INGOT_OK;
    char *dumped = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    *out = dumped ? arena_strdup(r->arena, dumped) : NULL;
    free(dumped);
    return *out ? INGOT_OK : out_of_memory(r);
}

static status read_root(reading *r)
{
    if (!json_is_object(r->root)) return broken(r, "the file", "a JSON object");
    r->parts.name = r->name;
    TRY(read_added(r));
    TRY(read_model(r, (size_t)r->parts.added_count));
    TRY(read_normalizer(r, json_object_get(r->root, "normalizer"), 0));
    bool byte_level = false;
    TRY(read_pre_tokenizer(r, json_object_get(r->root, "pre_tokenizer"), 0, &byte_level));
    if (!byte_level) return unsupported(r, "a pre-tokenizer without", "ByteLevel");
    TRY(keep_json(r, "normalizer", &r->parts.json_normalizer));
    TRY(keep_json(r, "pre_tokenizer", &r->parts.json_pre_tokenizer));
    TRY(keep_json(r, "post_processor", &r->parts.json_post_processor));
    return keep_json(r, "decoder", &r->parts.json_decoder);
}

static status parse(context *ctx, const char *json, size_t bytes, const char *name, const char *eot, tokenizer **out)
{
    json_t *root;
    status read = json_read(ctx, name, json, bytes, &root);
    if (read == INGOT_ERROR_FORMAT)
        return ingot_fail(ctx, read, "%s: not a tokenizer.json; 'ingot tokenizer train' makes one from text",
                          ingot_message(ctx));
    if (read) return read;
    reading r = {.ctx = ctx, .arena = arena_new(), .name = name, .root = root, .parts = {.eot = eot}};
    status s = r.arena ? read_root(&r) : out_of_memory(&r);
    if (!s) s = tokenizer_build(ctx, &r.parts, out);
    arena_free(r.arena);
    json_decref(root);
    return s;
}

ingot_status ingot_tokenizer_parse(ingot_context *ctx, const char *json, int64_t bytes, const char *name,
                                   ingot_tokenizer **out)
{
    *out = NULL;
    if (bytes < 0 || bytes > MOST_BYTES)
        return ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s has %lld bytes; a tokenizer.json has at most %lld", name,
                          (long long)bytes, (long long)MOST_BYTES);
    return parse(ctx, json, (size_t)bytes, name, NULL, out);
}

/* eos_token of the folder's tokenizer_config.json, "..." or {"content": "..."}; NULL when it names none. */
static char *named_eot(context *ctx, const char *folder)
{
    char *path = path_join(folder, "tokenizer_config.json"), *named = NULL;
    if (path && file_exists(path)) { /* a broken one is for those who need it to complain about */
        json_t *root = NULL;
        json_read_file(ctx, path, JSON_MOST_BYTES, &root);
        const json_t *eos = json_object_get(root, "eos_token");
        const char *content = json_string_value(json_is_object(eos) ? json_object_get(eos, "content") : eos);
        if (content) named = strdup(content);
        json_decref(root);
    }
    free(path);
    return named;
}

ingot_status ingot_tokenizer_load(ingot_context *ctx, const char *path, ingot_tokenizer **out)
{
    *out = NULL;
    bool folder = directory_exists(path);
    char *file = folder ? path_join(path, "tokenizer.json") : strdup(path);
    if (!file) return fail_memory(ctx, path, strlen(path));
    char *eot = folder ? named_eot(ctx, path) : NULL;
    text json = {0};
    status s = file_read_whole(ctx, file, JSON_MOST_BYTES, &json);
    if (!s) s = parse(ctx, json.at ? json.at : "", json.length, file, eot, out);
    text_free(&json);
    free(eot);
    free(file);
    return s;
}
