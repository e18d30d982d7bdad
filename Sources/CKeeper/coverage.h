/*
 * coverage.h: whether a program can be covered, decided before anything is started. What is not known to be coverable
 * is refused: a program that the loader starts without the library would write unseen.
 *
 *     CMD -> file in PATH -> script? its interpreter (and what env starts) -> dynamic program of this machine, with
 *     glibc's loader, without privileges of its own -> the loader itself is asked whether it takes the library
 */
#ifndef KEEPER_COVERAGE_H
#define KEEPER_COVERAGE_H

#include <linux/limits.h>
#include <stdbool.h>

/* The file that a command's name means; ends the process with 126 or 127 and a line if there is none. */
void coverage_find(const char *name, char program[PATH_MAX]);

/*
 * Ends the keeper with 126 or 127 and a line if CMD or the library will not do; gives CMD's file. False: only the guard
 * covers it. `guarded`: static programs may run; `privileged`: those that gain privileges too.
 */
bool coverage_check(const char *command, const char *library, bool guarded, bool privileged, char program[PATH_MAX]);

#endif
