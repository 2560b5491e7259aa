/* The story grammar: what its parts are. stories_grammar.c holds the grammar, stories.c tells, reads and measures.
 *
 * A story is a run of beats; each beat says a line, some several times, some perhaps not at all. A line is text with
 * slots: {+a} draws a word into register a, {a} repeats it, {a:his} gives a form that agrees with it. A draw never
 * gives a word that a register holds, and a line whose registers hold nothing yet cannot be chosen: that is all the
 * memory a story has, and what makes its probability a product that telling and reading compute alike.
 */
#ifndef DATA_STORIES_H
#define DATA_STORIES_H

#include "base/base.h"

typedef struct story_word {
    const char *text;
    bool female, plural;
} story_word;

typedef struct story_list {
    const story_word *words;
    int count;
} story_list;

/* Registers are named by letters in lines; each draws from one list. */
typedef struct story_register {
    char letter;
    const story_list *list;
} story_register;

typedef struct story_line {
    double weight; /* against the other lines of the beat that can be chosen at that point */
    const char *text;
} story_line;

typedef struct story_beat {
    const story_line *lines;
    int count;
    int most;    /* lines that this beat says at most */
    double more; /* probability of saying each of them; 1: always */
} story_beat;

enum { STORY_REGISTERS = 8 };
extern const story_register story_registers[STORY_REGISTERS];
extern const story_beat story_beats[];
extern const int story_beat_count;

/* How many derivations `story` has: 0 when the grammar cannot tell it, 1 otherwise (the grammar is unambiguous: a test
 * holds it). *bits is -log2 of the summed probability. */
int story_derivations(const char *story, int64_t bytes, double *bits);

#endif
