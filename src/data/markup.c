/* A strip of known tags, not a parser of HTML: it must leave code and mathematics alone. See markup.h. */
#include "data/markup.h"

#include <utf8proc.h>

enum { LONGEST_TAG = 4096, LONGEST_NAME = 10 };

/* Sorted, for bsearch. Tags that end a line become a line end. */
static const struct tag {
    char name[LONGEST_NAME + 1];
    bool breaks, hides; /* hides: what stands up to its end tag is no text */
} tags[] = {
    {"a", 0, 0},          {"abbr", 0, 0},       {"article", 1, 0}, {"aside", 1, 0},   {"b", 0, 0},
    {"big", 0, 0},        {"blockquote", 1, 0}, {"body", 1, 0},    {"br", 1, 0},      {"button", 0, 0},
    {"center", 1, 0},     {"cite", 0, 0},       {"code", 0, 0},    {"col", 0, 0},     {"dd", 1, 0},
    {"del", 0, 0},        {"div", 1, 0},        {"dl", 1, 0},      {"dt", 1, 0},      {"em", 0, 0},
    {"figcaption", 1, 0}, {"figure", 1, 0},     {"font", 0, 0},    {"footer", 1, 0},  {"form", 1, 0},
    {"h1", 1, 0},         {"h2", 1, 0},         {"h3", 1, 0},      {"h4", 1, 0},      {"h5", 1, 0},
    {"h6", 1, 0},         {"head", 1, 0},       {"header", 1, 0},  {"hr", 1, 0},      {"html", 1, 0},
    {"i", 0, 0},          {"iframe", 1, 0},     {"img", 0, 0},     {"input", 0, 0},   {"ins", 0, 0},
    {"label", 0, 0},      {"li", 1, 0},         {"link", 0, 0},    {"main", 1, 0},    {"meta", 0, 0},
    {"nav", 1, 0},        {"noscript", 1, 0},   {"ol", 1, 0},      {"option", 1, 0},  {"p", 1, 0},
    {"pre", 1, 0},        {"q", 0, 0},          {"script", 0, 1},  {"section", 1, 0}, {"select", 1, 0},
    {"small", 0, 0},      {"span", 0, 0},       {"strong", 0, 0},  {"style", 0, 1},   {"sub", 0, 0},
    {"sup", 0, 0},        {"svg", 0, 1},        {"table", 1, 0},   {"tbody", 0, 0},   {"td", 0, 0},
    {"tfoot", 0, 0},      {"th", 0, 0},         {"thead", 0, 0},   {"title", 1, 0},   {"tr", 1, 0},
    {"tt", 0, 0},         {"u", 0, 0},          {"ul", 1, 0},      {"video", 1, 0},
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static bool is_name(char c)
{
    return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9');
}

static int compare_tags(const void *name, const void *entry)
{
    return strcmp(name, ((const struct tag *)entry)->name);
}

/* "x <b && c> y" is no tag and "x <p and q> y" hardly one: attributes begin with a letter, those of a tag of one letter
 * have values. */
static bool are_attributes(const char *at, int64_t length, int name_length)
{
    int64_t i = 0;
    while (i < length && strchr(" \n\t/", at[i]) && at[i]) i++;
    if (i == length) return true;
    return lower(at[i]) >= 'a' && lower(at[i]) <= 'z' && (name_length > 1 || memchr(at, '=', (size_t)length));
}

/* The tag at `at` ("<" of it), its length with ">", whether it is an end tag; NULL when it is none. */
static const struct tag *tag_at(const char *at, int64_t left, int64_t *length, bool *end)
{
    int64_t i = 1;
    *end = i < left && at[i] == '/';
    i += *end;
    char name[LONGEST_NAME + 1] = {0};
    int n = 0;
    for (; i < left && is_name(at[i]) && n < LONGEST_NAME; i++) name[n++] = lower(at[i]);
    if (i == left || !n || !(at[i] == '>' || at[i] == '/' || at[i] == ' ' || at[i] == '\n' || at[i] == '\t'))
        return NULL;
    int64_t attributes = i;
    while (i < MIN(left, LONGEST_TAG) && at[i] != '>' && at[i] != '<') i++;
    if (i >= MIN(left, LONGEST_TAG) || at[i] != '>' || !are_attributes(at + attributes, i - attributes, n)) return NULL;
    *length = i + 1;
    return bsearch(name, tags, COUNT(tags), sizeof tags[0], compare_tags);
}

/* Where what `tag` hides is over, counted from `at`, which is behind it; without an end tag nothing is hidden. */
static int64_t hidden_length(const struct tag *tag, const char *at, int64_t left)
{
    for (int64_t i = 0; i + 1 < left; i++) {
        int64_t length;
        bool end;
        if (at[i] == '<' && at[i + 1] == '/' && tag_at(at + i, left - i, &length, &end) == tag) return i + length;
    }
    return 0;
}

static int64_t comment_length(const char *at, int64_t left)
{
    if (left < 7 || memcmp(at, "<!--", 4)) return 0;
    for (int64_t i = 4; i + 2 < left; i++)
        if (at[i] == '-' && at[i + 1] == '-' && at[i + 2] == '>') return i + 3;
    return 0;
}

/* Decodes the entity at `at` ("&" of it) into out; returns its length, 0 when it is none. */
static int64_t entity_at(const char *at, int64_t left, char out[4], int64_t *out_bytes)
{
    static const struct {
        const char *name, *is;
    } named[] = {{"&amp;", "&"},         {"&lt;", "<"},         {"&gt;", ">"},         {"&quot;", "\""},
                 {"&apos;", "'"},        {"&nbsp;", " "},       {"&mdash;", "\u2014"}, {"&ndash;", "\u2013"},
                 {"&hellip;", "\u2026"}, {"&lsquo;", "\u2018"}, {"&rsquo;", "\u2019"}, {"&ldquo;", "\u201c"},
                 {"&rdquo;", "\u201d"}};
    for (size_t i = 0; i < COUNT(named); i++) {
        int64_t length = (int64_t)strlen(named[i].name);
        if (length > left || memcmp(at, named[i].name, (size_t)length)) continue;
        *out_bytes = (int64_t)strlen(named[i].is);
        memcpy(out, named[i].is, (size_t)*out_bytes);
        return length;
    }
    if (left < 4 || at[1] != '#') return 0;
    bool hex = lower(at[2]) == 'x';
    int32_t point = 0;
    int64_t i = hex ? 3 : 2, first = i;
    for (; i < left && i - first < 7 && is_name(at[i]); i++) {
        char c = lower(at[i]);
        int digit = c <= '9' ? c - '0' : c - 'a' + 10;
        if (digit >= (hex ? 16 : 10)) return 0;
        point = point * (hex ? 16 : 10) + digit;
    }
    bool visible = (point >= 0xA0 || (point >= ' ' && point < 0x7F)) && utf8proc_codepoint_valid(point);
    if (i == first || i == left || at[i] != ';' || !visible) return 0;
    *out_bytes = utf8proc_encode_char(point, (utf8proc_uint8_t *)out);
    return i + 1;
}

int64_t markup_strip(text *t)
{
    char *bytes = t->at;
    int64_t count = (int64_t)t->length, out = 0;
    bool comments_end = true, never_ends[COUNT(tags)] = {0}; /* one search that finds no end is enough */
    for (int64_t i = 0; i < count;) {
        int64_t length = 0, made = 0;
        bool end = false;
        char entity[4];
        const struct tag *tag = NULL;
        if (bytes[i] == '<') {
            if (comments_end && count - i >= 4 && !memcmp(bytes + i, "<!--", 4)) {
                length = comment_length(bytes + i, count - i);
                comments_end = length > 0;
            } else {
                tag = tag_at(bytes + i, count - i, &length, &end);
                if (!tag) length = 0;
            }
            if (tag && tag->hides && !end && !never_ends[tag - tags]) {
                int64_t hidden = hidden_length(tag, bytes + i + length, count - i - length);
                never_ends[tag - tags] = !hidden;
                length += hidden;
            }
        } else if (bytes[i] == '&') {
            length = entity_at(bytes + i, count - i, entity, &made);
        }
        if (!length) {
            bytes[out++] = bytes[i++];
            continue;
        }
        i += length;
        memcpy(bytes + out, entity, (size_t)made);
        out += made;
        if (tag && tag->breaks && out && bytes[out - 1] != '\n') bytes[out++] = '\n';
    }
    t->length = (size_t)out;
    bytes[out] = 0;
    return count - out;
}
