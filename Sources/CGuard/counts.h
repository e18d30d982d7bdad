/*
 * counts.h: what was captured and refused, by program and call: in the memory that the keeper reads, and one line each.
 */
#ifndef GUARD_COUNTS_H
#define GUARD_COUNTS_H

#include "request.h"

void counts_add(struct guard_shared *shared, struct request *request);

#endif
