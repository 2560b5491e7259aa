/* Walks over the tables. */
#include "cli/walk.h"

static void walk_from(const verb *const *verbs, const char *before, verb_visitor *see, void *user)
{
    for (; *verbs; verbs++) {
        text words = {0};
        text_printf(&words, "%s%s%s", before, *before ? " " : "", (*verbs)->name);
        if (!words.failed) {
            see(*verbs, words.at, user);
            walk_from((*verbs)->verbs, words.at, see, user);
        }
        text_free(&words);
    }
}

void walk_verbs(verb_visitor *see, void *user)
{
    walk_from(all_verbs, "", see, user);
}

void walk_options(const verb *v, const char *words, option_visitor *see)
{
    if (!v->run) return;
    for (size_t t = 0; t < COUNT(v->options) && v->options[t].at; t++)
        for (size_t i = 0; i < v->options[t].count; i++) see(&v->options[t].at[i], v->options[t].title, words);
    for (size_t i = 0; i < common_table.count; i++) see(&common_table.at[i], common_table.title, words);
}
