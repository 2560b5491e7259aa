/* The reference in other forms than roff. */
#ifndef CLI_MAN_H
#define CLI_MAN_H

void man_markdown(void); /* to standard output */

#endif
