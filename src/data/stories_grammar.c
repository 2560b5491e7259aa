/* The grammar of the embedded corpus: two friends, a thing, some places. Nothing here computes; see stories.h.
 *
 * Small on purpose: a model of a million parameters learns all of it in minutes, and then its loss can be held against
 * the exact entropy. What makes it more than n-grams: names, things and places come back sentences later.
 */
#include "data/stories.h"

#define LIST(name, ...)                                                                                                \
    static const story_word name##_words[] = {__VA_ARGS__};                                                            \
    static const story_list name = {name##_words, COUNT(name##_words)}
/* clang-format off */
#define SHE(word) {.text = word, .female = true}
#define HE(word)  {.text = word}
#define ONE(word) {.text = word}
#define FEW(word) {.text = word, .plural = true}
/* clang-format on */

LIST(names, SHE("Anna"), SHE("Bella"), SHE("Clara"), SHE("Daisy"), SHE("Ella"), SHE("Flora"), SHE("Grace"),
     SHE("Hanna"), SHE("Ida"), SHE("Julia"), SHE("Kate"), SHE("Lily"), SHE("Mia"), SHE("Nora"), SHE("Rosa"), SHE("Zoe"),
     HE("Adam"), HE("Ben"), HE("Carl"), HE("David"), HE("Eric"), HE("Felix"), HE("Greg"), HE("Hugo"), HE("Ivan"),
     HE("Jack"), HE("Leo"), HE("Max"), HE("Noah"), HE("Oscar"), HE("Paul"), HE("Tom"));

LIST(things, ONE("ball"), ONE("basket"), ONE("bell"), ONE("boat"), ONE("book"), ONE("bottle"), ONE("bowl"), ONE("box"),
     ONE("brush"), ONE("bucket"), ONE("button"), ONE("candle"), ONE("cap"), ONE("chair"), ONE("clock"), ONE("coin"),
     ONE("comb"), ONE("cup"), ONE("doll"), ONE("drum"), ONE("feather"), ONE("flag"), ONE("flute"), ONE("fork"),
     ONE("glove"), ONE("hat"), ONE("jar"), ONE("key"), ONE("kite"), ONE("ladder"), ONE("lamp"), ONE("map"), ONE("mask"),
     ONE("mirror"), ONE("nest"), ONE("pencil"), ONE("pillow"), ONE("pot"), ONE("puppet"), ONE("ring"), ONE("rope"),
     ONE("scarf"), ONE("shell"), ONE("spoon"), ONE("stone"), ONE("toy"), ONE("umbrella"), ONE("whistle"));

LIST(places, ONE("bakery"), ONE("barn"), ONE("beach"), ONE("bridge"), ONE("castle"), ONE("cave"), ONE("church"),
     ONE("cliff"), ONE("farm"), ONE("field"), ONE("forest"), ONE("fountain"), ONE("garden"), ONE("gate"), ONE("harbor"),
     ONE("hill"), ONE("inn"), ONE("island"), ONE("lake"), ONE("library"), ONE("market"), ONE("meadow"), ONE("mill"),
     ONE("orchard"), ONE("pond"), ONE("river"), ONE("school"), ONE("station"), ONE("tower"), ONE("valley"),
     ONE("village"), ONE("well"));

LIST(looks, ONE("black"), ONE("blue"), ONE("bright"), ONE("brown"), ONE("clean"), ONE("cold"), ONE("dark"),
     ONE("dirty"), ONE("dry"), ONE("dusty"), ONE("empty"), ONE("golden"), ONE("gray"), ONE("green"), ONE("hard"),
     ONE("heavy"), ONE("huge"), ONE("old"), ONE("orange"), ONE("pink"), ONE("pretty"), ONE("purple"), ONE("red"),
     ONE("shiny"), ONE("silver"), ONE("soft"), ONE("sticky"), ONE("tiny"), ONE("ugly"), ONE("warm"), ONE("white"),
     ONE("yellow"));

LIST(foods, FEW("apples"), FEW("beans"), FEW("berries"), ONE("bread"), FEW("buns"), ONE("cake"), FEW("carrots"),
     ONE("cheese"), FEW("cookies"), FEW("eggs"), ONE("fish"), FEW("grapes"), ONE("honey"), ONE("jam"), FEW("noodles"),
     FEW("nuts"), FEW("pancakes"), FEW("pears"), ONE("pie"), FEW("plums"), ONE("pudding"), ONE("rice"), ONE("salad"),
     ONE("soup"));

LIST(feelings, ONE("afraid"), ONE("angry"), ONE("calm"), ONE("curious"), ONE("excited"), ONE("glad"), ONE("happy"),
     ONE("hungry"), ONE("lonely"), ONE("merry"), ONE("proud"), ONE("sad"), ONE("shy"), ONE("sleepy"), ONE("surprised"),
     ONE("tired"));

const story_register story_registers[STORY_REGISTERS] = {
    {'a', &names},  /* who the story is about */
    {'b', &names},  /* the friend */
    {'p', &places}, /* where they live */
    {'q', &places}, /* where the thing was left */
    {'t', &things}, {'x', &looks}, {'f', &foods}, {'m', &feelings},
};

static const story_line opening[] = {
    {1, "{+a} lived near the {+p} with {a:his} friend {+b}."},
};
static const story_line finding[] = {
    {7, "One day {a} found {+x:a} {+t} by the {p}."},
    {3, "{a} had {+x:a} {+t}."},
};
static const story_line liking[] = {
    {1, "{a:He} liked the {x} {t} very much."},
};
static const story_line happening[] = {
    {1, "\"May I hold the {t}?\" asked {b}. \"Yes,\" said {a}."},
    {1, "\"May I hold the {t}?\" asked {b}. \"No,\" said {a}."},
    {2, "They ate {+f}. {f:It} {f:was} so good that {a} gave {b} some {f} to take home."},
    {2, "Then the {t} turned {+x}, and {b} was {+m} to see {x:a} {t}."},
    {2, "{b} carried the {t} to the {+q}. {b:He} left it at the {q}."},
};
static const story_line ending[] = {
    {2, "At last {a} and {b} were {+m}."},
    {2, "{a} thanked {b} and went home from the {p}."},
    {1, "{a} went to the {q} and brought the {t} back."},
};

#define BEAT(list, most_lines, probability)                                                                            \
    {                                                                                                                  \
        list, COUNT(list), .most = most_lines, .more = probability                                                     \
    }
const story_beat story_beats[] = {
    BEAT(opening, 1, 1), BEAT(finding, 1, 1), BEAT(liking, 1, .5), BEAT(happening, 3, .6), BEAT(ending, 1, 1),
};
const int story_beat_count = COUNT(story_beats);
