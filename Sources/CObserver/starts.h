/*
 * starts.h: which program an exec starts, and what its file says: dynamic, static, for another machine, privileged.
 */
#ifndef OBSERVER_STARTS_H
#define OBSERVER_STARTS_H

#include "evidence.h"

enum start { START_PLAIN, START_FOREIGN, START_PRIVILEGED };

/* Notes the program behind `path`, scripts followed to their interpreters. Relative paths start at `base`. `program`: NULL if
   the kernel will find none, or there is no place for it. */
enum start starts_note(int base, const char *path, struct evidence_program **program);

#endif
