#include "CLZ4.h"

#include <lz4frame.h>
#include <stdlib.h>

struct lockstep_lz4_encoder { LZ4F_cctx *context; };
struct lockstep_lz4_decoder { LZ4F_dctx *context; };

/* Auto-flush with independent blocks: LZ4F then needs no buffer of its own, whatever the size of a batch. */
static LZ4F_preferences_t preferences(size_t count)
{
    return (LZ4F_preferences_t){
        .frameInfo = {.blockSizeID = LZ4F_max256KB, .blockMode = LZ4F_blockIndependent,
            .contentChecksumFlag = LZ4F_contentChecksumEnabled, .contentSize = count},
        .autoFlush = 1,
    };
}

struct lockstep_lz4_encoder *lockstep_lz4_encoder_create(void)
{
    struct lockstep_lz4_encoder *encoder = calloc(1, sizeof *encoder);
    if (encoder && LZ4F_isError(LZ4F_createCompressionContext(&encoder->context, LZ4F_VERSION))) {
        free(encoder);
        return NULL;
    }
    return encoder;
}

void lockstep_lz4_encoder_destroy(struct lockstep_lz4_encoder *encoder)
{
    LZ4F_freeCompressionContext(encoder->context);
    free(encoder);
}

size_t lockstep_lz4_bound(size_t count)
{
    LZ4F_preferences_t chosen = preferences(count);
    return LZ4F_compressFrameBound(count, &chosen);
}

int64_t lockstep_lz4_encode(struct lockstep_lz4_encoder *encoder, void *frame, size_t capacity, const void *raw, size_t count)
{
    const LZ4F_compressOptions_t stable = {.stableSrc = 1};
    LZ4F_preferences_t chosen = preferences(count);
    char *to = frame;
    size_t used = LZ4F_compressBegin(encoder->context, to, capacity, &chosen);
    if (LZ4F_isError(used))
        return -1;
    size_t body = LZ4F_compressUpdate(encoder->context, to + used, capacity - used, raw, count, &stable);
    if (LZ4F_isError(body))
        return -1;
    used += body;
    size_t end = LZ4F_compressEnd(encoder->context, to + used, capacity - used, &stable);
    if (LZ4F_isError(end))
        return -1;
    return (int64_t)(used + end);
}

struct lockstep_lz4_decoder *lockstep_lz4_decoder_create(void)
{
    struct lockstep_lz4_decoder *decoder = calloc(1, sizeof *decoder);
    if (decoder && LZ4F_isError(LZ4F_createDecompressionContext(&decoder->context, LZ4F_VERSION))) {
        free(decoder);
        return NULL;
    }
    return decoder;
}

void lockstep_lz4_decoder_destroy(struct lockstep_lz4_decoder *decoder)
{
    LZ4F_freeDecompressionContext(decoder->context);
    free(decoder);
}

const char *lockstep_lz4_decode(struct lockstep_lz4_decoder *decoder, void *raw, size_t raw_bytes, const void *frame, size_t count, size_t *at)
{
    const char *from = frame;
    char *to = raw;
    size_t taken = count, produced = 0;
    LZ4F_frameInfo_t info;

    *at = 0;
    LZ4F_resetDecompressionContext(decoder->context);
    if (count < 4 || (unsigned char)from[0] != 0x04 || (unsigned char)from[1] != 0x22 || (unsigned char)from[2] != 0x4d
        || (unsigned char)from[3] != 0x18)
        return "no LZ4 frame begins here"; /* LZ4F would accept, and skip, a skippable frame */
    size_t hint = LZ4F_getFrameInfo(decoder->context, &info, from, &taken);
    if (LZ4F_isError(hint))
        return LZ4F_getErrorName(hint);
    if (info.contentSize != raw_bytes)
        return "the content size is not that of the header";
    if (info.contentChecksumFlag != LZ4F_contentChecksumEnabled || info.blockMode != LZ4F_blockIndependent || info.dictID)
        return "not a frame as batches have it: content checksum, independent blocks, no dictionary";
    *at = taken;
    /* One call goes to the end, because neither side is short; a frame of zero bytes still has its end to be read. */
    while (hint != 0) {
        size_t out = raw_bytes - produced, in = count - *at;
        hint = LZ4F_decompress(decoder->context, to + produced, &out, from + *at, &in, NULL);
        if (LZ4F_isError(hint))
            return LZ4F_getErrorName(hint);
        produced += out;
        *at += in;
        if (out == 0 && in == 0 && hint != 0)
            return "the frame is cut short";
    }
    if (produced != raw_bytes)
        return "the frame holds fewer bytes than its header says";
    if (*at != count)
        return "bytes follow the frame";
    return NULL;
}
