/* The program: finds the verb and runs it. */
#include "ingot/context.h"

#include <stdio.h>

int main(void)
{
    puts(ingot_version());
    return 0;
}
