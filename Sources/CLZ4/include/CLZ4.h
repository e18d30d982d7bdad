/*
 * CLZ4.h: one LZ4 frame per call, with contexts that are used again: no allocation once they are warm.
 *
 * The frame: independent blocks of up to 256 KiB, content size in its header, content checksum at its end.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct lockstep_lz4_encoder;
struct lockstep_lz4_decoder;

/* Null only when memory is short. */
struct lockstep_lz4_encoder *lockstep_lz4_encoder_create(void);
void lockstep_lz4_encoder_destroy(struct lockstep_lz4_encoder *encoder);
/* What the frame of `count` raw bytes takes at most. */
size_t lockstep_lz4_bound(size_t count);
/* The bytes of the frame, or -1. `capacity` is at least the bound. */
int64_t lockstep_lz4_encode(struct lockstep_lz4_encoder *encoder, void *frame, size_t capacity, const void *raw, size_t count);

struct lockstep_lz4_decoder *lockstep_lz4_decoder_create(void);
void lockstep_lz4_decoder_destroy(struct lockstep_lz4_decoder *decoder);
/* Decodes exactly one frame that fills `frame` and holds exactly `raw_bytes` bytes. Null, or what is wrong with it (a
   constant text); `*at` is then about where in the frame. Never writes beyond `raw_bytes`. */
const char *lockstep_lz4_decode(struct lockstep_lz4_decoder *decoder, void *raw, size_t raw_bytes, const void *frame, size_t count, size_t *at);
