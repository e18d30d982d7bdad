/*
 * program.h: what the ELF header of a file says, and what the loader says about the library.
 */
#ifndef KEEPER_PROGRAM_H
#define KEEPER_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

/* A dynamic program of this machine that glibc's loader starts. On failure `why` ends a sentence that begins with the path. */
bool program_is_coverable(int file, char *why, size_t why_bytes);

/* A shared object of this machine. */
bool program_is_library(int file, char *why, size_t why_bytes);

/*
 * Asks the loader of `path` what it would load (LD_TRACE_LOADED_OBJECTS: it lists and ends; no code of the program or of
 * the library runs). A library that it cannot load it would ignore with a mere warning: the program would run uncovered.
 */
bool program_takes_library(const char *path, const char *library);

#endif
