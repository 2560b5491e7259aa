/* Tells, reads and measures stories from the one grammar of stories_grammar.c.
 *
 * All three walk the same beats and ask the same two functions what a choice costs (line_bits, draw_bits), so that a
 * story told with n bits is read with n bits.
 */
#include "data/stories.h"
#include "base/rng.h"
#include "ingot/data.h"

#include <ctype.h>
#include <math.h>

typedef struct memory {
    int16_t word[STORY_REGISTERS]; /* -1: the register holds nothing yet */
} memory;

typedef struct slot {
    int reg;
    bool draws;
    char form[8];
    const char *after; /* the template behind the slot */
} slot;

static memory memory_empty(void)
{
    memory m;
    for (int i = 0; i < STORY_REGISTERS; i++) m.word[i] = -1;
    return m;
}

/* `at` stands on the brace of "{+x:a}". The grammar is ours: that it is well-formed is a test, not a check here. */
static slot slot_read(const char *at)
{
    slot s = {0};
    at++;
    if (*at == '+') s.draws = true, at++;
    while (s.reg < STORY_REGISTERS - 1 && story_registers[s.reg].letter != *at) s.reg++;
    at++;
    size_t form = *at == ':' ? 1 : 0, length = strcspn(at, "}");
    memcpy(s.form, at + form, MIN(length - form, sizeof s.form - 1));
    s.after = at + length + 1;
    return s;
}

static bool is_held(const memory *m, const story_list *list, int word)
{
    for (int i = 0; i < STORY_REGISTERS; i++)
        if (story_registers[i].list == list && m->word[i] == word) return true;
    return false;
}

static int free_words(const memory *m, const story_list *list)
{
    int held = 0;
    for (int i = 0; i < STORY_REGISTERS; i++) held += story_registers[i].list == list && m->word[i] >= 0;
    return list->count - held; /* draws never repeat a held word, so held words differ */
}

static double draw_bits(const memory *m, int reg)
{
    return log2(free_words(m, story_registers[reg].list));
}

/* A line can be told when each register that it repeats was drawn before, in an earlier line or in this one. */
static bool is_tellable(const memory *m, const char *line)
{
    unsigned drawn = 0;
    for (const char *at = line; (at = strchr(at, '{'));) {
        slot s = slot_read(at);
        if (s.draws)
            drawn |= 1u << s.reg;
        else if (m->word[s.reg] < 0 && !(drawn >> s.reg & 1))
            return false;
        at = s.after;
    }
    return true;
}

static double line_share(const memory *m, const story_beat *beat, int line)
{
    double total = 0;
    for (int i = 0; i < beat->count; i++)
        if (is_tellable(m, beat->lines[i].text)) total += beat->lines[i].weight;
    return is_tellable(m, beat->lines[line].text) ? beat->lines[line].weight / total : 0;
}

/* The word as it stands in the story: "her" for Anna's {a:his}, "an old" for {x:a}. Returns its length. */
static int inflect(const slot *s, int index, char out[32])
{
    const story_word *word = &story_registers[s->reg].list->words[index];
    const char *form = word->text, *article = "";
    if (!strcmp(s->form, "a")) article = strchr("aeiou", form[0]) ? "an " : "a ";
    if (!strcmp(s->form, "He")) form = word->female ? "She" : "He";
    if (!strcmp(s->form, "his")) form = word->female ? "her" : "his";
    if (!strcmp(s->form, "It")) form = word->plural ? "They" : "It";
    if (!strcmp(s->form, "was")) form = word->plural ? "were" : "was";
    size_t article_length = strlen(article), length = strlen(form);
    memcpy(out, article, article_length);
    memcpy(out + article_length, form, length);
    return (int)(article_length + length);
}

/* ---- telling ---- */

typedef struct teller {
    rng dice;
    memory m;
    double bits;
    char *out;
    int64_t length, capacity;
} teller;

static void say(teller *t, const char *bytes, int64_t count)
{
    count = MIN(count, t->capacity - t->length);
    memcpy(t->out + t->length, bytes, (size_t)count);
    t->length += count;
}

static void draw(teller *t, int reg)
{
    const story_list *list = story_registers[reg].list;
    int pick = (int)rng_below(&t->dice, (uint32_t)free_words(&t->m, list)), word = 0;
    for (;; word++)
        if (!is_held(&t->m, list, word) && pick-- == 0) break;
    t->bits += draw_bits(&t->m, reg);
    t->m.word[reg] = (int16_t)word;
}

static void tell_line(teller *t, const char *at)
{
    if (t->length) say(t, " ", 1);
    while (*at) {
        size_t plain = strcspn(at, "{");
        say(t, at, (int64_t)plain);
        at += plain;
        if (!*at) break;
        slot s = slot_read(at);
        if (s.draws) draw(t, s.reg);
        char word[32];
        say(t, word, inflect(&s, t->m.word[s.reg], word));
        at = s.after;
    }
}

static int pick_line(teller *t, const story_beat *beat)
{
    double point = rng_uniform(&t->dice);
    int picked = 0;
    for (int i = 0; i < beat->count; i++) {
        double share = line_share(&t->m, beat, i);
        if (share <= 0) continue;
        picked = i;
        if (point < share) break;
        point -= share;
    }
    t->bits -= log2(line_share(&t->m, beat, picked));
    return picked;
}

int64_t ingot_story(uint64_t seed, uint64_t index, char out[INGOT_STORY_BYTES], double *bits)
{
    teller t = {.dice = rng_make(seed, index), .m = memory_empty(), .out = out, .capacity = INGOT_STORY_BYTES - 1};
    for (int b = 0; b < story_beat_count; b++) {
        const story_beat *beat = &story_beats[b];
        for (int said = 0; said < beat->most; said++) {
            bool more = rng_uniform(&t.dice) < beat->more;
            t.bits -= log2(more ? beat->more : 1 - beat->more);
            if (!more) break;
            tell_line(&t, beat->lines[pick_line(&t, beat)].text);
        }
    }
    out[t.length] = 0;
    if (bits) *bits = t.bits;
    return t.length;
}

/* ---- reading ---- */

typedef struct reading {
    const char *text;
    int64_t length;
    int derivations;
    double probability, bits; /* of all derivations together; of the first */
} reading;

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool starts(const reading *r, int64_t at, const char *bytes, int64_t count)
{
    return count <= r->length - at && !memcmp(r->text + at, bytes, (size_t)count);
}

/* The word of the slot that stands at `at`, or -1. Words of a list end where letters end, so at most one fits. */
static int word_at(const reading *r, int64_t at, const slot *s, const memory *m, int *length)
{
    const story_list *list = story_registers[s->reg].list;
    for (int word = 0; word < list->count; word++) {
        if (s->draws ? is_held(m, list, word) : m->word[s->reg] != word) continue;
        char form[32];
        *length = inflect(s, word, form);
        int64_t end = at + *length;
        if (starts(r, at, form, *length) && !(end < r->length && is_letter(r->text[end]))) return word;
    }
    return -1;
}

/* Matches one line from *at on; *m and *bits become what they are behind it. */
static bool read_line(const reading *r, const char *line, int64_t *at, memory *m, double *bits)
{
    if (*at && !starts(r, (*at)++, " ", 1)) return false;
    while (*line) {
        int64_t plain = (int64_t)strcspn(line, "{");
        if (!starts(r, *at, line, plain)) return false;
        *at += plain;
        line += plain;
        if (!*line) break;
        slot s = slot_read(line);
        int length, word = word_at(r, *at, &s, m, &length);
        if (word < 0) return false;
        if (s.draws) *bits += draw_bits(m, s.reg);
        m->word[s.reg] = (int16_t)word;
        *at += length;
        line = s.after;
    }
    return true;
}

static void read_beats(reading *r, int b, int said, int64_t at, const memory *m, double bits)
{
    if (b == story_beat_count) {
        if (at != r->length) return;
        if (!r->derivations++) r->bits = bits;
        r->probability += exp2(-bits);
        return;
    }
    const story_beat *beat = &story_beats[b];
    if (said == beat->most) {
        read_beats(r, b + 1, 0, at, m, bits);
        return;
    }
    if (beat->more < 1) read_beats(r, b + 1, 0, at, m, bits - log2(1 - beat->more));
    for (int i = 0; i < beat->count; i++) {
        memory then = *m;
        int64_t end = at;
        double cost = bits - log2(beat->more);
        double share = line_share(m, beat, i);
        if (share <= 0) continue;
        cost -= log2(share);
        if (read_line(r, beat->lines[i].text, &end, &then, &cost)) read_beats(r, b, said + 1, end, &then, cost);
    }
}

int story_derivations(const char *story, int64_t bytes, double *bits)
{
    reading r = {.text = story, .length = bytes};
    memory m = memory_empty();
    read_beats(&r, 0, 0, 0, &m, 0);
    *bits = r.derivations == 1 ? r.bits : r.derivations ? -log2(r.probability) : INFINITY;
    return r.derivations;
}

int ingot_story_accepts(const char *story, int64_t bytes, double *bits)
{
    while (bytes && isspace((unsigned char)story[bytes - 1])) bytes--;
    while (bytes && isspace((unsigned char)*story)) story++, bytes--;
    double found;
    int accepted = story_derivations(story, bytes, &found) > 0;
    if (bits) *bits = found;
    return accepted;
}

/* ---- measuring ---- */

/* What a line costs depends only on which registers hold something, never on which words: any free word will do. */
static double hold_any(memory *m, const char *line)
{
    double bits = 0;
    for (const char *at = line; (at = strchr(at, '{'));) {
        slot s = slot_read(at);
        if (s.draws) {
            const story_list *list = story_registers[s.reg].list;
            int word = 0;
            while (is_held(m, list, word)) word++;
            bits += draw_bits(m, s.reg);
            m->word[s.reg] = (int16_t)word;
        }
        at = s.after;
    }
    return bits;
}

static double entropy_from(int b, int said, const memory *m)
{
    if (b == story_beat_count) return 0;
    const story_beat *beat = &story_beats[b];
    if (said == beat->most) return entropy_from(b + 1, 0, m);
    double entropy = 0;
    if (beat->more < 1) entropy += (1 - beat->more) * (entropy_from(b + 1, 0, m) - log2(1 - beat->more));
    for (int i = 0; i < beat->count; i++) {
        double share = line_share(m, beat, i), p = beat->more * share;
        if (p <= 0) continue;
        memory then = *m;
        double drawn = hold_any(&then, beat->lines[i].text);
        entropy += p * (drawn - log2(p) + entropy_from(b, said + 1, &then));
    }
    return entropy;
}

double ingot_story_entropy(void)
{
    memory m = memory_empty();
    return entropy_from(0, 0, &m);
}
