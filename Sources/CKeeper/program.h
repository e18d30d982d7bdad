/*
 * program.h: what the ELF header of a file says, and what the loader says about the library.
 */
#ifndef KEEPER_PROGRAM_H
#define KEEPER_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

enum program_kind {
    PROGRAM_DYNAMIC,   /* of this machine, glibc's loader starts it: the library covers it */
    PROGRAM_STATIC,    /* of this machine, without a loader: left to the guard */
    PROGRAM_WITHOUT,   /* the same with another loader */
    PROGRAM_FOREIGN,
};

/* Unless it is dynamic, `why` ends a sentence that begins with the path. */
enum program_kind program_kind(int file, char *why, size_t why_bytes);

/* A shared object of this machine. */
bool program_is_library(int file, char *why, size_t why_bytes);

/*
 * Asks the loader of `path` what it would load (LD_TRACE_LOADED_OBJECTS: it lists and ends; no code of the program or of
 * the library runs). A library that it cannot load it would ignore with a mere warning: the program would run uncovered.
 */
bool program_takes_library(const char *path, const char *library);

#endif
