/* The parts of `ingot data`. */
#ifndef CLI_DATA_H
#define CLI_DATA_H

#include "cli/verb.h"

extern const verb data_show_verb, data_stories_verb, data_images_verb;

#endif
